//! What a machine cannot give, and how to mend it.

use std::{fs, path::Path, process::Command};

use crate::{
    SandboxConfig,
    account::Account,
    cgroup::Place,
    stage::{self, SEARCHED, Storage},
};

/// The first version of bubblewrap that can forbid user namespaces inside.
const BUBBLEWRAP: (u32, u32) = (0, 8);
/// Programs of util-linux and of the base system.
const PROGRAMS: [&str; 6] = ["setpriv", "prlimit", "unshare", "mount", "id", "bash"];

/// One thing that this machine cannot give to a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {what}; to mend it: {mend}")]
pub struct Lack {
    /// Which part of the sandbox.
    pub subject: &'static str,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub mend: String,
}

impl Lack {
    fn new(subject: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { subject, what: what.into(), mend: mend.into() }
    }

    /// All is there, and yet a command did not run.
    pub(crate) fn of_trial(why: &str) -> Self {
        let mend = if why.contains("namespace") || why.contains("uid map") || why.contains("unshare") {
            "let ordinary accounts make user namespaces: on Ubuntu `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` or an \
             AppArmor profile for bwrap; in a container, a seccomp profile that allows unshare, mount and pivot_root"
        } else if why.contains("proc") {
            "in a container, leave /proc unmasked (`--security-opt systempaths=unconfined`)"
        } else {
            "mend what these lines say, and run `gpu-node doctor` again"
        };
        Self::new("trial", format!("a command of the node's own did not run in the sandbox: {why}"), mend)
    }
}

/// What a sandbox here is made of.
pub(crate) struct Machine {
    pub(crate) account: Account,
    pub(crate) place: Place,
    pub(crate) storage: Storage,
}

impl Machine {
    pub(crate) fn look(config: &SandboxConfig) -> Result<Self, Vec<Lack>> {
        let mut lacks = Vec::new();
        lacks.extend(missing_programs());
        lacks.extend(bubblewrap());
        let account = Account::find(config.user.as_deref()).map_err(|lack| lacks.push(lack)).ok();
        lacks.extend(user_namespaces(account.as_ref().is_some_and(Account::is_own)));
        lacks.extend(filters());
        let place = Place::find().map_err(|lack| lacks.push(lack)).ok();
        match (account, place) {
            (Some(account), Some(place)) if lacks.is_empty() => {
                let images = !account.is_own() && Path::new("/dev/loop-control").exists() && find("mkfs.ext4") && find("fallocate");
                Ok(Self { account, place, storage: if images { Storage::Disk } else { Storage::Memory } })
            }
            _ => Err(lacks),
        }
    }
}

fn find(program: &str) -> bool {
    SEARCHED.split(':').any(|folder| Path::new(folder).join(program).exists())
}

fn missing_programs() -> Option<Lack> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !find(program)).collect();
    if stage::view().is_none() {
        return Some(Lack::new("programs", "there is no folder /mnt", "mkdir /mnt"));
    }
    (!missing.is_empty()).then(|| {
        Lack::new(
            "programs",
            format!("{} cannot be found in {SEARCHED}", missing.join(", ")),
            "apt-get install util-linux mount coreutils bash",
        )
    })
}

fn bubblewrap() -> Option<Lack> {
    let install = "apt-get install bubblewrap";
    let Ok(told) = Command::new("bwrap").arg("--version").env_clear().env("PATH", SEARCHED).output() else {
        return Some(Lack::new("bubblewrap", "bwrap cannot be found or does not run", install));
    };
    let text = String::from_utf8_lossy(&told.stdout);
    let version = version(&text);
    version.is_none_or(|version| version < BUBBLEWRAP).then(|| {
        Lack::new(
            "bubblewrap",
            format!("it is {:?}, and {}.{} is the first that will do", text.trim(), BUBBLEWRAP.0, BUBBLEWRAP.1),
            install,
        )
    })
}

/// Of `bubblewrap 0.8.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().rsplit(' ').next()?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn user_namespaces(is_own: bool) -> Option<Lack> {
    let value = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    if !Path::new("/proc/self/ns/user").exists() {
        return Some(Lack::new("user namespaces", "this kernel has none", "use a kernel built with CONFIG_USER_NS"));
    }
    if is_own && !stage::has_real_root() {
        return Some(Lack::new(
            "user namespaces",
            "this program runs in a chroot, where the kernel allows none",
            "run the node outside of it, in a container, whose root is a real one, or as root",
        ));
    }
    if value("/proc/sys/user/max_user_namespaces") == "0" {
        return Some(Lack::new("user namespaces", "none are allowed", "sysctl -w user.max_user_namespaces=10000"));
    }
    (value("/proc/sys/kernel/unprivileged_userns_clone") == "0")
        .then(|| Lack::new("user namespaces", "ordinary accounts may make none", "sysctl -w kernel.unprivileged_userns_clone=1"))
}

fn filters() -> Option<Lack> {
    let known = crate::seccomp::Architecture::here().is_some();
    let kernel = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|actions| actions.contains("kill_process"));
    if !known {
        return Some(Lack::new("system calls", "no filter is known for this processor", "use a machine with x86_64 or aarch64"));
    }
    (!kernel).then(|| Lack::new("system calls", "this kernel filters none", "use a kernel built with CONFIG_SECCOMP_FILTER"))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn version__should_be_read_from_what_bubblewrap_says() {
        for (text, expected) in [
            ("bubblewrap 0.8.0\n", Some((0, 8))),
            ("bubblewrap 0.11.0\n", Some((0, 11))),
            ("bubblewrap 1.0\n", Some((1, 0))),
            ("something", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        assert!(version("bubblewrap 0.4.1") < Some(BUBBLEWRAP));
    }
}
