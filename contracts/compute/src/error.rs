//! Why `compute` refuses.

use starling_contract_api::compute::PING_PRICE;
use starling_primitives::{Amount, AmountError, Asset, EscrowId, LeaseId, NodeId, OfferId, RunId};
use starling_protocol::{bond::BondError, lease::LeaseError, node::NodeError, run::RunError};

/// Why a call was refused. The transaction fails, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// No such node.
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    /// No such offer.
    #[error("there is no offer {0}")]
    NoSuchOffer(OfferId),
    /// No such run.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// No such lease.
    #[error("there is no lease {0}")]
    NoSuchLease(LeaseId),
    /// No such bond.
    #[error("there is no bond {0}")]
    NoSuchBond(EscrowId),
    /// The ping's price is not attached.
    #[error("attach {PING_PRICE} yoctoNEAR: it goes to the node's provider")]
    PingPrice,
    /// Nothing is known of the escrow.
    #[error("escrow {0} pays nothing here")]
    NoSuchPayment(EscrowId),
    /// Not the party that may do this.
    #[error("only the {0} may do this")]
    NotYours(&'static str),
    /// The node takes no new work.
    #[error("node {0} is retired")]
    Retired(NodeId),
    /// The node's stake does not count.
    #[error("node {node_id} needs a confirmed stake of at least {min_stake} yoctoNEAR")]
    NotStaked {
        /// The node.
        node_id: NodeId,
        /// What is needed.
        min_stake: Amount,
    },
    /// It has a stake that counts, or none to check.
    #[error("node {0} {1}")]
    Stake(NodeId, &'static str),
    /// The offer was taken back.
    #[error("offer {0} is closed")]
    OfferClosed(OfferId),
    /// The offer is for others.
    #[error("offer {0} is for tenants on its list only")]
    NotInvited(OfferId),
    /// The node works already.
    #[error("node {node_id} has lease {lease_id} already: it takes one at a time")]
    Busy {
        /// The node.
        node_id: NodeId,
        /// Its lease.
        lease_id: LeaseId,
    },
    /// Too many open offers.
    #[error("a node has at most {} open offers", crate::offers::MAX_OPEN_OFFERS)]
    TooManyOffers,
    /// A payment for another contract.
    #[error("compute is paid for runs, leases, stakes and bonds only")]
    NotTaken,
    /// Paid in another asset than it is priced in.
    #[error("this is paid in {0}")]
    OtherAsset(Asset),
    /// The forwarded storage deposit is too small.
    #[error("forward at least {0} yoctoNEAR for the storage of this payment's record")]
    StorageTooSmall(Amount),
    /// The payment is open, or may still open.
    #[error("the payment is open, or may still be opened")]
    MayStillOpen,
    /// A signature does not fit.
    #[error("{0}")]
    Signature(String),
    /// Everything was posted and closed.
    #[error("it is settled already")]
    Settled,
    /// Nothing was earned since, and it has not ended.
    #[error("there is nothing to settle yet")]
    NothingToSettle,
    /// The rule of runs refused.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The rule of leases refused.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The rule of bonds refused.
    #[error(transparent)]
    Bond(#[from] BondError),
    /// The rule of nodes refused.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}
