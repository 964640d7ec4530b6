//! What a coordinator's durable dispatch is measured against, on its own database while it does nothing else: `bare_queue ADDRESS LISTEN`.
//!
//! A queue with the coordinator's doors: what a node states by WebSocket and what a meter signs by HTTP is each a row on the disk before it is told on, with as much durability, in groups
//! of those that came meanwhile. It verifies nothing, plans nothing and shows nothing.

use anyhow::{Context as _, Result, bail};
use axum::{
    Json, Router,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};
use starling_http_api::{
    lease::LeaseMeterSignature,
    node::{FromNode, ToNode},
    path,
};
use starling_primitives::LeaseId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// Writes of one transaction, as the coordinator has it.
const MOST: usize = 256;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, listen] = arguments.as_slice() else { bail!("bare_queue ADDRESS LISTEN") };
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(address).await?;
    if address.starts_with("sqlite:") {
        connection.execute("PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").await?;
    }
    serve(connection, listen).await
}

/// All of a group in one statement and one transaction.
async fn write(connection: &mut AnyConnection, group: &[Write]) -> Result<(), sqlx::Error> {
    let rows: Vec<String> = (0..group.len()).map(|row| format!("('bare', ${}, ${}, 0)", 2 * row + 1, 2 * row + 2)).collect();
    let sql = format!(
        "INSERT INTO works (work, id, json, updated_at) VALUES {} ON CONFLICT (work, id) DO UPDATE SET json = excluded.json",
        rows.join(", ")
    );
    let mut transaction = connection.begin().await?;
    let query = sqlx::query(AssertSqlSafe(sql));
    let query = group.iter().fold(query, |query, write| query.bind(i64::try_from(write.lease_id.0).unwrap_or(0)).bind(write.json.clone()));
    query.execute(&mut *transaction).await?;
    transaction.commit().await
}

struct Write {
    lease_id: LeaseId,
    json: String,
    done: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Queue {
    writes: mpsc::Sender<Write>,
    waiting: Arc<Mutex<HashMap<LeaseId, Waiting>>>,
}

/// A statement that waits for its signature, and the way to its node.
struct Waiting {
    seq: u64,
    node: mpsc::Sender<ToNode>,
}

async fn serve(mut connection: AnyConnection, listen: &str) -> Result<()> {
    let (writes, mut come) = mpsc::channel::<Write>(MOST);
    let queue = Queue { writes, waiting: Arc::default() };
    let routes = Router::new().route(path::NODE_CONNECT, get(connect)).route(path::LEASE_STATEMENT, post(sign)).with_state(queue);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    tokio::spawn(async move {
        let mut group = Vec::with_capacity(MOST);
        while come.recv_many(&mut group, MOST).await > 0 {
            // No lease has two writes under way.
            if let Err(error) = write(&mut connection, &group).await {
                eprintln!("{error}");
                std::process::exit(1);
            }
            for Write { done, .. } in group.drain(..) {
                let _ = done.send(());
            }
        }
    });
    axum::serve(listener, routes).await?;
    Ok(())
}

impl Queue {
    /// Comes back when it lies on the disk; says whether it does.
    async fn keep(&self, lease_id: LeaseId, json: String) -> bool {
        let (done, written) = oneshot::channel();
        self.writes.send(Write { lease_id, json, done }).await.is_ok() && written.await.is_ok()
    }

    fn waiting<T>(&self, act: impl FnOnce(&mut HashMap<LeaseId, Waiting>) -> T) -> T {
        act(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn connect(State(queue): State<Queue>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| own(queue, socket))
}

async fn own(queue: Queue, mut socket: WebSocket) {
    let (node, mut told) = mpsc::channel(1);
    let mut say = Some(ToNode::Welcome { token: String::new() });
    loop {
        if let Some(message) = say.take() {
            let Ok(text) = serde_json::to_string(&message) else { return };
            if socket.send(Message::Text(text.into())).await.is_err() {
                return;
            }
        }
        tokio::select! {
            message = told.recv() => say = message,
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) => {
                    let Ok(FromNode::Statement { statement, .. }) = serde_json::from_str(&text) else { continue };
                    if !queue.keep(statement.lease_id, text.to_string()).await {
                        return;
                    }
                    let waits = Waiting { seq: statement.seq, node: node.clone() };
                    queue.waiting(|waiting| waiting.insert(statement.lease_id, waits));
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn sign(State(queue): State<Queue>, Path(lease_id): Path<LeaseId>, Json(signed): Json<LeaseMeterSignature>) -> StatusCode {
    let LeaseMeterSignature { seq, signature } = signed;
    let found = queue.waiting(|waiting| match waiting.get(&lease_id) {
        Some(one) if one.seq == seq => waiting.remove(&lease_id),
        _ => None,
    });
    let Some(Waiting { node, .. }) = found else { return StatusCode::NOT_FOUND };
    let Ok(json) = serde_json::to_string(&signed) else { return StatusCode::INTERNAL_SERVER_ERROR };
    if !queue.keep(lease_id, json).await {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    drop(node.send(ToNode::MeterSigned { lease_id, seq, signature }).await);
    StatusCode::NO_CONTENT
}
