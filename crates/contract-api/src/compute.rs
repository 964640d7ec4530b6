//! `compute`: nodes, offers, leases and runs. The arbiter of what they cost.
//!
//! *Provider* means the node's provider with one yocto; *node* means the node's own function-call key (or the provider's full key).

use crate::{
    Call, ONE_YOCTO, View,
    payment::{PaymentOffered, storage_cost},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_primitives::{AccountId, Amount, BasisPoints, EscrowId, LeaseId, NodeId, OfferId, PublicKey, RunId, Signature, TimestampMs};
use starling_protocol::{
    bond::Bond,
    lease::Lease,
    meter::Meter,
    node::{Capability, Node, OfferTerms},
    reputation::Reputation,
    run::Run,
    signing::{LeaseStatement, RoundStatement},
};

/// The methods that a node's function-call key is limited to.
pub const NODE_METHODS: &[&str] = &[
    "accept_lease",
    "pong",
    "close_lease",
    "enroll",
    "leave_run",
    "post_statement",
    "post_round",
    "tick_run",
    "tick_lease",
    "settle_run",
    "settle_lease",
];

/// Bytes of a node's or an offer's record at its largest, with what it adds to indexes.
pub const RECORD_BYTES: u64 = 570;
/// Bytes of a list of tenants who may take an offer, and of each of them.
pub const ALLOW_LIST_BYTES: u64 = 60;
/// Bytes of a tenant on such a list.
pub const ALLOWED_BYTES: u64 = 68;

/// What a tenant attaches to a ping. It goes to the node's provider and is ten times the gas of an answer: to ask without need costs more than it does harm.
pub const PING_PRICE: Amount = Amount::from_millinear(5);

/// What a list of so many tenants costs to store at its largest.
pub fn allow_list_storage(tenants: u32) -> Amount {
    storage_cost(ALLOW_LIST_BYTES + ALLOWED_BYTES * u64::from(tenants))
}

/// A provider's standing ask, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Its number.
    pub id: OfferId,
    /// The node it is for.
    pub node_id: NodeId,
    /// Whose it is.
    pub provider: AccountId,
    /// Prices and lengths.
    pub terms: OfferTerms,
    /// When it was made.
    pub created_at: TimestampMs,
    /// Whether it is taken back.
    pub closed: bool,
}

/// A node's reputation as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// By the open formula in [`starling_protocol::reputation`].
    pub score: BasisPoints,
    /// What it follows from, as faded until now.
    pub figures: Reputation,
}

/// A signature with the place in the roster that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterSignature {
    /// Place in the roster, counted from 0.
    pub place: u16,
    /// By that member's key, in the role of node.
    pub signature: Signature,
}

/// The most numbers that one answer goes through. What an answer holds is bounded besides: large records come one at a time.
pub const MAX_PAGE: u32 = 20;

/// How many numbers `compute` has given, each from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// To nodes.
    pub nodes: u64,
    /// To offers.
    pub offers: u64,
    /// To runs; a payment that never opened leaves a number without a run.
    pub runs: u64,
    /// To leases; the same.
    pub leases: u64,
}

impl Counts {
    /// Where to ask on behind a page that began at `from` and whose last record has the number `last`: a page without a record went through all its numbers.
    pub fn next(from: u64, last: Option<u64>) -> u64 {
        last.unwrap_or(from.max(1).saturating_add(u64::from(MAX_PAGE) - 1)).saturating_add(1)
    }
}

/// How `compute` is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Approves upgrades and pauses.
    pub owner: AccountId,
    /// The deployment it belongs to.
    pub deployment: crate::Deployment,
    /// The least stake of a node that offers or enrolls.
    pub min_stake: Amount,
    /// Whether new payments, nodes and offers are refused.
    pub paused: bool,
}

/// The contract at an account.
#[derive(Clone, Debug)]
pub struct Compute(pub AccountId);

impl Compute {
    /// Registers a node of the caller; `payout` must be registered in `billing` to be paid without a claim. The deposit pays storage, the rest comes back. Gives the node's number.
    pub fn register_node(&self, key: &PublicKey, payout: &AccountId, capability: &Capability, deposit: Amount) -> Call {
        Call::new(&self.0, "register_node", json!({"key": key, "payout": payout, "capability": capability}), 20, deposit)
    }

    /// Changes where the pay goes, for leases and runs taken from now on. Provider.
    pub fn set_payout(&self, node_id: NodeId, payout: &AccountId) -> Call {
        Call::new(&self.0, "set_payout", json!({"node_id": node_id, "payout": payout}), 10, ONE_YOCTO)
    }

    /// Takes a node out of service: its offers close, work under way goes on. Provider.
    pub fn retire_node(&self, node_id: NodeId) -> Call {
        Call::new(&self.0, "retire_node", json!({"node_id": node_id}), 20, ONE_YOCTO)
    }

    /// Makes an offer for a staked node. Provider; the deposit pays storage, the rest comes back. Gives the offer's number.
    pub fn create_offer(&self, node_id: NodeId, terms: &OfferTerms, deposit: Amount) -> Call {
        Call::new(&self.0, "create_offer", json!({"node_id": node_id, "terms": terms}), 20, deposit)
    }

    /// Makes an offer that only these tenants may take; the deposit pays for the list too ([`allow_list_storage`]). Provider.
    pub fn create_private_offer(&self, node_id: NodeId, terms: &OfferTerms, tenants: &[AccountId], deposit: Amount) -> Call {
        Call::new(&self.0, "create_offer", json!({"node_id": node_id, "terms": terms, "tenants": tenants}), 20, deposit)
    }

    /// Says who alone may take an offer from now on; anyone if there are none. Provider; at least a yocto: the deposit pays storage ([`allow_list_storage`]), the rest comes back.
    pub fn set_offer_tenants(&self, offer_id: OfferId, tenants: &[AccountId], deposit: Amount) -> Call {
        Call::new(&self.0, "set_offer_tenants", json!({"offer_id": offer_id, "tenants": tenants}), 20, deposit)
    }

    /// Takes an offer back. Provider.
    pub fn close_offer(&self, offer_id: OfferId) -> Call {
        Call::new(&self.0, "close_offer", json!({"offer_id": offer_id}), 10, ONE_YOCTO)
    }

    /// `billing` only: asks to accept a payment, with the storage deposit that the payer forwards. Panics to refuse; else answers
    /// [`starling_protocol::escrow::OpenTerms`].
    pub fn on_payment(&self, offered: &PaymentOffered, storage: Amount) -> Call {
        Call::new(&self.0, "on_payment", json!(offered), 30, storage)
    }

    /// Removes a payment that was accepted here and never opened in `billing`, and sends its storage deposit to who paid; anyone, ten minutes and a margin later.
    pub fn forget_payment(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "forget_payment", json!({"escrow_id": escrow_id}), 20, Amount::ZERO)
    }

    /// Reads a node's stake from `billing` again and drops it here when it is closed or closing; anyone.
    pub fn check_stake(&self, node_id: NodeId) -> Call {
        Call::new(&self.0, "check_stake", json!({"node_id": node_id}), 40, Amount::ZERO)
    }

    /// `billing` only: the escrow is open.
    pub fn on_opened(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "on_opened", json!({"escrow_id": escrow_id}), 10, Amount::ZERO)
    }

    /// Joins a run under the run's terms; with that the node has accepted its price. Node.
    pub fn enroll(&self, run_id: RunId, node_id: NodeId) -> Call {
        Call::new(&self.0, "enroll", json!({"run_id": run_id, "node_id": node_id}), 20, Amount::ZERO)
    }

    /// Leaves a run. Node.
    pub fn leave_run(&self, run_id: RunId, node_id: NodeId) -> Call {
        Call::new(&self.0, "leave_run", json!({"run_id": run_id, "node_id": node_id}), 20, Amount::ZERO)
    }

    /// Brings a signed round; anyone. The meter's signature and those of at least two thirds of the roster are checked.
    pub fn post_round(&self, statement: &RoundStatement, signatures: &[RosterSignature], meter: &Signature) -> Call {
        Call::new(&self.0, "post_round", json!({"statement": statement, "signatures": signatures, "meter": meter}), 60, Amount::ZERO)
    }

    /// Posts the run's cumulative vector to `billing`, and closes the escrow if the run ended; anyone.
    pub fn settle_run(&self, run_id: RunId) -> Call {
        Call::new(&self.0, "settle_run", json!({"run_id": run_id}), 100, Amount::ZERO)
    }

    /// Stops a run; its tenant. Rounds that counted stay paid.
    pub fn stop_run(&self, run_id: RunId) -> Call {
        Call::new(&self.0, "stop_run", json!({"run_id": run_id}), 110, Amount::ZERO)
    }

    /// What time demands of a run (start, fail); anyone.
    pub fn tick_run(&self, run_id: RunId) -> Call {
        Call::new(&self.0, "tick_run", json!({"run_id": run_id}), 20, Amount::ZERO)
    }

    /// Accepts a lease within a minute of its payment, if the bond behind it is there. Node.
    pub fn accept_lease(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "accept_lease", json!({"lease_id": lease_id}), 40, Amount::ZERO)
    }

    /// Asks on chain whether the node of a covered lease answers; its tenant. The deposit is [`PING_PRICE`].
    pub fn ping(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "ping", json!({"lease_id": lease_id}), 20, PING_PRICE)
    }

    /// Answers a ping. Node.
    pub fn pong(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "pong", json!({"lease_id": lease_id}), 20, Amount::ZERO)
    }

    /// Has what a bond owes posted to `billing`; anyone. A ping of this lease that was not answered in time counts as a breach with it.
    pub fn claim_bond(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "claim_bond", json!({"lease_id": lease_id}), 100, Amount::ZERO)
    }

    /// A bond.
    pub fn bond(&self, escrow_id: EscrowId) -> View<Option<Bond>> {
        View::new(&self.0, "bond", json!({"escrow_id": escrow_id}))
    }

    /// Brings a statement with both signatures; anyone.
    pub fn post_statement(&self, statement: &LeaseStatement, node: &Signature, meter: &Signature) -> Call {
        Call::new(&self.0, "post_statement", json!({"statement": statement, "node": node, "meter": meter}), 30, Amount::ZERO)
    }

    /// Replaces the meter of a lease that has not ended, by a key of the tenant's own or by a delegate within what the payment fixed. Its tenant, one yocto.
    pub fn replace_meter(&self, lease_id: LeaseId, meter: &Meter) -> Call {
        Call::new(&self.0, "replace_meter", json!({"lease_id": lease_id, "meter": meter}), 20, ONE_YOCTO)
    }

    /// Reads a lease's escrow from `billing` and closes the lease here if the escrow is closed there; anyone.
    pub fn check_lease(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "check_lease", json!({"lease_id": lease_id}), 40, Amount::ZERO)
    }

    /// `billing` only: the payer refused the holdback.
    pub fn on_holdback_refused(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "on_holdback_refused", json!({"escrow_id": escrow_id}), 25, Amount::ZERO)
    }

    /// `billing` only: the payer objected.
    pub fn on_objected(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "on_objected", json!({"escrow_id": escrow_id}), 10, Amount::ZERO)
    }

    /// Ends a lease; its tenant or its node.
    pub fn close_lease(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "close_lease", json!({"lease_id": lease_id}), 20, Amount::ZERO)
    }

    /// What time demands of a lease; anyone.
    pub fn tick_lease(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "tick_lease", json!({"lease_id": lease_id}), 20, Amount::ZERO)
    }

    /// Posts the final figures of an ended lease to `billing` and closes its escrow, once statements are no longer taken; before that the figures so far, if
    /// they vest: their window runs from the post. Anyone.
    pub fn settle_lease(&self, lease_id: LeaseId) -> Call {
        Call::new(&self.0, "settle_lease", json!({"lease_id": lease_id}), 100, Amount::ZERO)
    }

    /// Refuses or takes new payments, nodes and offers; owner only.
    pub fn set_paused(&self, paused: bool) -> Call {
        Call::new(&self.0, "set_paused", json!({"paused": paused}), 10, ONE_YOCTO)
    }

    /// How it is set up.
    pub fn config(&self) -> View<Config> {
        View::new(&self.0, "config", json!({}))
    }

    /// How many numbers were given.
    pub fn counts(&self) -> View<Counts> {
        View::new(&self.0, "counts", json!({}))
    }

    /// What a node's or an offer's record costs to store: attach this, the rest comes back.
    pub fn storage_price(&self) -> View<Amount> {
        View::new(&self.0, "storage_price", json!({}))
    }

    /// A node's reputation now; that of a number without a node is empty.
    pub fn reputation(&self, node_id: NodeId) -> View<Standing> {
        View::new(&self.0, "reputation", json!({"node_id": node_id}))
    }

    /// A node.
    pub fn node(&self, node_id: NodeId) -> View<Option<Node>> {
        View::new(&self.0, "node", json!({"node_id": node_id}))
    }

    /// Those of the nodes with the `limit` numbers from `from` on that fit a page; [`MAX_PAGE`] numbers at most. Ask on from [`Counts::next`] to [`Counts::nodes`].
    pub fn nodes(&self, from: u64, limit: u32) -> View<Vec<Node>> {
        View::new(&self.0, "nodes", json!({"from": from, "limit": limit}))
    }

    /// Who alone may take an offer; nobody in it means anyone.
    pub fn offer_tenants(&self, offer_id: OfferId) -> View<Vec<AccountId>> {
        View::new(&self.0, "offer_tenants", json!({"offer_id": offer_id}))
    }

    /// An offer.
    pub fn offer(&self, offer_id: OfferId) -> View<Option<Offer>> {
        View::new(&self.0, "offer", json!({"offer_id": offer_id}))
    }

    /// The same of offers, closed ones too.
    pub fn offers(&self, from: u64, limit: u32) -> View<Vec<Offer>> {
        View::new(&self.0, "offers", json!({"from": from, "limit": limit}))
    }

    /// A run.
    pub fn run(&self, run_id: RunId) -> View<Option<Run>> {
        View::new(&self.0, "run", json!({"run_id": run_id}))
    }

    /// The same of runs.
    pub fn runs(&self, from: u64, limit: u32) -> View<Vec<Run>> {
        View::new(&self.0, "runs", json!({"from": from, "limit": limit}))
    }

    /// A lease.
    pub fn lease(&self, lease_id: LeaseId) -> View<Option<Lease>> {
        View::new(&self.0, "lease", json!({"lease_id": lease_id}))
    }

    /// The same of leases.
    pub fn leases(&self, from: u64, limit: u32) -> View<Vec<Lease>> {
        View::new(&self.0, "leases", json!({"from": from, "limit": limit}))
    }

    /// What was answered to a payment that is still pending; nothing else.
    pub fn payment_answer(&self, escrow_id: EscrowId) -> View<Option<crate::payment::PaymentAnswer>> {
        View::new(&self.0, "payment_answer", json!({"escrow_id": escrow_id}))
    }

    /// What an escrow pays here.
    pub fn purpose(&self, escrow_id: EscrowId) -> View<Option<Purpose>> {
        View::new(&self.0, "purpose", json!({"escrow_id": escrow_id}))
    }
}

/// What an escrow pays in `compute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A run.
    Run(RunId),
    /// A lease.
    Lease(LeaseId),
    /// A node's stake.
    Stake(NodeId),
    /// A provider's bond.
    Bond,
}
