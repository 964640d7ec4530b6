//! The receipt of a settlement: all that `billing` told of one escrow, as a file that anyone can check without a network.
//!
//! [`SettlementReceipt::check`] runs the contract's own rules over what is told and compares every figure that moved, to the last unit. That the chain told it is for whoever has
//! the chain to see: each step names its transaction.

use crate::events::{BillingEvent, Decision, Moved};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, TimestampMs};
use starling_protocol::{
    escrow::{Authority, Bounds, Effects, Escrow, EscrowError, Event, MAX_LIFE, Posting},
    signing::Voucher,
};
use std::collections::BTreeMap;

/// The format's name, in each file.
pub const RECEIPT_FORMAT: &str = "starling-settlement-receipt-1";
/// The most steps of a receipt.
pub const MAX_STEPS: usize = 100_000;

/// The receipt of one escrow, from its payment to the last thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettlementReceipt {
    /// [`RECEIPT_FORMAT`].
    pub format: String,
    /// The chain's own name.
    pub chain_id: String,
    /// The contract that held the money.
    pub billing: AccountId,
    /// The escrow.
    pub escrow_id: EscrowId,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// One event of `billing` about the escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Hash of the transaction whose receipt told it.
    pub tx: String,
    /// Who signed the transaction.
    pub signer: AccountId,
    /// Time of the block in which it happened.
    pub at: TimestampMs,
    /// What happened.
    pub told: BillingEvent,
}

/// What a checked receipt sums to: `deposited` = `paid` + `fee` + `refunded` + `locked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settlement {
    /// Who paid.
    pub payer: AccountId,
    /// For what contract.
    pub target: AccountId,
    /// What it is counted in.
    pub asset: Asset,
    /// All that was paid in.
    pub deposited: Amount,
    /// What each payee was credited, after the fee.
    pub paid: BTreeMap<AccountId, Amount>,
    /// To the fee account.
    pub fee: Amount,
    /// Back to the payer.
    pub refunded: Amount,
    /// What still lies in the escrow.
    pub locked: Amount,
    /// The escrow's state after the last step.
    pub state: &'static str,
    /// Whether nothing can happen to it any more.
    pub is_spent: bool,
}

/// Why a receipt is not right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Another format, or too long.
    #[error("this is no receipt that this program knows: it must be of the format {RECEIPT_FORMAT} with at most {MAX_STEPS} steps")]
    Format,
    /// It does not begin with the payment.
    #[error("the receipt does not begin with the payment into escrow {0}")]
    NoPayment(EscrowId),
    /// A step is about another escrow, or about none.
    #[error("step {step} is not about this escrow")]
    Stranger {
        /// Counted from 1.
        step: usize,
    },
    /// Time goes backwards.
    #[error("step {step} is earlier than the one before")]
    Order {
        /// Counted from 1.
        step: usize,
    },
    /// The contract's rules refuse the step.
    #[error("step {step} ({event}) cannot have happened: {source}")]
    Refused {
        /// Counted from 1.
        step: usize,
        /// What is told.
        event: &'static str,
        /// What the rule says.
        #[source]
        source: EscrowError,
    },
    /// The rules move something else than is told.
    #[error("step {step} ({event}): {what} is told as {told}, by the contract's rules it is {due}")]
    Differs {
        /// Counted from 1.
        step: usize,
        /// What is told.
        event: &'static str,
        /// Which figure.
        what: &'static str,
        /// As told.
        told: String,
        /// As computed.
        due: String,
    },
    /// The parts do not sum to what was paid in.
    #[error("the parts sum to {sum}, {deposited} were paid in")]
    Unbalanced {
        /// All parts.
        sum: Amount,
        /// What was paid in.
        deposited: Amount,
    },
    /// A sum passes its range.
    #[error("the figures pass every range")]
    Range,
}

impl BillingEvent {
    /// The escrow that an event is about; nothing if it is about none.
    pub fn escrow_id(&self) -> Option<EscrowId> {
        match self {
            Self::PaymentHeld { escrow_id, .. }
            | Self::EscrowOpened { escrow_id, .. }
            | Self::EscrowRefused { escrow_id, .. }
            | Self::EscrowVoided { escrow_id, .. }
            | Self::ForwardedReturned { escrow_id, .. }
            | Self::EscrowPosted { escrow_id, .. }
            | Self::VoucherRedeemed { voucher: Voucher { escrow_id, .. }, .. }
            | Self::HoldbackDecided { escrow_id, .. }
            | Self::PostsVested { escrow_id, .. }
            | Self::EscrowObjected { escrow_id, .. }
            | Self::ClosingAsked { escrow_id, .. }
            | Self::EscrowExtended { escrow_id, .. }
            | Self::EscrowClosed { escrow_id, .. }
            | Self::EarningsClaimed { escrow_id, .. } => Some(*escrow_id),
            Self::AccountRegistered { .. }
            | Self::AccountUnregistered { .. }
            | Self::StorageDeposited { .. }
            | Self::StorageWithdrawn { .. }
            | Self::Deposited { .. }
            | Self::Withdrawn { .. }
            | Self::TransferFailed { .. }
            | Self::TokenSet { .. }
            | Self::SplitOpened { .. }
            | Self::ShareTaken { .. }
            | Self::SessionKeyAdded { .. }
            | Self::SessionKeyRemoved { .. }
            | Self::FeesWithdrawn { .. }
            | Self::FeesReturned { .. }
            | Self::PausedSet { .. } => None,
        }
    }
}

impl SettlementReceipt {
    /// Whether each step follows from the one before by the rules of `billing`, and every figure that moved is the one that is due. Gives the sums.
    pub fn check(&self) -> Result<Settlement, ReceiptError> {
        if self.format != RECEIPT_FORMAT || self.steps.len() > MAX_STEPS {
            return Err(ReceiptError::Format);
        }
        let mut escrow = self.paid_in()?;
        let mut sums = Sums { paid: BTreeMap::new(), fee: Amount::ZERO, last: self.steps.first().map_or(TimestampMs(0), |first| first.at) };
        for (index, step) in self.steps.iter().enumerate().skip(1) {
            escrow = self.follow(escrow, index + 1, step, &mut sums)?;
        }
        let locked = escrow.locked();
        let parts = sums.paid.values().copied().chain([sums.fee, escrow.refunded, locked]);
        let sum = Amount::sum(parts).map_err(|_| ReceiptError::Range)?;
        if sum != escrow.deposited {
            return Err(ReceiptError::Unbalanced { sum, deposited: escrow.deposited });
        }
        let (state, is_spent) = (escrow.state.name(), escrow.is_spent());
        let Escrow { payer, arbiter, asset, deposited, refunded, .. } = escrow;
        Ok(Settlement { payer, target: arbiter, asset, deposited, paid: sums.paid, fee: sums.fee, refunded, locked, state, is_spent })
    }

    /// The escrow as the payment made it. What the payer allowed is not told; it is taken to be what was answered, which the contract had checked.
    fn paid_in(&self) -> Result<Escrow, ReceiptError> {
        let Some(Step { at, told: BillingEvent::PaymentHeld { escrow_id, payer, target, asset, amount, fee, .. }, .. }) =
            self.steps.first()
        else {
            return Err(ReceiptError::NoPayment(self.escrow_id));
        };
        if *escrow_id != self.escrow_id {
            return Err(ReceiptError::Stranger { step: 1 });
        }
        let answered = self.steps.iter().find_map(|step| match &step.told {
            BillingEvent::EscrowOpened { terms, .. } => Some(terms),
            _ => None,
        });
        let bounds = Bounds {
            expires_by: answered.map_or(at.after(MAX_LIFE), |terms| terms.expires_at),
            post_at_once: *amount,
            fee: *fee,
            holdback: answered.map_or(BasisPoints::ZERO, |terms| terms.holdback),
            voucher: answered.and_then(|terms| match terms.authority {
                Authority::Voucher(key) => Some(key),
                Authority::Arbiter => None,
            }),
            objection_window: answered.map_or(DurationMs(0), |terms| terms.objection_window),
        };
        let refused = |source| ReceiptError::Refused { step: 1, event: "payment_held", source };
        Escrow::hold(payer.clone(), target.clone(), asset.clone(), *amount, bounds, *fee, *at).map_err(refused)
    }

    fn follow(&self, escrow: Escrow, number: usize, step: &Step, sums: &mut Sums) -> Result<Escrow, ReceiptError> {
        if step.told.escrow_id() != Some(self.escrow_id) {
            return Err(ReceiptError::Stranger { step: number });
        }
        if step.at < sums.last {
            return Err(ReceiptError::Order { step: number });
        }
        sums.last = step.at;
        let Some((event, name, moved)) = due(&step.told, &escrow).ok_or(ReceiptError::Stranger { step: number })? else {
            return Ok(escrow);
        };
        // Who was credited was registered; who was not has it unclaimed.
        let credited = |account: &AccountId| moved.is_some_and(|moved| moved.credits.iter().any(|(credited, _)| credited == account));
        let refused = |source| ReceiptError::Refused { step: number, event: name, source };
        let (next, effects) = escrow.apply(event, step.at, credited).map_err(refused)?;
        if let Some(moved) = moved {
            compare(number, name, moved, &effects, &next)?;
        }
        sums.add(&effects).ok_or(ReceiptError::Range)?;
        Ok(next)
    }
}

/// What went where so far, and when.
struct Sums {
    paid: BTreeMap<AccountId, Amount>,
    fee: Amount,
    last: TimestampMs,
}

impl Sums {
    fn add(&mut self, effects: &Effects) -> Option<()> {
        for (account, amount) in &effects.credits {
            let sum = self.paid.entry(account.clone()).or_default();
            *sum = sum.checked_add(*amount).ok()?;
        }
        self.fee = self.fee.checked_add(effects.fee).ok()?;
        Some(())
    }
}

/// An escrow's event, its name, and what is told to have moved.
type Due<'a> = (Event, &'static str, Option<&'a Moved>);

/// The rule's event for what is told; nothing inside where the escrow does not change; nothing at all if no escrow hears of it.
fn due<'a>(told: &'a BillingEvent, escrow: &Escrow) -> Option<Option<Due<'a>>> {
    use BillingEvent as E;
    let due = match told {
        E::EscrowOpened { terms, moved, .. } => (Event::Open(terms.clone()), "escrow_opened", Some(moved)),
        E::EscrowRefused { moved, .. } => (Event::Refuse, "escrow_refused", Some(moved)),
        E::EscrowVoided { moved, .. } => (Event::Void, "escrow_voided", Some(moved)),
        E::EscrowPosted { seq, postings, close, moved, .. } => {
            (Event::Post { by: Authority::Arbiter, seq: *seq, postings: postings.clone(), close: *close }, "escrow_posted", Some(moved))
        }
        E::VoucherRedeemed { voucher, moved } => {
            let by = escrow.voucher_key().map_or(Authority::Arbiter, Authority::Voucher);
            let postings = vec![Posting { payee: voucher.payee.clone(), total: voucher.total }];
            (Event::Post { by, seq: voucher.seq, postings, close: false }, "voucher_redeemed", Some(moved))
        }
        E::HoldbackDecided { decision, moved, .. } => {
            let event = match decision {
                Decision::Acknowledged => Event::Acknowledge,
                Decision::Refused => Event::RefuseHoldback,
                Decision::Vested => Event::Vest,
            };
            (event, "holdback_decided", Some(moved))
        }
        E::PostsVested { moved, .. } => (Event::Vest, "posts_vested", Some(moved)),
        E::EscrowObjected { moved, .. } => (Event::Object, "escrow_objected", Some(moved)),
        E::EscrowClosed { moved, .. } => (Event::Close, "escrow_closed", Some(moved)),
        E::EarningsClaimed { account, moved, .. } => (Event::Claim(account.clone()), "earnings_claimed", Some(moved)),
        E::ClosingAsked { .. } => (Event::AskClosing, "closing_asked", None),
        E::EscrowExtended { expires_at, .. } => (Event::Extend(*expires_at), "escrow_extended", None),
        E::ForwardedReturned { .. } => return Some(None),
        _ => return None,
    };
    Some(Some(due))
}

fn compare(step: usize, event: &'static str, moved: &Moved, effects: &Effects, next: &Escrow) -> Result<(), ReceiptError> {
    let credits = |credits: &[(AccountId, Amount)]| {
        credits.iter().map(|(account, amount)| format!("{account} {amount}")).collect::<Vec<_>>().join(", ")
    };
    let figures = [
        ("the asset", moved.asset.to_string(), next.asset.to_string()),
        ("what payees got", credits(&moved.credits), credits(&effects.credits)),
        ("the fee", moved.fee.to_string(), effects.fee.to_string()),
        ("the refund", moved.refund.to_string(), effects.refund.to_string()),
        ("the state", moved.state.clone(), next.state.name().to_owned()),
        ("whether it is spent", moved.removed.to_string(), next.is_spent().to_string()),
    ];
    match figures.into_iter().find(|(_, told, due)| told != due) {
        Some((what, told, due)) => Err(ReceiptError::Differs { step, event, what, told, due }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "settlement_tests.rs"]
mod tests;
