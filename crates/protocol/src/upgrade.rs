//! Upgrades: which code may take the place of which, and from when.

use crate::escrow::CLOSING_PERIOD;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{DurationMs, Hash32, TimestampMs};

/// From an upgrade's approval until it may happen: whoever does not want the new code has left before, by the closing period.
pub const UPGRADE_DELAY: DurationMs = DurationMs::from_days(8);

const _: () = assert!(UPGRADE_DELAY.0 > CLOSING_PERIOD.0, "nobody could leave before an upgrade");

/// An upgrade that the owner approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// SHA-256 of the code that is replaced.
    pub old_hash: Hash32,
    /// SHA-256 of the code that takes its place.
    pub new_hash: Hash32,
    /// From when on anyone may do it.
    pub possible_at: TimestampMs,
}

/// Why an upgrade was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Nothing was approved.
    #[error("no upgrade is approved")]
    NotApproved,
    /// Old and new are one.
    #[error("the upgrade replaces the code by itself")]
    SameCode,
    /// The code that runs is not the one that the upgrade replaces.
    #[error("the upgrade replaces the code {old_hash}, and {running} runs here")]
    OtherCodeRuns {
        /// What the approval names.
        old_hash: Hash32,
        /// What runs.
        running: Hash32,
    },
    /// The code is not the one that was approved.
    #[error("the code {new_hash} was approved, this is {given}")]
    OtherCodeGiven {
        /// What the approval names.
        new_hash: Hash32,
        /// What was brought.
        given: Hash32,
    },
    /// The delay has not passed.
    #[error("the upgrade is possible from {possible_at} on")]
    TooEarly {
        /// From when on.
        possible_at: TimestampMs,
    },
}

impl Approval {
    /// Approves that `new_hash` takes the place of `old_hash`, the code that runs.
    ///
    /// # Errors
    /// Other code runs, or both are one.
    pub fn new(old_hash: Hash32, new_hash: Hash32, running: Hash32, now: TimestampMs) -> Result<Self, UpgradeError> {
        if old_hash == new_hash {
            return Err(UpgradeError::SameCode);
        }
        let approval = Self { old_hash, new_hash, possible_at: now.after(UPGRADE_DELAY) };
        approval.check_running(running)?;
        Ok(approval)
    }

    /// Whether the code with hash `given` may take the place of `running` now.
    ///
    /// # Errors
    /// The delay has not passed, or one of the two is not the approved one.
    pub fn check(&self, running: Hash32, given: Hash32, now: TimestampMs) -> Result<(), UpgradeError> {
        if now < self.possible_at {
            return Err(UpgradeError::TooEarly { possible_at: self.possible_at });
        }
        self.check_running(running)?;
        if given != self.new_hash {
            return Err(UpgradeError::OtherCodeGiven { new_hash: self.new_hash, given });
        }
        Ok(())
    }

    fn check_running(&self, running: Hash32) -> Result<(), UpgradeError> {
        if running == self.old_hash { Ok(()) } else { Err(UpgradeError::OtherCodeRuns { old_hash: self.old_hash, running }) }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000);

    fn code(name: &str) -> Hash32 {
        Hash32::sha256(name.as_bytes())
    }

    #[test]
    fn approval__should_name_the_code_that_runs_and_another() {
        let (old_hash, new_hash) = (code("old"), code("new"));
        let approval = Approval::new(old_hash, new_hash, old_hash, NOW).expect("an upgrade");
        assert_eq!(approval, Approval { old_hash, new_hash, possible_at: TimestampMs(1_000 + 8 * 86_400_000) });
        assert_eq!(Approval::new(old_hash, old_hash, old_hash, NOW), Err(UpgradeError::SameCode));
        let running = code("other");
        assert_eq!(Approval::new(old_hash, new_hash, running, NOW), Err(UpgradeError::OtherCodeRuns { old_hash, running }));
    }

    #[test]
    fn upgrade__should_wait_for_its_delay_to_the_millisecond() {
        let (old_hash, new_hash) = (code("old"), code("new"));
        let approval = Approval::new(old_hash, new_hash, old_hash, NOW).expect("an upgrade");
        let possible_at = approval.possible_at;
        assert_eq!(approval.check(old_hash, new_hash, TimestampMs(possible_at.0 - 1)), Err(UpgradeError::TooEarly { possible_at }));
        assert_eq!(approval.check(old_hash, new_hash, possible_at), Ok(()));
    }

    #[test]
    fn upgrade__should_take_the_approved_code_for_the_approved_code_only() {
        let (old_hash, new_hash, other) = (code("old"), code("new"), code("other"));
        let approval = Approval::new(old_hash, new_hash, old_hash, NOW).expect("an upgrade");
        let later = approval.possible_at;
        assert_eq!(approval.check(other, new_hash, later), Err(UpgradeError::OtherCodeRuns { old_hash, running: other }));
        assert_eq!(approval.check(old_hash, other, later), Err(UpgradeError::OtherCodeGiven { new_hash, given: other }));
        assert_eq!(approval.check(new_hash, new_hash, later), Err(UpgradeError::OtherCodeRuns { old_hash, running: new_hash }));
    }
}
