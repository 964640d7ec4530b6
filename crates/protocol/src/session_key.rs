//! Session keys: function-call keys that may spend a balance up to a cap, without a confirmation each time.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, AmountError, TimestampMs};

/// The most session keys of one account.
pub const MAX_KEYS: usize = 16;
/// The most contracts that one key may pay.
pub const MAX_TARGETS: usize = 8;

/// What a registered key may spend. The cap is the greatest loss if the key is stolen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct SessionKey {
    /// The most that may be spent in all; refunds restore nothing.
    pub cap: Amount,
    /// Spent so far.
    pub spent: Amount,
    /// Good until then.
    pub expires_at: TimestampMs,
    /// The contracts that may be paid.
    pub targets: Vec<AccountId>,
}

/// Why a key may not spend. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionKeyError {
    /// The key is past its time.
    #[error("the session key expired")]
    Expired,
    /// The cap would be passed.
    #[error("the session key's cap would be passed: {left} of {cap} yocto are left")]
    OverCap {
        /// What may still be spent.
        left: Amount,
        /// The cap.
        cap: Amount,
    },
    /// The contract is not on the key's list.
    #[error("the session key may not pay {0}")]
    Target(AccountId),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl SessionKey {
    /// Spends from the cap.
    pub fn spend(&self, amount: Amount, target: &AccountId, now: TimestampMs) -> Result<Self, SessionKeyError> {
        if now >= self.expires_at {
            return Err(SessionKeyError::Expired);
        }
        if !self.targets.contains(target) {
            return Err(SessionKeyError::Target(target.clone()));
        }
        let spent = self.spent.checked_add(amount)?;
        if spent > self.cap {
            return Err(SessionKeyError::OverCap { left: self.cap.checked_sub(self.spent)?, cap: self.cap });
        }
        Ok(Self { spent, ..self.clone() })
    }
}

#[cfg(test)]
#[path = "session_key_tests.rs"]
mod tests;
