//! What a payment says to its target, and what the target answers.

use crate::{AboutEscrow, Ask};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, Asset, AssetName, EscrowId, NodeId};
use starling_protocol::{
    escrow::{Bounds, OpenTerms},
    lease::LeaseTerms,
    run::RunTerms,
};

/// What a payer wants of a payment's target. The target refuses what is not its own by a panic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PaymentMsg {
    /// To `compute`: a run.
    Run(RunTerms),
    /// To `compute`: a lease.
    Lease(LeaseTerms),
    /// To `compute`: a node's stake.
    Stake {
        /// The node.
        node_id: NodeId,
    },
    /// To `compute`: a bond, which offers of the payer may name behind a promise.
    Bond,
    /// To `hub` or `market`: a licence.
    Licence {
        /// The listing.
        name: AssetName,
    },
    /// To `hub` or `market`: a deposit for metered use, which vouchers of the key in [`Bounds::voucher`] draw on.
    Use {
        /// The listing.
        name: AssetName,
    },
}

/// The arguments of `pay` and `pay_from_balance`, and the `msg` of a payment by `ft_transfer_call`.
///
/// `billing` passes the payer's words on as it got them, so `M` is any JSON there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayArgs<M = PaymentMsg> {
    /// The contract that is asked to accept.
    pub target: AccountId,
    /// How much is held; the rest of an attached deposit pays storage and is credited to the payer's balance, as is the rest of transferred tokens.
    pub amount: Amount,
    /// Forwarded to the target for the storage of its own record: [`PaymentMsg::storage`]. What the target does not need it sends to the payer; a refusal credits
    /// all of it to the payer's balance.
    pub storage: Amount,
    /// What the payer allows.
    pub bounds: Bounds,
    /// What the payer wants.
    pub msg: M,
}

/// What `billing` asks the target: the one argument of `on_payment`.
///
/// `billing` passes the payer's words on as it got them, so `M` is any JSON there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentOffered<M = PaymentMsg> {
    /// The escrow that holds the money.
    pub escrow_id: EscrowId,
    /// Who pays.
    pub payer: AccountId,
    /// What it is counted in.
    pub asset: Asset,
    /// How much.
    pub amount: Amount,
    /// What the payer allows.
    pub bounds: Bounds,
    /// What the payer wants.
    pub msg: M,
}

/// The target's answer to `on_payment`; also what its view `payment_answer(escrow_id)` repeats while the payment is pending there (`null` when it is not).
pub type PaymentAnswer = OpenTerms;

impl<M: Serialize> PaymentOffered<M> {
    /// The question, with the storage deposit that the payer forwards.
    pub fn question(&self, target: &AccountId, storage: Amount) -> Ask<&Self> {
        Ask::new(target, "on_payment", self, ON_PAYMENT_TGAS, storage)
    }
}

/// The question repeated: the target's view `payment_answer`.
pub fn question_again(target: &AccountId, escrow_id: EscrowId) -> Ask<AboutEscrow> {
    Ask::new(target, "payment_answer", AboutEscrow { escrow_id }, 10, Amount::ZERO)
}

/// The word to the target that the escrow is open.
pub fn opened_notice(target: &AccountId, escrow_id: EscrowId) -> Ask<AboutEscrow> {
    Ask::new(target, "on_opened", AboutEscrow { escrow_id }, ON_OPENED_TGAS, Amount::ZERO)
}

/// The word to the target that the payer objected: the escrow takes no more posts.
pub fn objected_notice(target: &AccountId, escrow_id: EscrowId) -> Ask<AboutEscrow> {
    Ask::new(target, "on_objected", AboutEscrow { escrow_id }, ON_OBJECTED_TGAS, Amount::ZERO)
}

/// The word to the target that the payer refused the holdback.
pub fn refused_notice(target: &AccountId, escrow_id: EscrowId) -> Ask<AboutEscrow> {
    Ask::new(target, "on_holdback_refused", AboutEscrow { escrow_id }, ON_HOLDBACK_REFUSED_TGAS, Amount::ZERO)
}

/// Gas of `on_payment`.
pub const ON_PAYMENT_TGAS: u64 = 30;
/// Gas of `on_opened`.
pub const ON_OPENED_TGAS: u64 = 10;
/// Gas of `on_objected`: a run has up to 31 nodes to count it for.
pub const ON_OBJECTED_TGAS: u64 = 20;
/// Gas of `on_holdback_refused`: a run has up to 64 nodes to count it for.
pub const ON_HOLDBACK_REFUSED_TGAS: u64 = 25;

/// What a transaction of `pay`, `pay_from_balance` or `confirm` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayResult {
    /// The escrow that held the money.
    pub escrow_id: EscrowId,
    /// Whether the target accepted. If not, everything is back on the payer's balance.
    pub opened: bool,
    /// Why not. A target's own words stand in the transaction's failed receipt.
    pub reason: Option<String>,
}

/// What NEAR asks for a stored byte, in yoctoNEAR.
pub const YOCTO_PER_BYTE: u128 = 10_000_000_000_000_000_000;

/// Bytes of a run in `compute`, its index and its purpose, without its roster.
pub const RUN_BASE_BYTES: u64 = 1_380;
/// Bytes that a delegate adds to a run.
pub const RUN_DELEGATE_BYTES: u64 = 80;
/// Bytes of a place in a run's roster.
pub const MEMBER_BYTES: u64 = 120;
/// Bytes of a lease in `compute`, its index and its purpose.
pub const LEASE_BYTES: u64 = 1_040;
/// Bytes that delegates add to a lease.
pub const DELEGATES_BYTES: u64 = 480;
/// Bytes of a stake in `compute`.
pub const STAKE_BYTES: u64 = 200;
/// Bytes of a bond in `compute`.
pub const BOND_BYTES: u64 = 1_850;
/// Bytes of a licence in `hub` or `market`, its index and its pending purchase.
pub const LICENCE_BYTES: u64 = 1_000;
/// Bytes of a metered use in `hub` or `market`, pending or open.
pub const USE_BYTES: u64 = 500;

/// What so many stored bytes cost.
pub fn storage_cost(bytes: u64) -> Amount {
    Amount(YOCTO_PER_BYTE.saturating_mul(u128::from(bytes)))
}

impl PaymentMsg {
    /// What the target needs for the storage of its record at its largest: [`PayArgs::storage`].
    pub fn storage(&self) -> Amount {
        storage_cost(match self {
            Self::Run(terms) => {
                let delegate = if terms.delegate.is_some() { RUN_DELEGATE_BYTES } else { 0 };
                RUN_BASE_BYTES + delegate + MEMBER_BYTES * u64::from(terms.max_nodes)
            }
            Self::Lease(terms) => LEASE_BYTES + if terms.delegate.is_some() { DELEGATES_BYTES } else { 0 },
            Self::Stake { .. } => STAKE_BYTES,
            Self::Bond => BOND_BYTES,
            Self::Licence { .. } => LICENCE_BYTES,
            Self::Use { .. } => USE_BYTES,
        })
    }
}
