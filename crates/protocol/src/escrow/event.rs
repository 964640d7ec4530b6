//! What happens to an escrow, what follows from it, and why it may be refused.

use super::{Authority, MAX_LIFE, OpenTerms, Posting};
use starling_primitives::{AccountId, Amount, AmountError, TimestampMs};

/// What happens to an escrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The arbiter accepted.
    Open(OpenTerms),
    /// The arbiter refused.
    Refuse,
    /// Anyone, when the arbiter never answered.
    Void,
    /// The authority posts new totals, and closes if so said. A voucher posts one total and never closes.
    Post {
        /// Who posts: the caller is the escrow's arbiter, or a voucher of this key was checked.
        by: Authority,
        /// Number of the post; only a higher one than the last counts.
        seq: u64,
        /// New totals; a payee that is left out keeps its figure.
        postings: Vec<Posting>,
        /// Whether the authority closes the escrow with this post.
        close: bool,
    },
    /// The payer accepts the result.
    Acknowledge,
    /// The payer refuses the holdback.
    RefuseHoldback,
    /// The payer asks for closing.
    AskClosing,
    /// The payer extends the life.
    Extend(TimestampMs),
    /// Anyone, once the escrow may be closed without the authority.
    Close,
    /// The payer objects: what has not vested is returned, and nothing is posted any more.
    Object,
    /// Anyone, once an objection window or the availability window passed.
    Vest,
    /// A payee registered after it was posted to, or wants its fixed part.
    Claim(AccountId),
}

/// What must follow from an event: credits, a fee and a refund that sum to what left the escrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Net credits to payees' balances.
    pub credits: Vec<(AccountId, Amount)>,
    /// To the fee account.
    pub fee: Amount,
    /// Back to the payer's balance.
    pub refund: Amount,
    /// Whether anything changed; a repeated or older post changes nothing.
    pub changed: bool,
}

/// Why an event was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscrowError {
    /// The event is not taken in this state.
    #[error("the escrow is {state}, which does not take this")]
    WrongState {
        /// The state's name.
        state: &'static str,
    },
    /// The answer passes what the payer allowed or the protocol's limits.
    #[error("the arbiter's answer is outside the payer's bounds: {0}")]
    OutOfBounds(&'static str),
    /// The voucher key is a point of small order.
    #[error("the voucher key is of small order: anyone could forge its signatures")]
    WeakVoucherKey,
    /// The escrow takes posts of its arbiter, or vouchers; never both.
    #[error("the escrow takes posts of its {takes} alone")]
    WrongAuthority {
        /// Whose posts it takes.
        takes: &'static str,
    },
    /// A payee's total would fall.
    #[error("the total of {0} would fall")]
    TotalFalls(AccountId),
    /// The totals pass the deposit.
    #[error("the totals pass what was deposited")]
    OverDeposit,
    /// More payees than the terms allow, or one twice.
    #[error("too many payees, or one named twice")]
    Payees,
    /// Where parts are fixed all is posted for whoever gets the rest, and divided here.
    #[error("its parts are fixed: a post names {0} alone, with the whole")]
    Divided(AccountId),
    /// Posts, or the wait for the arbiter's answer, ended.
    #[error("too late: possible until {0}")]
    Expired(TimestampMs),
    /// It is too early.
    #[error("too early: possible from {0}")]
    TooEarly(TimestampMs),
    /// Nothing waits for this account.
    #[error("nothing waits for {0}")]
    NothingToClaim(AccountId),
    /// Posts are final at once, or all of them have vested.
    #[error("there is nothing to object to: {0}")]
    NothingToObject(&'static str),
    /// Nothing waits for a window.
    #[error("nothing waits to vest")]
    NothingToVest,
    /// The holdback was decided already, or there is none.
    #[error("the holdback is decided already")]
    HoldbackDecided,
    /// An extension must move the expiry later, and within the longest life.
    #[error("an extension must be later than the expiry and within {MAX_LIFE}")]
    Extension,
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}
