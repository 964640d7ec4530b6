//! `starling-coordinator`: reads its configuration and serves until it is told to stop.

use anyhow::Result;
use clap::Parser;
use starling_coordinator::{config::Config, service};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// The coordinator: carries messages between tenants and nodes, keeps artifacts, and holds no key that moves money.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration in TOML; `STARLING_COORDINATOR_*` from the environment counts before it.
    #[arg(long, default_value = "coordinator.toml")]
    config: PathBuf,
    /// A PEM file with the certificate for `public_origin`, instead of what the configuration says.
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// A PEM file with its key.
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Writes the log as JSON lines.
    #[arg(long)]
    json_log: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("STARLING_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    if arguments.json_log {
        log.json().init();
    } else {
        log.init();
    }
    let config = Config::load(&arguments.config)?.with_tls(arguments.tls_certificate.zip(arguments.tls_key))?;
    service::serve(config, told_to_stop()).await
}

async fn told_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    drop(interrupted.await);
}
