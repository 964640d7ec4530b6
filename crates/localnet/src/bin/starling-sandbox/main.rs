//! `starling-sandbox`: the embedded chain in the place of NEAR's sandbox binary.
//!
//! Programs that start NEAR's sandbox find it by the path in `NEAR_SANDBOX_BIN_PATH`, and so `near_workspaces::sandbox()` and
//! `near_sandbox::Sandbox` run on this chain, unchanged and without a download:
//!
//! ```sh
//! NEAR_SANDBOX_BIN_PATH=$PWD/target/debug/starling-sandbox cargo test
//! ```
//!
//! They call `starling-sandbox --home DIR init --fast`, put accounts into `DIR/genesis.json` and limits into `DIR/config.json`, and
//! call `starling-sandbox --home DIR run --rpc-addr A --network-addr B`. The chain lies in `DIR/data` and outlives `kill -9`.
//! Transactions that are sent together run together, as soon as no other came for 20 ms; when there are none, empty blocks are
//! made as often as `config.json` says, so that time passes for those who wait for it.

mod arguments;
mod error;
mod home;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use starling_localnet::{BlockMode, RpcOptions, serve};
use tracing_subscriber::EnvFilter;

use crate::arguments::{Arguments, Command, RunOptions, USAGE};
use crate::error::SandboxError;

/// For how long no other transaction may have come before those that did run.
const GATHERING: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> ExitCode {
    let log = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    match obey(std::env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("starling-sandbox: {}", error.with_causes());
            ExitCode::FAILURE
        }
    }
}

async fn obey(words: impl Iterator<Item = String>) -> Result<(), SandboxError> {
    let Arguments { home, command } = arguments::parse(words)?;
    match command {
        Command::Help => {
            println!("{USAGE}");
            Ok(())
        }
        Command::Init(options) => home::init(&home, &options),
        Command::Run(options) => run(&home, &options).await,
    }
}

/// Serves the chain of `home` until the process is ended.
async fn run(home: &Path, options: &RunOptions) -> Result<(), SandboxError> {
    let settings = home::read(home)?;
    let address = options.rpc_address.unwrap_or(settings.rpc_address);
    let mode = BlockMode::Gathered { wait: GATHERING, idle: settings.block_interval };
    let chain = settings.builder.block_mode(mode).build()?;
    let rpc = RpcOptions { body_limit_bytes: settings.body_limit_bytes, ..RpcOptions::default() };
    let server = serve(chain, address, rpc).await.map_err(|source| SandboxError::Listen { address, source })?;
    if address.port() == 0 {
        println!("{}", server.url());
    }
    std::future::pending().await
}
