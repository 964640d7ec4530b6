//! What is kept of an escrow: its terms, figures and state.

use super::{Batch, CLOSING_PERIOD, Share};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, PublicKey, TimestampMs};

/// Who may post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// The contract that accepted the payment.
    Arbiter,
    /// Whoever brings a voucher signed by this key, which the payer named.
    Voucher(PublicKey),
}

/// What a payer allows an arbiter to fix, signed with the payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The escrow may live at most until then.
    pub expires_by: TimestampMs,
    /// At most this may be posted at once, fee included.
    pub post_at_once: Amount,
    /// The fee may be at most this.
    pub fee: BasisPoints,
    /// At least this part is held back.
    pub holdback: BasisPoints,
    /// The key whose vouchers post, and then nothing else does; without one the arbiter posts. Never a key of an account: whatever it signs may be a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher: Option<PublicKey>,
    /// At least so long the payer may object to a post; 0 where posts may be final at once. [`MAX_OBJECTION_WINDOW`](super::MAX_OBJECTION_WINDOW) at most.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub objection_window: DurationMs,
}

impl Bounds {
    /// Who may post: the payer fixes it, the arbiter's answer must say the same.
    pub fn authority(&self) -> Authority {
        self.voucher.map_or(Authority::Arbiter, Authority::Voucher)
    }
}

/// A payee's figure so far, before the fee. Cumulative: it never falls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Posting {
    /// Who is paid.
    pub payee: AccountId,
    /// All that was posted for this payee in this escrow so far, this time included, before the fee.
    pub total: Amount,
}

/// What an arbiter answers to a payment that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct OpenTerms {
    /// Who may post.
    pub authority: Authority,
    /// No post after this and the grace.
    pub expires_at: TimestampMs,
    /// How long after expiry posts are still taken; [`MAX_GRACE`](super::MAX_GRACE) at most.
    pub grace: DurationMs,
    /// The part of each figure that waits for the result's acknowledgement.
    pub holdback: BasisPoints,
    /// How long after closing the payer may refuse the holdback; afterwards it vests. [`MAX_AVAILABILITY`](super::MAX_AVAILABILITY) at most.
    pub availability: DurationMs,
    /// The most payees; [`MAX_PAYEES`](super::MAX_PAYEES) at most.
    pub max_payees: u16,
    /// Parts of all that is posted, [`MAX_PARTS`](super::MAX_PARTS) at most: the one posting, with the whole, names who gets the rest, and has it at once; the others claim
    /// theirs, or have it when the escrow closes. Without parts each posting is its payee's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Share>,
    /// What is posted at once.
    pub postings: Vec<Posting>,
    /// Whether the escrow closes at once (a purchase).
    pub close: bool,
    /// How long the payer may object to each post; 0 if posts are final at once. [`MAX_OBJECTION_WINDOW`](super::MAX_OBJECTION_WINDOW) at most, and then at most
    /// [`MAX_VESTING_PAYEES`](super::MAX_VESTING_PAYEES) payees.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub objection_window: DurationMs,
}

/// What one payee has of an escrow. Public figures; the sums are kept by [`Escrow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Payee {
    /// Who is paid.
    pub account: AccountId,
    /// Cumulative figure before fee and holdback, with what has not vested. Only an objection makes it less.
    pub total: Amount,
    /// What was credited to the account so far, after the fee.
    pub credited: Amount,
    /// What is earned, after the fee, and is not credited yet: the account is not registered, or has a fixed part, which it claims or has when the escrow closes.
    pub unclaimed: Amount,
    /// The fee taken from this payee so far.
    pub fee: Amount,
}

/// What became of the holdback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holdback {
    /// It waits.
    Waiting,
    /// The payer acknowledged the result, or the availability window passed.
    Released,
    /// The payer refused: it was returned.
    Refused,
}

/// The terms and figures of an escrow that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Opened {
    /// Who may post.
    pub authority: Authority,
    /// No post after this and the grace; only the payer moves it, and only later.
    pub expires_at: TimestampMs,
    /// How long after expiry posts are still taken.
    pub grace: DurationMs,
    /// The part held back.
    pub holdback: BasisPoints,
    /// What became of it.
    pub holdback_state: Holdback,
    /// How long after closing the payer may refuse the holdback.
    pub availability: DurationMs,
    /// The most payees.
    pub max_payees: u16,
    /// The fixed parts of the first payees, in their order; the payee after them gets the rest, and posts name it alone, with the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<BasisPoints>,
    /// The last post's number; an older one changes nothing.
    pub seq: u64,
    /// Everyone who was posted to, in order of first post.
    pub payees: Vec<Payee>,
    /// When the payer asked for closing.
    pub closing_asked_at: Option<TimestampMs>,
    /// How long the payer may object to each post; 0 if posts are final at once.
    pub objection_window: DurationMs,
    /// Posts that have not vested, the oldest first; [`MAX_BATCHES`](super::MAX_BATCHES) at most. One whose moment has come is earned, and credited with the next call.
    pub batches: Vec<Batch>,
    /// When the payer objected.
    pub objected_at: Option<TimestampMs>,
}

/// Where an escrow stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// The arbiter was asked and has not answered. Admits neither post nor close.
    Held {
        /// After this anyone may void.
        hold_deadline: TimestampMs,
    },
    /// Posts are taken.
    Open(Opened),
    /// Closed to posts, what was available is returned; the holdback is undecided, or the last posts have not vested.
    Settling {
        /// The terms and final figures.
        opened: Opened,
        /// The payer may refuse the holdback until then; afterwards it vests.
        until: TimestampMs,
    },
    /// All is decided. Unclaimed figures may still be claimed.
    Closed(Opened),
    /// The arbiter refused or never answered: all was returned.
    Voided,
}

/// Money locked for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Escrow {
    /// Who paid, and gets back what is not earned.
    pub payer: AccountId,
    /// The contract that the escrow obeys within the payer's bounds.
    pub arbiter: AccountId,
    /// What it is counted in.
    pub asset: Asset,
    /// What the payer allows.
    pub bounds: Bounds,
    /// The fee, frozen when the payment came in.
    pub fee: BasisPoints,
    /// When the payment came in.
    pub created_at: TimestampMs,
    /// All that was paid in.
    pub deposited: Amount,
    /// Returned to the payer so far.
    pub refunded: Amount,
    /// Where it stands.
    pub state: State,
}

impl State {
    /// The state's name in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Open(_) => "open",
            Self::Settling { .. } => "settling",
            Self::Closed(_) => "closed",
            Self::Voided => "voided",
        }
    }

    /// From when on vesting changes something; nothing where nothing waits for its time.
    pub fn vests_at(&self) -> Option<TimestampMs> {
        let (opened, holdback) = match self {
            Self::Open(opened) => (opened, None),
            Self::Settling { opened, until } => (opened, (opened.holdback_state == Holdback::Waiting).then_some(*until)),
            Self::Held { .. } | Self::Closed(_) | Self::Voided => return None,
        };
        opened.batches.first().map(|batch| batch.vests_at).into_iter().chain(holdback).min()
    }

    /// The terms and figures, once opened.
    pub fn opened(&self) -> Option<&Opened> {
        match self {
            Self::Open(opened) | Self::Settling { opened, .. } | Self::Closed(opened) => Some(opened),
            Self::Held { .. } | Self::Voided => None,
        }
    }
}

impl Payee {
    /// A payee without a figure.
    pub fn new(account: AccountId) -> Self {
        Self { account, total: Amount::ZERO, credited: Amount::ZERO, unclaimed: Amount::ZERO, fee: Amount::ZERO }
    }
}

impl Opened {
    /// The sum of all payees' totals, before fee and holdback.
    pub fn total(&self) -> Amount {
        Amount(self.payees.iter().map(|payee| payee.total.0).sum())
    }

    /// The part of the vested totals that waits for acknowledgement; nothing once that is decided.
    pub fn held_back(&self) -> Amount {
        if self.holdback_state == Holdback::Waiting { self.set_aside() } else { Amount::ZERO }
    }

    /// The part of the vested totals that the payer refused.
    pub(super) fn refused(&self) -> Amount {
        if self.holdback_state == Holdback::Refused { self.set_aside() } else { Amount::ZERO }
    }

    /// From when anyone may close: after expiry and grace, or when the payer's closing request has run its time.
    pub fn closable_at(&self) -> TimestampMs {
        let expiry = self.expires_at.after(self.grace).after(DurationMs(1));
        match self.closing_asked_at {
            Some(asked) => expiry.min(asked.after(CLOSING_PERIOD)),
            None => expiry,
        }
    }

    /// A payee's figure that is earned for good, before the fee.
    pub(super) fn earned(&self, total: Amount) -> Amount {
        match self.holdback_state {
            Holdback::Released => total,
            Holdback::Waiting | Holdback::Refused => Amount(total.0 - total.fraction_floor(self.holdback).0),
        }
    }

    fn set_aside(&self) -> Amount {
        if self.holdback == BasisPoints::ZERO {
            return Amount::ZERO;
        }
        Amount((0..self.payees.len()).map(|place| self.vested(place).fraction_floor(self.holdback).0).sum())
    }
}

fn is_nothing(window: &DurationMs) -> bool {
    *window == DurationMs(0)
}
