//! What a machine can give to a job, what it cannot, and how to mend that.

use std::{fs, path::Path, process::Command};

use crate::{
    SandboxConfig,
    account::Account,
    cgroup::Place,
    seccomp::{self, Architecture},
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
            "leave /proc unmasked: in a container `--security-opt systempaths=unconfined`, in a systemd unit neither ProtectKernelTunables= nor \
             ProtectKernelLogs="
        } else {
            "mend what these lines say, and run `gpu-node doctor` again"
        };
        Self::new("trial", format!("a command of the node's own did not run in the sandbox: {why}"), mend)
    }
}

/// One thing that a job needs, and whether this machine gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which part of the sandbox.
    pub subject: &'static str,
    /// What is there, or what is not and how to mend it.
    pub outcome: Result<String, Lack>,
}

/// What a sandbox here is made of.
pub(crate) struct Machine {
    pub(crate) account: Account,
    pub(crate) place: Place,
    pub(crate) storage: Storage,
}

impl Machine {
    /// Looks at one thing after the other; the machine, where it lacks none of them.
    pub(crate) fn look(config: &SandboxConfig) -> (Vec<Check>, Option<Self>) {
        let account = Account::find(config.user.as_deref());
        let place = Place::find();
        let is_own = account.as_ref().is_ok_and(Account::is_own);
        let mut checks = Vec::new();
        let mut note = |subject, outcome| checks.push(Check { subject, outcome });
        note("programs", programs());
        note("bubblewrap", bubblewrap());
        note("user namespaces", user_namespaces(is_own));
        note("system calls", filters());
        note("account", account.as_ref().map(Account::describe).map_err(Lack::clone));
        note("control groups", place.as_ref().map(Place::describe).map_err(Lack::clone));
        let machine = match (account, place) {
            (Ok(account), Ok(place)) if checks.iter().all(|check| check.outcome.is_ok()) => {
                let images = !is_own && Path::new("/dev/loop-control").exists() && find("mkfs.ext4") && find("fallocate");
                Some(Self { account, place, storage: if images { Storage::Disk } else { Storage::Memory } })
            }
            _ => None,
        };
        (checks, machine)
    }
}

fn find(program: &str) -> bool {
    SEARCHED.split(':').any(|folder| Path::new(folder).join(program).exists())
}

fn programs() -> Result<String, Lack> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !find(program)).collect();
    if !missing.is_empty() {
        let what = format!("{} cannot be found in {SEARCHED}", missing.join(", "));
        return Err(Lack::new("programs", what, "apt-get install util-linux mount coreutils bash"));
    }
    if stage::view().is_none() {
        return Err(Lack::new("programs", "there is no folder /mnt", "mkdir /mnt"));
    }
    Ok(PROGRAMS.join(", "))
}

fn bubblewrap() -> Result<String, Lack> {
    let install = "apt-get install bubblewrap";
    let Ok(told) = Command::new("bwrap").arg("--version").env_clear().env("PATH", SEARCHED).output() else {
        return Err(Lack::new("bubblewrap", "bwrap cannot be found or does not run", install));
    };
    let text = String::from_utf8_lossy(&told.stdout);
    if version(&text).is_some_and(|version| version >= BUBBLEWRAP) {
        return Ok(text.trim().to_owned());
    }
    let what = format!("it is {:?}, and {}.{} is the first that will do", text.trim(), BUBBLEWRAP.0, BUBBLEWRAP.1);
    Err(Lack::new("bubblewrap", what, install))
}

/// Of `bubblewrap 0.8.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().rsplit(' ').next()?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn user_namespaces(is_own: bool) -> Result<String, Lack> {
    let lack = |what: &str, mend: &str| Err(Lack::new("user namespaces", what, mend));
    let value = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    if !Path::new("/proc/self/ns/user").exists() {
        return lack("this kernel has none", "use Linux, with a kernel built with CONFIG_USER_NS");
    }
    if is_own && !stage::has_real_root() {
        return lack(
            "this program runs in a chroot, where the kernel allows none",
            "run the node outside of it, in a container, whose root is a real one, or as root",
        );
    }
    if value("/proc/sys/user/max_user_namespaces") == "0" {
        return lack("none are allowed", "sysctl -w user.max_user_namespaces=10000");
    }
    if value("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return lack("ordinary accounts may make none", "sysctl -w kernel.unprivileged_userns_clone=1");
    }
    Ok("allowed".to_owned())
}

fn filters() -> Result<String, Lack> {
    let lack = |what: &str, mend: &str| Err(Lack::new("system calls", what, mend));
    if Architecture::here().is_none() {
        return lack("no filter is known for this processor", "use a machine with x86_64 or aarch64");
    }
    if !fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|actions| actions.contains("kill_process")) {
        return lack("this kernel filters none", "use a kernel built with CONFIG_SECCOMP_FILTER");
    }
    Ok(format!("{} are refused whatever they ask, others by what they ask", seccomp::REFUSED.len()))
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
