//! The systemd unit that keeps a node running: it may write to its own folder and nowhere else.

use std::{fmt, path::Path};

/// A unit for the program at `program` with the configuration at `config`, both absolute.
pub(crate) struct Unit<'a> {
    /// This program.
    pub(crate) program: &'a Path,
    /// The configuration.
    pub(crate) config: &'a Path,
    /// Where the node writes.
    pub(crate) data_dir: &'a Path,
    /// Who runs it.
    pub(crate) user: &'a str,
}

impl fmt::Display for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, config, data_dir, user } = self;
        let (program, config, data_dir) = (quoted(program), quoted(config), quoted(data_dir));
        write!(
            f,
            "\
[Unit]
Description=Starling node
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={program} run --config {config}
User={user}
Restart=on-failure
RestartSec=10
# What is under way goes on from disk: a stop needs no long time.
TimeoutStopSec=30
KillSignal=SIGTERM

# Its own control group, so that it can limit jobs in the sandbox.
Delegate=yes
DelegateSubgroup=node

# It writes to its own folder and nowhere else.
ProtectSystem=strict
ReadWritePaths={data_dir}
ProtectHome=read-only
PrivateTmp=yes
UMask=0077

# It needs no right of the system. What would mask /proc or hide devices is left out: the sandbox and the graphics card need both.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectKernelModules=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"
        )
    }
}

/// A path as systemd reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{path}\"")
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn unit__should_name_its_paths_so_that_systemd_reads_them() {
        let (program, config, data_dir) = (Path::new("/opt/a b/gpu-node"), Path::new("/srv/100%/node.toml"), Path::new("/srv/data"));
        let unit = Unit { program, config, data_dir, user: "starling" }.to_string();
        assert!(unit.contains("ExecStart=\"/opt/a b/gpu-node\" run --config \"/srv/100%%/node.toml\"\n"), "{unit}");
        assert!(unit.contains("ReadWritePaths=\"/srv/data\"\n") && unit.contains("User=starling\n"));
        assert!(unit.contains("NoNewPrivileges=yes") && unit.contains("ProtectSystem=strict"));
    }
}
