//! A balancer as it stands before several coordinators: each connection goes to one that answers, and is cut when that one does not any more.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// A coordinator that does not answer within this twice in a row is away.
const ANSWER_TIME: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    turn: usize,
    healthy: Vec<SocketAddr>,
    /// Whose last answer was late.
    late: Vec<SocketAddr>,
    open: Vec<(SocketAddr, TcpStream)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Late,
    Away,
}

/// Serves an address until the tests end.
pub(crate) fn balance(listen: SocketAddr, backends: [SocketAddr; 2]) {
    // Who listened there before may need a moment to go.
    let listener = (0..100).find_map(|_| TcpListener::bind(listen).map_err(|_| thread::sleep(Duration::from_millis(50))).ok());
    let listener = listener.expect("the origin's port is free");
    let state = Arc::new(Mutex::new(State::default()));
    let looked = state.clone();
    thread::spawn(move || {
        loop {
            look(&looked, &backends);
            thread::sleep(LOOK_EVERY);
        }
    });
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let state = state.clone();
            thread::spawn(move || join(&state, client));
        }
    });
}

fn look(state: &Mutex<State>, backends: &[SocketAddr]) {
    let asked: Vec<(SocketAddr, Health)> = backends.iter().map(|backend| (*backend, health(*backend))).collect();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let is_forgiven = |backend: &SocketAddr| state.healthy.contains(backend) && !state.late.contains(backend);
    let stays = |(backend, health): &(SocketAddr, Health)| *health == Health::Good || (*health == Health::Late && is_forgiven(backend));
    let healthy: Vec<SocketAddr> = asked.iter().filter(|asked| stays(asked)).map(|(backend, _)| *backend).collect();
    state.late = asked.iter().filter(|(_, health)| *health == Health::Late).map(|(backend, _)| *backend).collect();
    state.open.retain(|(backend, stream)| {
        let stays = healthy.contains(backend);
        if !stays {
            drop(stream.shutdown(Shutdown::Both));
        }
        stays && stream.peer_addr().is_ok()
    });
    state.healthy = healthy;
}

fn health(backend: SocketAddr) -> Health {
    match ask(backend) {
        Ok(answer) if &answer == b"HTTP/1.1 200" => Health::Good,
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Health::Late,
        _ => Health::Away,
    }
}

/// How an answer begins.
fn ask(backend: SocketAddr) -> std::io::Result<[u8; 12]> {
    let mut stream = TcpStream::connect_timeout(&backend, ANSWER_TIME)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Carries bytes both ways; a client whose coordinators are all away is cut off.
fn join(state: &Mutex<State>, client: TcpStream) {
    let chosen = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn += 1;
        let count = state.healthy.len().max(1);
        state.healthy.get(state.turn % count).copied()
    };
    let joined = chosen.and_then(|backend| {
        let server = TcpStream::connect_timeout(&backend, ANSWER_TIME).ok()?;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.push((backend, server.try_clone().ok()?));
        state.open.push((backend, client.try_clone().ok()?));
        Some((server.try_clone().ok()?, client.try_clone().ok()?, server))
    });
    let Some((mut from_server, mut to_client, mut to_server)) = joined else { return };
    let mut from_client = client;
    let back = thread::spawn(move || {
        drop(std::io::copy(&mut from_server, &mut to_client));
        drop(to_client.shutdown(Shutdown::Both));
    });
    drop(std::io::copy(&mut from_client, &mut to_server));
    drop(to_server.shutdown(Shutdown::Both));
    drop(back.join());
}
