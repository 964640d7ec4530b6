//! Child processes of `up`: the coordinator, started again when it dies, and the nodes, which are not.

use super::{chain::EmbeddedChain, sibling};
use crate::{
    home::{Home, write_atomically},
    output::Output,
};
use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use serde_json::json;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

const START_WAIT: Duration = Duration::from_secs(30);
/// A coordinator that dies more often than this, each time soon after its start, is not started again.
const MAX_RESTARTS: u32 = 20;
/// One that lived so long had started well.
const GOOD_START: Duration = Duration::from_secs(2);

pub(super) struct Processes {
    home: Home,
    coordinator: Option<(PathBuf, Child)>,
    nodes: Vec<(u16, Child)>,
}

impl Processes {
    pub(super) fn new(home: &Home) -> Result<Self> {
        fs::create_dir_all(home.join("logs"))?;
        Ok(Self { home: home.clone(), coordinator: None, nodes: Vec::new() })
    }

    /// Writes the coordinator's configuration and starts it; gives its origin.
    pub(super) async fn start_coordinator(
        &mut self,
        chain: &EmbeddedChain,
        wallet_url: &str,
        dashboard: &Path,
        listen: SocketAddr,
    ) -> Result<String> {
        let folder = self.home.join("coordinator");
        fs::create_dir_all(&folder)?;
        let address_file = folder.join("address");
        if address_file.exists() {
            fs::remove_file(&address_file)?;
        }
        let config = folder.join("coordinator.toml");
        let listen = free_port(listen).await.map_err(|error| super::port_error("dashboard", listen, error))?;
        let settings = json!({
            "listen": listen.to_string(), "public_origin": format!("http://{listen}"), "rpc_url": chain.rpc_url(), "public_rpc_url": chain.rpc_url(),
            "network_name": "Embedded chain", "deployment": chain.deployment(), "key_file": chain.key_file("coordinator.starling"),
            "data_dir": folder, "dashboard_dir": dashboard.canonicalize().with_context(|| format!("there is no dashboard in {}: run `cargo xtask dashboard`", dashboard.display()))?,
            "dev_wallet_url": wallet_url, "faucet": true, "sponsor": {"key_file": chain.key_file(super::chain::SPONSOR)},
        });
        write_atomically(&config, toml::to_string(&settings)?.as_bytes())?;
        let child = self.spawn("starling-coordinator", &["--config", &config.display().to_string()], "coordinator")?;
        self.coordinator = Some((config, child));
        self.wait_for(&address_file, "coordinator").await?;
        Ok(format!("http://{}", fs::read_to_string(&address_file)?.trim()))
    }

    /// Sets up and starts the nodes, each with a home, a key and a provider account of its own.
    pub(super) async fn start_nodes(&mut self, chain: &EmbeddedChain, coordinator: &str, count: u16, spinner: &ProgressBar) -> Result<()> {
        for number in 1..=count {
            spinner.set_message(format!("registering node {number} of {count}"));
            let folder = self.home.join(format!("node-{number}"));
            let config = folder.join("node.toml");
            let provider_key = chain.key_file(&format!("provider-{number}.starling"));
            let (folder, provider_key, rpc) = (folder.display().to_string(), provider_key.display().to_string(), chain.rpc_url());
            let setup = [
                "setup",
                "--coordinator",
                coordinator,
                "--rpc",
                &rpc,
                "--provider-key",
                &provider_key,
                "--home",
                &folder,
                "--threads",
                "1",
                "--scripts",
            ];
            let mut child = self.spawn("gpu-node", &setup, &format!("node-{number}"))?;
            if !child.wait().await?.success() {
                bail!("node {number} could not be set up:\n{}", self.last_lines(&format!("node-{number}")));
            }
            let child = self.spawn("gpu-node", &["run", "--config", &config.display().to_string()], &format!("node-{number}"))?;
            write_pid(&Path::new(&folder).join("pid"), &child)?;
            self.nodes.push((number, child));
        }
        Ok(())
    }

    /// Starts a coordinator that died again; says when a node died; ends when there is nothing left to watch.
    pub(super) async fn watch(&mut self, out: Output) -> anyhow::Error {
        let (mut restarts, mut started) = (0, std::time::Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let mut gone = Vec::new();
            for (number, child) in &mut self.nodes {
                if let Ok(Some(status)) = child.try_wait() {
                    out.say(
                        "node_died",
                        &json!({"node": number, "status": status.to_string()}),
                        &format!("Node {number} died ({status}). The run goes on without it; it is paid for the rounds that counted."),
                    );
                    gone.push(*number);
                }
            }
            self.nodes.retain(|(number, _)| !gone.contains(number));
            let Some((config, child)) = &mut self.coordinator else { continue };
            let Ok(Some(status)) = child.try_wait() else { continue };
            let config = config.clone();
            restarts = if started.elapsed() > GOOD_START { 1 } else { restarts + 1 };
            started = std::time::Instant::now();
            out.say(
                "coordinator_died",
                &json!({"status": status.to_string()}),
                &format!("The coordinator died ({status}); starting it again. Nothing is lost."),
            );
            if restarts > MAX_RESTARTS {
                return anyhow::anyhow!("the coordinator died {restarts} times:\n{}", self.last_lines("coordinator"));
            }
            match self.spawn("starling-coordinator", &["--config", &config.display().to_string()], "coordinator") {
                Ok(child) => self.coordinator = Some((config, child)),
                Err(error) => return error,
            }
        }
    }

    fn spawn(&self, program: &str, args: &[&str], log: &str) -> Result<Child> {
        let log = File::options().create(true).append(true).open(self.home.join("logs").join(format!("{log}.log")))?;
        let program = sibling(program)?;
        // A child must not outlive a supervisor that was killed: it would hold ports and keys.
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        if program.ends_with("starling-coordinator") {
            write_pid(&self.home.join("coordinator/pid"), &child)?;
        }
        Ok(child)
    }

    async fn wait_for(&mut self, file: &Path, name: &str) -> Result<()> {
        let started = std::time::Instant::now();
        while !file.exists() {
            let died = self.coordinator.as_mut().and_then(|(_, child)| child.try_wait().ok().flatten());
            if died.is_some() || started.elapsed() > START_WAIT {
                bail!("the {name} did not start:\n{}", self.last_lines(name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn last_lines(&self, log: &str) -> String {
        let path = self.home.join("logs").join(format!("{log}.log"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}\n(the whole log: {})", lines[lines.len().saturating_sub(15)..].join("\n"), path.display())
    }
}

fn write_pid(path: &Path, child: &Child) -> Result<()> {
    write_atomically(path, child.id().map(|id| id.to_string()).unwrap_or_default().as_bytes())
}

/// A port must stay the same over restarts of the coordinator, so a free one is chosen here.
async fn free_port(address: SocketAddr) -> std::io::Result<SocketAddr> {
    tokio::net::TcpListener::bind(address).await?.local_addr()
}
