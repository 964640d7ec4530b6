//! Opens a sandbox and starts orders in it.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::SyncSender,
};

use crate::{Lack, Network, Order, Piece, Running, SandboxConfig, StartError};

/// A place where orders run, each apart from the others.
#[derive(Debug)]
pub struct Sandbox {
    config: SandboxConfig,
}

impl Sandbox {
    /// # Errors
    ///
    /// Everything that this machine lacks: a node that has one must refuse script jobs.
    pub fn open(config: SandboxConfig) -> Result<Self, Vec<Lack>> {
        let lack = |what: String| vec![Lack { subject: "bubblewrap", what, mend: "install it: apt-get install bubblewrap".to_owned() }];
        std::fs::create_dir_all(&config.home).map_err(|error| lack(error.to_string()))?;
        let tried = Command::new("bwrap").arg("--version").output().map_err(|error| lack(error.to_string()))?;
        if tried.status.success() { Ok(Self { config }) } else { Err(lack("bwrap does not run".to_owned())) }
    }

    /// Starts a command; what it writes goes to `lines`, in which a full channel holds the command back.
    ///
    /// # Errors
    ///
    /// [`StartError`] where the order cannot be what was meant; nothing has run then. What fails later is a [`crate::Reason`].
    pub fn start(&self, order: &Order, lines: SyncSender<Piece>) -> Result<Running, StartError> {
        let (program, arguments) = order.command.split_first().ok_or(StartError::NoCommand)?;
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]);
        command.args([
            "--uid",
            "1000",
            "--gid",
            "1000",
            "--hostname",
            "job",
            "--ro-bind",
            "/usr",
            "/usr",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]);
        for folder in ["bin", "sbin", "lib", "lib64"] {
            if Path::new("/").join(folder).is_symlink() {
                command.args(["--symlink", &format!("usr/{folder}"), &format!("/{folder}")]);
            }
        }
        if order.network == Network::Packages {
            command.args(["--share-net", "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]);
            command.args(["--ro-bind-try", "/etc/hosts", "/etc/hosts", "--ro-bind-try", "/etc/ssl", "/etc/ssl"]);
        }
        command.args(["--tmpfs", "/tmp", "--bind"]).arg(&order.work).args(["/work", "--chdir", "/work"]);
        for bind in &order.binds {
            command.arg(if bind.writable { "--bind" } else { "--ro-bind" }).arg(&bind.source).arg(&bind.target);
        }
        for (name, value) in [("PATH", "/usr/bin:/bin"), ("HOME", "/work"), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .iter()
            .chain(&order.environment)
        {
            command.args(["--setenv", name, value]);
        }
        command.arg("--").arg(program).args(arguments).current_dir(&self.config.home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear().env("PATH", "/usr/bin:/bin");
        Running::begin(command, &order.limits, lines)
    }
}
