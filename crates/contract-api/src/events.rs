//! Events of `billing` and `compute`, and those of upgrades, by NEP-297: `EVENT_JSON:{"standard", "version", "event", "data"}`. Whoever reads all of them knows all that ever happened.

use crate::compute::Offer;
use serde::{Deserialize, Serialize};
use starling_primitives::{
    AccountId, Amount, Asset, BasisPoints, EscrowId, Hash32, LeaseId, NodeId, OfferId, PublicKey, RunId, TimestampMs,
};
use starling_protocol::{
    bond::{Bond, CoverState},
    escrow::{OpenTerms, Posting, Share},
    lease::{Lease, LeaseState},
    meter::Meter,
    node::Node,
    run::{Ending, Run, RunState},
    signing::{LeaseStatement, RoundStatement, Voucher},
    upgrade::Approval,
};

/// The standard's name in `billing`'s events.
pub const BILLING_STANDARD: &str = "starling-billing";
/// The standard's name in `compute`'s events.
pub const COMPUTE_STANDARD: &str = "starling-compute";

/// What left an escrow with one change of its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// What credits, fee and refund are counted in: the escrow's asset.
    pub asset: Asset,
    /// To payees' balances, after the fee.
    pub credits: Vec<(AccountId, Amount)>,
    /// To the fee account.
    pub fee: Amount,
    /// Back to the payer's balance.
    pub refund: Amount,
    /// Storage deposit back to the payer's balance, in NEAR.
    pub storage: Amount,
    /// The escrow's state after it.
    pub state: String,
    /// Whether the escrow is spent and its record gone.
    pub removed: bool,
}

/// Where the money of a payment came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Attached to the call.
    Attached,
    /// Sent by `ft_transfer_call`; the NEAR for storage came from the payer's storage credit.
    Transferred,
    /// The payer's balance, with one yocto.
    Balance,
    /// The payer's balance, by a session key.
    SessionKey(PublicKey),
}

/// How a holdback was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The payer accepted the result.
    Acknowledged,
    /// The payer refused it.
    Refused,
    /// The availability window passed.
    Vested,
}

/// Events of `billing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields repeat the words of the records they come from")]
pub enum BillingEvent {
    /// An account registered.
    AccountRegistered { account: AccountId, storage: Amount },
    /// An account ended its registration; its storage deposit left.
    AccountUnregistered { account: AccountId, storage: Amount },
    /// Storage credit came in.
    StorageDeposited { account: AccountId, amount: Amount },
    /// Storage credit went to its owner.
    StorageWithdrawn { account: AccountId, amount: Amount },
    /// NEAR or a token came in, to a balance.
    Deposited { account: AccountId, asset: Asset, amount: Amount },
    /// NEAR or a token left from a balance; [`BillingEvent::TransferFailed`] takes it back.
    Withdrawn { account: AccountId, asset: Asset, amount: Amount },
    /// A transfer failed: the amount is on the account's balance (again).
    TransferFailed { account: AccountId, asset: Asset, amount: Amount },
    /// A token is taken from now on, or no more of it comes in.
    TokenSet { token: AccountId, listed: bool },
    /// A payment is held for its target; `msg` is its [`crate::payment::PaymentMsg`] in JSON.
    PaymentHeld {
        escrow_id: EscrowId,
        payer: AccountId,
        target: AccountId,
        asset: Asset,
        amount: Amount,
        fee: BasisPoints,
        storage: Amount,
        forwarded: Amount,
        source: Source,
        msg: serde_json::Value,
    },
    /// The target accepted.
    EscrowOpened { escrow_id: EscrowId, terms: OpenTerms, moved: Moved },
    /// The target refused, or its answer was outside the payer's bounds; all was returned.
    EscrowRefused { escrow_id: EscrowId, reason: String, moved: Moved },
    /// The target never answered; all was returned.
    EscrowVoided { escrow_id: EscrowId, moved: Moved },
    /// The storage deposit that was forwarded came back from a target that refused.
    ForwardedReturned { escrow_id: EscrowId, payer: AccountId, amount: Amount },
    /// The arbiter posted.
    EscrowPosted { escrow_id: EscrowId, seq: u64, postings: Vec<Posting>, close: bool, moved: Moved },
    /// A voucher counted.
    VoucherRedeemed { voucher: Voucher, moved: Moved },
    /// The holdback was decided.
    HoldbackDecided { escrow_id: EscrowId, decision: Decision, moved: Moved },
    /// Posts vested whose objection window had passed.
    PostsVested { escrow_id: EscrowId, moved: Moved },
    /// The payer objected to what had not vested: it was returned, and nothing is posted any more.
    EscrowObjected { escrow_id: EscrowId, moved: Moved },
    /// The payer asked for closing.
    ClosingAsked { escrow_id: EscrowId, closable_at: TimestampMs },
    /// The payer moved the expiry later.
    EscrowExtended { escrow_id: EscrowId, expires_at: TimestampMs },
    /// Closed without the arbiter.
    EscrowClosed { escrow_id: EscrowId, moved: Moved },
    /// A payee that registered later was credited.
    EarningsClaimed { escrow_id: EscrowId, account: AccountId, moved: Moved },
    /// A split was opened: what comes to its account belongs to these.
    SplitOpened { split: AccountId, shares: Vec<Share>, storage: Amount },
    /// A recipient was credited with its share of a split's balance.
    ShareTaken { split: AccountId, account: AccountId, asset: Asset, amount: Amount },
    /// A session key was registered.
    SessionKeyAdded { account: AccountId, public_key: PublicKey, cap: Amount, expires_at: TimestampMs, targets: Vec<AccountId> },
    /// A session key's right ended.
    SessionKeyRemoved { account: AccountId, public_key: PublicKey },
    /// Fees went to the owner; [`BillingEvent::FeesReturned`] takes it back.
    FeesWithdrawn { owner: AccountId, asset: Asset, amount: Amount },
    /// The transfer of fees failed.
    FeesReturned { asset: Asset, amount: Amount },
    /// New payments are refused, or taken again.
    PausedSet { paused: bool },
}

/// Events of `compute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields repeat the words of the records they come from")]
pub enum ComputeEvent {
    /// A node was registered.
    NodeRegistered { node: Node },
    /// A node's pay goes elsewhere from now on.
    PayoutSet { node_id: NodeId, payout: AccountId },
    /// A node takes no new work.
    NodeRetired { node_id: NodeId },
    /// A node's stake is held; it counts once confirmed.
    StakePaid { node_id: NodeId, escrow_id: EscrowId, amount: Amount },
    /// A node's stake counts.
    StakeConfirmed { node_id: NodeId, escrow_id: EscrowId },
    /// A node's stake is closed or closing in `billing`: it counts no more.
    StakeDropped { node_id: NodeId, escrow_id: EscrowId },
    /// A bond was paid, opened or asked back, or the part of it that is set aside or owed changed.
    BondChanged { escrow_id: EscrowId, bond: Bond },
    /// What a bond owes was sent to `billing`.
    BondPosted { escrow_id: EscrowId, seq: u64, postings: Vec<Posting> },
    /// A lease's promise changed: pinged, answered, broken or kept.
    CoverChanged { lease_id: LeaseId, cover: CoverState },
    /// An offer was made.
    OfferCreated { offer: Offer },
    /// Only these tenants may take an offer from now on; anyone if there are none.
    OfferTenantsSet { offer_id: OfferId, tenants: Vec<AccountId> },
    /// An offer was taken back.
    OfferClosed { offer_id: OfferId },
    /// A payment that never opened was removed.
    PaymentForgotten { escrow_id: EscrowId },
    /// A run's payment is held.
    RunPaid { run: Run },
    /// Nodes may join.
    RunOpened { run_id: RunId, state: RunState },
    /// A node joined.
    NodeEnrolled { run_id: RunId, node_id: NodeId, payout: AccountId, key: PublicKey, state: RunState },
    /// A node left.
    NodeLeft { run_id: RunId, node_id: NodeId, state: RunState },
    /// A round counted. `signers` has bit *i* set when place *i* of the roster signed, in hexadecimal; `chain` is the hash chain after it.
    RoundAccepted { statement: RoundStatement, signers: String, chain: Hash32, state: RunState },
    /// Time or the tenant changed a run.
    RunChanged { run_id: RunId, state: RunState },
    /// A run's vector was sent to `billing`.
    RunPosted { run_id: RunId, seq: u64, postings: Vec<Posting>, close: bool },
    /// The last figures of a run were posted and its escrow was closed.
    RunSettled { run_id: RunId, ending: Ending },
    /// A lease's payment is held.
    LeasePaid { lease: Lease },
    /// A lease changed (opened, accepted, ended by a party or by time).
    LeaseChanged { lease_id: LeaseId, state: LeaseState },
    /// A statement counted.
    StatementAccepted { statement: LeaseStatement, state: LeaseState },
    /// A lease's figures were sent to `billing`, with `close` the final ones.
    LeasePosted { lease_id: LeaseId, seq: u64, postings: Vec<Posting>, close: bool },
    /// A tenant refused the holdback of a run or a lease; it counts for these nodes.
    HoldbackRefused { escrow_id: EscrowId, nodes: Vec<NodeId> },
    /// The tenant replaced a lease's meter.
    MeterReplaced { lease_id: LeaseId, meter: Meter },
    /// The final figure of a lease was posted and its escrow was closed.
    LeaseSettled { lease_id: LeaseId, state: LeaseState },
    /// New payments, nodes and offers are refused, or taken again.
    PausedSet { paused: bool },
}

/// Events of upgrades, which each contract tells under its own standard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields repeat the words of the records they come from")]
pub enum UpgradeEvent {
    /// Other code may take the place of the running one later.
    UpgradeApproved { approval: Approval },
    /// An approved upgrade will not be.
    UpgradeCancelled { approval: Approval },
    /// The approved code runs, and has taken the state over.
    Upgraded { old_hash: Hash32, new_hash: Hash32 },
}

/// An event as it is read from a log line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Log<E> {
    /// Whose format.
    pub standard: String,
    /// Which version of it.
    pub version: String,
    /// What happened.
    #[serde(flatten)]
    pub event: E,
}

/// Reads an event of one standard from a log line; nothing if the line is something else.
pub fn parse<E: serde::de::DeserializeOwned>(line: &str, standard: &str) -> Option<E> {
    #[derive(Deserialize)]
    struct Head {
        standard: String,
    }
    let json = line.strip_prefix("EVENT_JSON:")?;
    let head: Head = serde_json::from_str(json).ok()?;
    if head.standard != standard {
        return None;
    }
    serde_json::from_str::<Log<E>>(json).ok().map(|log| log.event)
}
