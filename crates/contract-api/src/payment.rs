//! What a payment says to its target, and what the target answers.

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
    /// To `hub` or `market`: a licence.
    Licence {
        /// The listing.
        name: AssetName,
    },
}

/// The arguments of `pay` and `pay_from_balance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayArgs {
    /// The contract that is asked to accept.
    pub target: AccountId,
    /// How much; the rest of an attached deposit pays storage and is credited to the payer's balance.
    pub amount: Amount,
    /// What the payer allows.
    pub bounds: Bounds,
    /// What the payer wants.
    pub msg: PaymentMsg,
}

/// What `billing` asks the target: the one argument of `on_payment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentOffered {
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
    pub msg: PaymentMsg,
}

/// The target's answer; also what its view `payment_answer(escrow_id)` repeats while the escrow is pending there.
pub type PaymentAnswer = OpenTerms;
