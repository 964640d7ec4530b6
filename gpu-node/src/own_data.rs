//! Data that the owner keeps on this machine and lets federated runs train on. Its bytes are read by the trainer and go nowhere.

use serde::{Deserialize, Serialize};
use starling_primitives::AccountId;
use starling_rounds::recipe::{PLAIN_NAME, is_plain_name};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a node may name; each name travels with its hello.
const MAX_NAMES: usize = 16;
/// More than this is refused rather than read into memory.
const MAX_BYTES: u64 = 1 << 30;

/// Data under a name, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnData {
    /// What a run calls it by.
    pub(crate) name: String,
    /// The file, in a form that the run's recipe reads; relative to the configuration file.
    pub(crate) file: PathBuf,
    /// Whose runs may train on it; anyone's where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tenants: Vec<AccountId>,
}

impl OwnData {
    /// What is wrong with a list of them, if anything.
    pub(crate) fn check(all: &[Self]) -> Result<(), String> {
        if all.len() > MAX_NAMES {
            return Err(format!("at most {MAX_NAMES} are allowed"));
        }
        for (place, one) in all.iter().enumerate() {
            if !is_plain_name(&one.name) {
                return Err(format!("{:?} must be {PLAIN_NAME}", one.name));
            }
            if all.iter().take(place).any(|other| other.name == one.name) {
                return Err(format!("{:?} is there twice", one.name));
            }
        }
        Ok(())
    }

    /// The data that a tenant's run asks for by name.
    ///
    /// # Errors
    /// In words for the tenant, where there is none or it is not for them.
    pub(crate) fn find<'a>(all: &'a [Self], name: &str, tenant: &AccountId) -> Result<&'a Self, String> {
        let found = all.iter().find(|one| one.name == name).ok_or_else(|| format!("this node keeps no data called {name}"))?;
        if found.tenants.is_empty() || found.tenants.contains(tenant) {
            Ok(found)
        } else {
            Err(format!("the owner of {name} has not allowed runs of {tenant} on it"))
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// Of reading, and for more than a gibibyte. The path is not said: the words go to the coordinator.
    pub(crate) fn read(&self) -> Result<Arc<[u8]>, String> {
        read(&self.file).map(Into::into).map_err(|error| format!("the node's data {} cannot be read: {error}", self.name))
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(file)?.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {} MiB", MAX_BYTES >> 20)));
    }
    fs::read(file)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn data(name: &str, tenants: &[&str]) -> OwnData {
        let tenants = tenants.iter().map(|name| AccountId::new(*name).unwrap()).collect();
        OwnData { name: name.to_owned(), file: "/nowhere".into(), tenants }
    }

    #[test]
    fn data__should_be_found_by_name_and_only_for_whom_it_is() {
        let (alice, bob) = (AccountId::new("alice.near").unwrap(), AccountId::new("bob.near").unwrap());
        let all = [data("notes", &[]), data("wards", &["alice.near"])];
        assert_eq!(OwnData::find(&all, "notes", &bob), Ok(&all[0]));
        assert_eq!(OwnData::find(&all, "wards", &alice), Ok(&all[1]));
        assert!(OwnData::find(&all, "wards", &bob).unwrap_err().contains("has not allowed runs of bob.near"));
        assert!(OwnData::find(&all, "other", &alice).unwrap_err().contains("no data called other"));
        let unread = all[0].read().unwrap_err();
        assert!(unread.contains("notes cannot be read") && !unread.contains("nowhere"), "{unread}");
    }

    #[test]
    fn data__should_have_plain_names_each_once() {
        assert_eq!(OwnData::check(&[data("notes", &[]), data("wards", &[])]), Ok(()));
        for (wrong, word) in [
            (vec![data("Notes", &[])], "a-z"),
            (vec![data("notes", &[]), data("notes", &[])], "twice"),
            ((0..17).map(|number| data(&format!("n{number}"), &[])).collect(), "at most 16"),
        ] {
            assert!(OwnData::check(&wrong).unwrap_err().contains(word), "{wrong:?}");
        }
    }
}
