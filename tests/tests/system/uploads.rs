//! A large file up and down over a line that breaks, to a coordinator that is killed on the way.
//!
//! `cargo xtask prove uploads` runs it with gigabytes; figures go to standard output, a `measured NAME: VALUE` a line.

use crate::running::{Running, profile, refuse, said, starling, succeed};
use serde_json::Value;
use starling_http_api::artifact::{CHUNK_BYTES, chunk_count};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// A number from the environment, so that a proof is this test with larger figures.
pub(crate) fn wanted(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Numbers that look random and are the same each time (xorshift, Marsaglia 2003).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// A line to the coordinator that breaks a given number of times, each after about so many bytes.
struct Line {
    address: SocketAddr,
    state: Arc<LineState>,
}

struct LineState {
    target: SocketAddr,
    bytes_up: AtomicU64,
    cuts_left: AtomicU32,
    between: u64,
    numbers: Mutex<Numbers>,
}

impl Line {
    fn lay(target: SocketAddr, cuts: u32, between: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let numbers = Mutex::new(Numbers::new(0x5eed_0001));
        let state = Arc::new(LineState { target, bytes_up: AtomicU64::new(0), cuts_left: AtomicU32::new(cuts), between, numbers });
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.carry(client));
            }
        });
        Self { address, state }
    }

    fn bytes_up(&self) -> u64 {
        self.state.bytes_up.load(SeqCst)
    }
}

impl LineState {
    fn carry(self: Arc<Self>, client: TcpStream) {
        // Nobody listens while the coordinator starts again.
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let budget = self.between / 2 + self.numbers.lock().expect("no panic").below(self.between);
        let left = Arc::new(AtomicU64::new(budget));
        let (up, down) = ((client.try_clone(), server.try_clone()), (server, client));
        if let (Ok(from), Ok(to)) = up {
            let (state, left) = (self.clone(), left.clone());
            thread::spawn(move || state.copy(from, to, &left, true));
        }
        self.copy(down.0, down.1, &left, false);
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, left: &AtomicU64, up: bool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let length_u64 = length as u64;
            let broke = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(length_u64)).is_err();
            if broke && self.cuts_left.fetch_update(SeqCst, SeqCst, |cuts| cuts.checked_sub(1)).is_ok() {
                break;
            }
            if up {
                self.bytes_up.fetch_add(length_u64, SeqCst);
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        for end in [&from, &to] {
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

/// The most memory that a process was seen to hold, in KiB.
pub(crate) fn peak_kib(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Watches the memory of both ends until told to stop.
fn watch(coordinator: std::path::PathBuf, command: u32, stop: Arc<AtomicBool>) -> thread::JoinHandle<(u64, u64)> {
    thread::spawn(move || {
        let mut peaks = (0, 0);
        while !stop.load(SeqCst) {
            peaks.0 = peaks.0.max(peak_kib(&fs::read_to_string(&coordinator).unwrap_or_default()));
            peaks.1 = peaks.1.max(peak_kib(&command.to_string()));
            thread::sleep(Duration::from_millis(50));
        }
        peaks
    })
}

/// A file of bytes that nothing shortens.
pub(crate) fn write_file(path: &Path, bytes: u64) {
    let (mut file, mut numbers) = (File::create(path).expect("a file"), Numbers::new(7));
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&numbers.next().to_le_bytes());
        }
        let length = usize::try_from(left.min(1 << 20)).expect("a mebibyte");
        file.write_all(&block[..length]).expect("room on the disk");
        left -= length as u64;
    }
}

/// A home beside the system's: of another account, or with another way to the coordinator.
pub(crate) fn home_beside(system: &Running, name: &str, change: impl FnOnce(&mut Value)) -> std::path::PathBuf {
    let home = system.home().join(name);
    fs::create_dir_all(&home).expect("a folder");
    let mut profile = profile(system.home());
    change(&mut profile);
    fs::write(home.join("profile.json"), profile.to_string()).expect("a file is written");
    home
}

#[test]
fn upload__should_go_on_over_cuts_and_kills_and_be_the_owners_alone() {
    let bytes = wanted("STARLING_UPLOAD_BYTES", 40_000_000);
    let cuts = u32::try_from(wanted("STARLING_UPLOAD_CUTS", 6)).expect("few");
    let kills = wanted("STARLING_UPLOAD_KILLS", 2);
    let system = Running::start(1);
    let profile = profile(system.home());
    let target = profile["coordinator"].as_str().expect("an origin").trim_start_matches("http://").parse().expect("an address");
    let line = Line::lay(target, cuts, bytes * 7 / 10 / u64::from(cuts));
    let home = home_beside(&system, "over-the-line", |profile| profile["coordinator"] = format!("http://{}", line.address).into());
    let file = home.join("file");
    write_file(&file, bytes);

    let started = Instant::now();
    let child = starling(&home, &["upload", &file.display().to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("starling starts");
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(system.home().join("coordinator/pid"), child.id(), stop.clone());
    for kill in 1..=kills {
        let patience = Instant::now();
        while line.bytes_up() < bytes * kill / (kills + 1) {
            assert!(patience.elapsed() < Duration::from_secs(300), "the upload stands still at {} bytes", line.bytes_up());
            thread::sleep(Duration::from_millis(5));
        }
        system.kill("coordinator/pid");
    }
    let output = child.wait_with_output().expect("it ends");
    stop.store(true, SeqCst);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (coordinator_kib, command_kib) = watching.join().expect("no panic");
    let uploaded = said(&output, "uploaded");
    let interruptions = uploaded["interruptions"].as_u64().expect("a number");
    let (sent, again) = (line.bytes_up(), line.bytes_up().saturating_sub(bytes));
    println!("measured bytes: {bytes} in {} chunks of {CHUNK_BYTES}", chunk_count(bytes));
    println!(
        "measured interruptions: {} cuts of the line and {kills} kill -9 of the coordinator, {interruptions} seen by the command",
        u64::from(cuts)
    );
    println!(
        "measured bytes sent again: {again}, {:.2} chunks for each interruption",
        again as f64 / CHUNK_BYTES as f64 / (u64::from(cuts) + kills) as f64
    );
    println!(
        "measured memory at most: coordinator {} MB, command {} MB",
        coordinator_kib * 1_024 / 1_000_000,
        command_kib * 1_024 / 1_000_000
    );
    println!("measured time of the upload: {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(line.state.cuts_left.load(SeqCst), 0, "the line was cut as often as was asked");
    assert!(interruptions > 0);
    // A chunk each time, and the list of chunks with some words of HTTP.
    let each = CHUNK_BYTES + 100 * chunk_count(bytes) + 20_000;
    assert!(again <= (u64::from(cuts) + kills) * each, "{sent} bytes went up for {bytes}, {interruptions} interruptions");
    assert!(coordinator_kib < 256_000_000 / 1_024 && command_kib < 256_000_000 / 1_024, "{coordinator_kib} and {command_kib} KiB");

    let hash = uploaded["hash"].as_str().expect("a hash").to_owned();
    fs::remove_file(&file).expect("it is there");
    let fetch = ["download", &hash, "--output", &file.display().to_string()];
    succeed(&home, &fetch);
    let (mut hasher, mut fetched, mut block) = (blake3::Hasher::new(), File::open(&file).expect("it was written"), vec![0; 1 << 20]);
    while let length @ 1.. = fetched.read(&mut block).expect("it is read") {
        hasher.update(&block[..length]);
    }
    assert_eq!(hasher.finalize().to_hex().to_string(), hash);
    fs::remove_file(&file).expect("it is there");

    let keys = Path::new(profile["key_file"].as_str().expect("a path")).parent().expect("a folder").to_owned();
    let other = home_beside(&system, "another-wallet", |profile| {
        profile["key_file"] = keys.join("provider-1.starling.json").display().to_string().into();
    });
    assert!(refuse(&other, &fetch).contains("not_found"), "another wallet gets 404");

    // One bit of the third chunk changes where it lies.
    let place = system.home().join("coordinator/artifacts/chunks").join(&hash[..2]).join(&hash).join("2");
    let mut stored = File::options().read(true).write(true).open(place).expect("the chunk lies there");
    let mut byte = [0];
    stored.seek(SeekFrom::Start(4_321)).expect("it is long enough");
    stored.read_exact(&mut byte).expect("it is long enough");
    stored.seek(SeekFrom::Start(4_321)).expect("it is long enough");
    stored.write_all(&[byte[0] ^ 8]).expect("it is written");
    let refused = refuse(system.home(), &fetch);
    assert!(refused.contains("chunk 2 ") && refused.contains("damaged"), "{refused}");
}
