//! As whom jobs run.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use crate::{DEFAULT_USER, Lack};

/// As whom the host's kernel sees what a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The node is root and becomes this one for a job.
    Other { name: String, user: u32, group: u32 },
    /// The node is an ordinary account, and its jobs are too.
    Own { user: u32 },
}

impl Account {
    pub(crate) fn find(wanted: Option<&str>) -> Result<Self, Lack> {
        let lack = |what: String, mend: String| Lack { subject: "account", what, mend };
        let me =
            fs::metadata("/proc/self").map_err(|error| lack(format!("/proc cannot be read: {error}"), "mount /proc".to_owned()))?.uid();
        if me != 0 {
            return match wanted {
                None => Ok(Self::Own { user: me }),
                Some(name) => Err(lack(
                    format!("jobs cannot run as {name}: this program runs as an ordinary account"),
                    "run the node as root, or name no account".to_owned(),
                )),
            };
        }
        let name = wanted.unwrap_or(DEFAULT_USER);
        let add = format!("useradd --system --no-create-home --shell /usr/sbin/nologin {name}");
        let (Some(user), Some(group)) = (number(name, "-u"), number(name, "-g")) else {
            return Err(lack(format!("there is no account {name}"), add));
        };
        if user == 0 || group == 0 {
            return Err(lack(format!("{name} has the rights of root"), "name an account that is used for nothing else".to_owned()));
        }
        Ok(Self::Other { name: name.to_owned(), user, group })
    }

    /// What to become, if anything.
    pub(crate) fn drops(&self) -> Option<(u32, u32)> {
        match self {
            Self::Other { user, group, .. } => Some((*user, *group)),
            Self::Own { .. } => None,
        }
    }

    /// Whom the job's files belong to, as the staging script sees it: root of its own namespace where that is the node itself.
    pub(crate) fn owner(&self) -> String {
        let (user, group) = self.drops().unwrap_or((0, 0));
        format!("{user}:{group}")
    }

    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// A word for `doctor`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Other { name, user, .. } => format!("{name} ({user})"),
            Self::Own { user } => {
                format!(
                    "the node's own ({user}): only namespaces part jobs from its files; as root, jobs would have an account of their own"
                )
            }
        }
    }
}

fn number(name: &str, which: &str) -> Option<u32> {
    let out = Command::new("id").args([which, "--", name]).output().ok()?;
    if out.status.success() { String::from_utf8(out.stdout).ok()?.trim().parse().ok() } else { None }
}
