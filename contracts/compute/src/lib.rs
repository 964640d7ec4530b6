//! `compute`: nodes, offers, leases and runs; the arbiter of what they cost.
//!
//! It holds no money but the deposits for its own storage. What a run or a lease has earned follows from signed statements alone, by the rules in `starling_protocol`.

// What `#[near]` writes finds our JSON and state by this name.
extern crate starling_contract_common as near_sdk;

mod bonds;
mod error;
mod escrow_read;
mod forms;
mod leases;
mod nodes;
mod offers;
mod payments;
mod reputation;
mod rounds;
mod runs;
mod settle;
mod stake;
mod views;

use near_sdk::{PanicOnDefault, near};
use starling_contract_api::{
    Deployment, InitArgs,
    compute::Offer,
    events::{COMPUTE_STANDARD, ComputeEvent},
};
use starling_contract_common::{Forms, Setup, Table, emit, upgrade_methods};
use starling_primitives::{AccountId, Amount, BasisPoints, EscrowId, LeaseId, NodeId, OfferId, RunId};
use starling_protocol::{lease::Lease, node::Node, run::Run};

pub use error::ComputeError;

/// Prefixes of the tables. Append only: a prefix is never given anew.
#[repr(u8)]
enum StorageKey {
    Nodes = 1,
    Offers = 2,
    Runs = 3,
    Leases = 4,
    Payments = 5,
    /// The last lease of each node.
    LastLease = 6,
    /// The open offers of each node.
    OpenOffers = 7,
    /// Who alone may take an offer.
    Allowed = 8,
    Reputation = 9,
    Bonds = 10,
}

/// The state.
#[derive(PanicOnDefault)]
#[near(contract_state, contract_metadata(standard(standard = "nep297", version = "1.0.0")))]
pub struct Contract {
    setup: Setup,
    min_stake: Amount,
    last_node: u64,
    last_offer: u64,
    last_run: u64,
    last_lease_id: u64,
    nodes: Table<NodeId, Node>,
    offers: Table<OfferId, Offer, forms::OfferForms>,
    runs: Table<RunId, Run, forms::RunForms>,
    leases: Table<LeaseId, Lease, forms::LeaseForms>,
    payments: Table<EscrowId, payments::Payment>,
    last_lease: Table<NodeId, LeaseId>,
    open_offers: Table<NodeId, Vec<OfferId>>,
}

impl Forms<Self> for Contract {}

#[near]
impl Contract {
    /// Sets the contract up, once.
    ///
    /// Access: whoever deploys, in the same transaction. Deposit: none. State change: owner, deployment and the least stake. Events: none.
    #[init]
    pub fn new(owner: AccountId, deployment: Deployment, fee: BasisPoints, min_stake: Amount) -> Self {
        let setup = Setup::new(&InitArgs { owner, deployment, fee, min_stake }, |deployment| &deployment.compute);
        Self {
            setup,
            min_stake,
            last_node: 0,
            last_offer: 0,
            last_run: 0,
            last_lease_id: 0,
            nodes: Table::new(StorageKey::Nodes as u8),
            offers: Table::new(StorageKey::Offers as u8),
            runs: Table::new(StorageKey::Runs as u8),
            leases: Table::new(StorageKey::Leases as u8),
            payments: Table::new(StorageKey::Payments as u8),
            last_lease: Table::new(StorageKey::LastLease as u8),
            open_offers: Table::new(StorageKey::OpenOffers as u8),
        }
    }

    /// Refuses or takes new payments, nodes and offers. What is under way goes on.
    ///
    /// Access: owner. Deposit: 1 yocto. Gas: 10 T. State change: the pause. Events: `paused_set`. Refund: none.
    #[payable]
    pub fn set_paused(&mut self, paused: bool) {
        self.setup.set_paused(paused);
        log(&ComputeEvent::PausedSet { paused });
    }
}

upgrade_methods!(COMPUTE_STANDARD, |_| Amount::ZERO);

fn log(event: &ComputeEvent) {
    emit(COMPUTE_STANDARD, event);
}
