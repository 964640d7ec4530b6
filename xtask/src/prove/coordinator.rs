//! What the coordinator promises: whole uploads over broken lines, and nothing lost when processes are killed.

use std::{
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::Figure;
use crate::{
    command::{command, output},
    paths,
};

const UPLOAD_BYTES: u64 = 2_500_000_000;
const UPLOAD_CUTS: u32 = 45;
const UPLOAD_KILLS: u32 = 5;
/// Of nodes, two coordinators, PostgreSQL and an S3 server: about three seconds each.
const CHAOS_KILLS: u32 = 500;
/// Of nodes and one coordinator on a file of SQLite.
const FILE_KILLS: u32 = 100;
const S3S_FS: &str = "0.14.1";

pub(super) fn uploads() -> Result<Vec<Figure>> {
    let settings = [
        ("STARLING_UPLOAD_BYTES", UPLOAD_BYTES.to_string()),
        ("STARLING_UPLOAD_CUTS", UPLOAD_CUTS.to_string()),
        ("STARLING_UPLOAD_KILLS", UPLOAD_KILLS.to_string()),
    ];
    system_test("upload__", &settings)
}

/// `s3s-fs` keeps what it was given in files, so that it may be killed.
pub(super) fn chaos() -> Result<Vec<Figure>> {
    let folder = paths::target().join("s3s-fs");
    let server = folder.join("bin/s3s-fs");
    if !server.exists() {
        let mut cargo = command("cargo");
        cargo.args(["install", "--quiet", "--locked", "--version", S3S_FS, "--features", "binary", "--root"]).arg(&folder);
        output(cargo.arg("s3s-fs"))?;
    }
    let of_file = system_test("kills__", &[("STARLING_CHAOS_KILLS", FILE_KILLS.to_string())])?;
    let settings = [("STARLING_CHAOS_KILLS", CHAOS_KILLS.to_string()), ("STARLING_S3_SERVER", server.display().to_string())];
    let of_all = system_test("kills_of_replicas", &settings)?;
    let named = |on: &'static str| move |Figure { what, value }| Figure::new(format!("{on}: {what}"), value);
    let mut figures: Vec<Figure> = of_file.into_iter().map(named("one coordinator on SQLite")).collect();
    figures.extend(of_all.into_iter().map(named("two on PostgreSQL and S3")));
    figures.push(Figure::new("S3 server", format!("s3s-fs {S3S_FS}")));
    Ok(figures)
}

/// Python's `moto` is a server that speaks S3 and installs from its registry; the database is a real PostgreSQL too.
pub(super) fn stores() -> Result<Vec<Figure>> {
    let folder = paths::target().join("moto");
    let programs = folder.join("bin");
    if !programs.join("moto_server").exists() {
        output(command("python3").args(["-m", "venv"]).arg(&folder))?;
        output(command(programs.join("pip")).args(["install", "--quiet", "moto[s3,server]"]))?;
    }
    let version = output(command(programs.join("pip")).args(["show", "moto"]))?;
    let version = version.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or("of unknown version").to_owned();
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut server = command(programs.join("moto_server"))
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("moto_server cannot be started")?;
    let started = Instant::now();
    while TcpStream::connect(address).is_err() && started.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(100));
    }
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--lib", "s3__", "--", "--ignored"]);
    let said = output(cargo.env("STARLING_S3_ADDRESS", address.to_string()));
    server.kill()?;
    server.wait()?;
    let summary = said?.lines().find(|line| line.starts_with("test result: ok. 1 passed")).map(str::to_owned);
    let summary = summary.context("the test of the store did not run")?;
    Ok(vec![Figure::new("server", format!("moto {version}, with SQLite and with PostgreSQL")), Figure::new("outcome", summary)])
}

/// Runs one of the system's tests with larger figures, and reads what it measured.
pub(super) fn system_test(name: &str, settings: &[(&str, String)]) -> Result<Vec<Figure>> {
    output(command("cargo").args(["build", "--quiet", "--bins"]))?;
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "system", name, "--", "--nocapture"]);
    let said = output(cargo.envs(settings.iter().map(|(name, value)| (name, value))))?;
    let measured = said.lines().filter_map(|line| line.trim().strip_prefix("measured ")?.split_once(": "));
    let figures: Vec<Figure> = measured.map(|(what, value)| Figure::new(what, value)).collect();
    if figures.is_empty() {
        bail!("the test {name} measured nothing");
    }
    Ok(figures)
}
