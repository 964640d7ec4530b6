//! Upgrades: methods that each of the four contracts has.

use crate::{Call, ONE_YOCTO, View};
use serde_json::json;
use starling_primitives::{AccountId, Hash32};
use starling_protocol::upgrade::Approval;

/// The method that takes the new code as its input, as it is.
pub const UPGRADE_METHOD: &str = "upgrade";
/// Its gas: more code than a transaction can carry does not take it all.
pub const UPGRADE_TGAS: u64 = 300;

/// Any of our contracts, as one that is upgraded.
#[derive(Clone, Debug)]
pub struct Upgrades(pub AccountId);

impl Upgrades {
    /// Approves that the code with SHA-256 `new_hash` takes the place of `old_hash`, the one that runs; owner only, one yocto. Gives an [`Approval`].
    pub fn approve(&self, old_hash: Hash32, new_hash: Hash32) -> Call {
        Call::new(&self.0, "approve_upgrade", json!({"old_hash": old_hash, "new_hash": new_hash}), 10, ONE_YOCTO)
    }

    /// Takes the approval back; owner only, one yocto.
    pub fn cancel(&self) -> Call {
        Call::new(&self.0, "cancel_upgrade", json!({}), 10, ONE_YOCTO)
    }

    /// The upgrade that is approved.
    pub fn approved(&self) -> View<Option<Approval>> {
        View::new(&self.0, "approved_upgrade", json!({}))
    }

    /// Puts the approved code in place; anyone.
    #[cfg(feature = "rpc")]
    pub fn run(code: Vec<u8>) -> crate::rpc::Action {
        crate::rpc::Action::FunctionCall(Box::new(crate::rpc::FunctionCallAction {
            method_name: UPGRADE_METHOD.to_owned(),
            args: code,
            gas: near_primitives::types::Gas::from_teragas(UPGRADE_TGAS),
            deposit: near_primitives::types::Balance::ZERO,
        }))
    }
}
