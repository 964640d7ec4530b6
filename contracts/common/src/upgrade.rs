//! Upgrades: the owner approves new code, whoever does not want it has time to leave, and then anyone puts it in place.
//!
//! The approval lies beside the contract's state. It stays until the new code has taken the state over, so that a migration that fails leaves everything as it was.

use crate::{
    OrPanic, bytes_cost, emit,
    forms::{self, FirstForm},
    now,
};
use near_sdk::{AccountContract, Gas, GasWeight, NearToken, env};
use starling_contract_api::events::UpgradeEvent;
use starling_primitives::{Amount, Hash32};
use starling_protocol::upgrade::{Approval, UpgradeError};

/// Where the approval is kept.
const KEY: &[u8] = b"UPGRADE";
/// The least that a migration gets; all gas that is left goes to it.
const MIGRATE_GAS: Gas = Gas::from_tgas(10);

/// Approves that the code with hash `new_hash` takes the place of the running one, in the place of an approval before. The caller's right was checked.
pub fn approve(standard: &str, old_hash: Hash32, new_hash: Hash32) -> Approval {
    let approval = Approval::new(old_hash, new_hash, running(), now()).or_panic();
    env::storage_write(KEY, &forms::write::<Approval, FirstForm>(&approval));
    emit(standard, &UpgradeEvent::UpgradeApproved { approval });
    approval
}

/// Takes the approval back. The caller's right was checked.
pub fn cancel(standard: &str) {
    let approval = take();
    emit(standard, &UpgradeEvent::UpgradeCancelled { approval });
}

/// What is approved.
pub fn approved() -> Option<Approval> {
    let stored = env::storage_read(KEY)?;
    Some(forms::read::<Approval, FirstForm>(&stored).or_panic_with("the approval of an upgrade cannot be read"))
}

/// Deploys the code that is the call's input and lets it take the state over, in one receipt: both happen or neither.
pub fn run() {
    let approval = approved().ok_or(UpgradeError::NotApproved).or_panic();
    let code = env::input().or_panic_with("the input of an upgrade is the code");
    approval.check(running(), Hash32(env::sha256_array(&code)), now()).or_panic();
    let receipt = env::promise_batch_create(&env::current_account_id());
    env::promise_batch_action_deploy_contract(receipt, &code);
    env::promise_batch_action_function_call_weight(receipt, "migrate", &[], NearToken::from_yoctonear(0), MIGRATE_GAS, GasWeight(1));
    env::promise_return(receipt);
}

/// In the new code: what was approved is done. `owed` of what the account holds is others' money: it must not be locked as the stake for a larger code.
pub fn finish(standard: &str, owed: Amount) {
    let needed = bytes_cost(env::storage_usage()).checked_add(owed).or_panic();
    let held = Amount(env::account_balance().as_yoctonear());
    if let Ok(missing) = needed.checked_sub(held)
        && !missing.is_zero()
    {
        env::panic_str(&format!(
            "the new code needs more storage than the contract has NEAR of its own for: send it {missing} yoctoNEAR, then try again"
        ));
    }
    let Approval { old_hash, new_hash, .. } = take();
    emit(standard, &UpgradeEvent::Upgraded { old_hash, new_hash });
}

fn take() -> Approval {
    let approval = approved().ok_or(UpgradeError::NotApproved).or_panic();
    env::storage_remove(KEY);
    approval
}

/// Hash of the code that runs.
fn running() -> Hash32 {
    match env::current_contract_code() {
        AccountContract::Local(hash) => Hash32(hash),
        _ => env::panic_str("a contract that shares its code with others cannot be upgraded by itself"),
    }
}

/// Writes the methods of upgrades into a contract: `$standard` names its events, `$owed` tells what it owes to others of the NEAR that it holds, without storage deposits.
#[macro_export]
macro_rules! upgrade_methods {
    ($standard:expr, $owed:expr) => {
        #[::near_sdk::near]
        impl Contract {
            /// Approves that the code with SHA-256 `new_hash` takes the place of the running one, `old_hash`, eight days later: a day after whoever asks for closing now has left.
            /// It replaces an approval before. Answers the approval.
            ///
            /// Access: owner. Deposit: 1 yocto. Gas: 10 T. State change: the approval. Events: `upgrade_approved`. Refund: none.
            #[payable]
            pub fn approve_upgrade(
                &mut self,
                old_hash: ::starling_primitives::Hash32,
                new_hash: ::starling_primitives::Hash32,
            ) -> ::starling_protocol::upgrade::Approval {
                self.setup.require_owner();
                $crate::upgrade::approve($standard, old_hash, new_hash)
            }

            /// Takes the approval back.
            ///
            /// Access: owner. Deposit: 1 yocto. Gas: 10 T. State change: no approval. Events: `upgrade_cancelled`. Refund: none.
            #[payable]
            pub fn cancel_upgrade(&mut self) {
                self.setup.require_owner();
                $crate::upgrade::cancel($standard);
            }

            /// Puts the approved code in place: the input is the code as it is, not JSON. Paused or not.
            ///
            /// Access: anyone, from the approval's time on. Deposit: none. Gas: 300 T. State change: new code, which takes the state over in the same receipt; if it cannot, nothing
            /// has changed and the approval stays. Events: `upgraded`. Refund: none.
            pub fn upgrade(&mut self) {
                $crate::upgrade::run();
            }

            /// Takes the state over from the code before: it is read in whatever form it has, and written in the last. Records follow one by one, when they are written.
            ///
            /// Access: this contract, after `upgrade` has deployed it. State change: the state's form; no approval. Events: `upgraded`.
            #[private]
            pub fn migrate(&mut self) {
                let owed: fn(&Self) -> ::starling_primitives::Amount = $owed;
                $crate::upgrade::finish($standard, owed(self));
            }

            /// The upgrade that is approved, and from when on anyone may do it.
            pub fn approved_upgrade(&self) -> Option<::starling_protocol::upgrade::Approval> {
                $crate::upgrade::approved()
            }
        }
    };
}
