//! Two coordinators on one PostgreSQL behind a balancer, as processes, and a store that speaks S3 where `STARLING_S3_SERVER` names the program `s3s-fs`.

use crate::{balancer::balance, running::program};
use serde_json::Value;
use starling_tests::Postgres;
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// What `starling up` started, on PostgreSQL, with a second coordinator beside the first.
pub(crate) struct Replicas {
    home: PathBuf,
    pub(crate) postgres: Postgres,
    pub(crate) store: Option<Store>,
    second: Child,
    /// Where each is reached: by everyone, and by the other.
    reached: [(SocketAddr, SocketAddr); 2],
}

impl Replicas {
    /// Stops the coordinator of `starling up`, gives it another database and store, and puts a second one beside it and a balancer where it listened.
    pub(crate) fn start(home: &Path) -> Self {
        let (postgres, store) = (Postgres::start().expect("PostgreSQL starts"), Store::start());
        let first = home.join("coordinator/coordinator.toml");
        let mut settings: toml::Table = fs::read_to_string(&first).expect("a configuration").parse().expect("TOML");
        let origin: SocketAddr = settings["listen"].as_str().expect("an address").parse().expect("an address");
        let reached = [(free_port(), free_port()), (free_port(), free_port())];
        let address_file = home.join("database");
        fs::write(&address_file, postgres.address()).expect("a file is written");
        settings.insert("database_url_file".to_owned(), address_file.display().to_string().into());
        if let Some(store) = &store {
            settings.insert("artifact_store".to_owned(), store.settings().into());
        }
        let second = home.join("replica");
        fs::create_dir(&second).expect("a folder");
        // Without a store of its own, both have the folder of the first.
        fs::create_dir_all(home.join("coordinator/artifacts")).expect("a folder");
        std::os::unix::fs::symlink(home.join("coordinator/artifacts"), second.join("artifacts")).expect("a link");
        let configs = [first, second.join("coordinator.toml")];
        for ((listen, replica_listen), config) in reached.iter().zip(&configs) {
            settings.insert("listen".to_owned(), listen.to_string().into());
            settings.insert("replica_listen".to_owned(), replica_listen.to_string().into());
            settings.insert("data_dir".to_owned(), config.parent().expect("it has a folder").display().to_string().into());
            fs::write(config, toml::to_string(&settings).expect("TOML")).expect("a file is written");
        }
        let pid = fs::read_to_string(home.join("coordinator/pid")).expect("the process is known");
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().expect("kill starts").success());
        let second = start_second(home);
        balance(origin, reached.map(|(listen, _)| listen));
        Self { home: home.to_owned(), postgres, store, second, reached }
    }

    /// The process that leads, and whether it is the second.
    pub(crate) fn leading(&self) -> Option<(String, bool)> {
        let holder = self.postgres.ask("SELECT holder FROM leads").ok()?;
        let leads: SocketAddr = holder.rsplit_once('@')?.1.parse().ok()?;
        let is_second = self.reached[1].1 == leads;
        let first = || fs::read_to_string(self.home.join("coordinator/pid")).ok();
        Some((if is_second { self.second.id().to_string() } else { first()? }, is_second))
    }

    pub(crate) fn second_pid(&self) -> String {
        self.second.id().to_string()
    }

    /// What a service manager does: one that ended, because it was killed or lost the lead, is started again.
    pub(crate) fn tend(&mut self) {
        if self.second.try_wait().is_ok_and(|ended| ended.is_some()) {
            self.second = start_second(&self.home);
        }
    }

    /// Whether both take requests.
    pub(crate) fn both_listen(&self) -> bool {
        self.reached.iter().all(|(listen, _)| std::net::TcpStream::connect_timeout(listen, Duration::from_secs(1)).is_ok())
    }

    /// Parts of rounds that were computed by the program that stood by.
    pub(crate) fn parts_computed(&self) -> usize {
        let log = |name: &str| fs::read_to_string(self.home.join("logs").join(name)).unwrap_or_default();
        ["coordinator.log", "replica.log"].map(|name| log(name).matches("computed a part of a round").count()).iter().sum()
    }

    /// Ends a stopped program's sleep; it must see that another leads, and end by itself.
    pub(crate) fn let_stopped_end(&mut self, pid: &str, is_second: bool) {
        assert!(Command::new("kill").args(["-CONT", pid.trim()]).status().expect("kill starts").success());
        let waked = Instant::now();
        if is_second {
            assert!(!self.second.wait().expect("it ends").success(), "it ends in error");
            self.second = start_second(&self.home);
        }
        while !is_second && fs::read_to_string(self.home.join("coordinator/pid")).is_ok_and(|now| now == pid) {
            assert!(waked.elapsed() < PATIENCE, "one that lost the lead goes on");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        drop(self.second.kill());
        drop(self.second.wait());
    }
}

fn start_second(home: &Path) -> Child {
    let log = File::options().append(true).create(true).open(home.join("logs/replica.log")).expect("a log");
    let config = home.join("replica/coordinator.toml");
    let mut second = Command::new(program("starling-coordinator"));
    second.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    second.spawn().expect("the coordinator starts")
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address")
}

/// A server that speaks S3 and keeps what it was given in files.
pub(crate) struct Store {
    folder: tempfile::TempDir,
    address: SocketAddr,
    server: Child,
}

impl Store {
    fn start() -> Option<Self> {
        let program = std::env::var_os("STARLING_S3_SERVER")?;
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_port());
        fs::create_dir_all(folder.path().join("data/artifacts")).expect("a bucket");
        fs::write(folder.path().join("key"), "starling\nsecret-of-a-test\n").expect("a file is written");
        let server = serve(&program, folder.path(), address);
        Some(Self { folder, address, server })
    }

    fn settings(&self) -> toml::Table {
        let value = serde_json::json!({
            "bucket": "artifacts", "endpoint": format!("http://{}", self.address), "region": "nowhere", "allow_http": true, "key_file": self.folder.path().join("key"),
        });
        let Value::Object(map) = value else { unreachable!("it is an object") };
        toml::Table::try_from(map).expect("a table")
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.server.kill().expect("it was running");
        drop(self.server.wait());
        let program = std::env::var_os("STARLING_S3_SERVER").expect("it was started before");
        self.server = serve(&program, self.folder.path(), self.address);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn serve(program: &std::ffi::OsStr, folder: &Path, address: SocketAddr) -> Child {
    let mut server = Command::new(program);
    server.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    server.args(["--access-key", "starling", "--secret-key", "secret-of-a-test"]).arg(folder.join("data"));
    let mut server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the S3 server starts");
    let started = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < PATIENCE && server.try_wait().is_ok_and(|ended| ended.is_none()), "the S3 server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}
