//! Bonds behind offers: who is asked and answers, what was broken, and what that pays.

use crate::{
    ComputeError, Contract, ContractExt, StorageKey,
    escrow_read::EscrowRead,
    leases::{CALLBACK_GAS, READ_TGAS},
    log,
    payments::PurposeRecord,
};
use near_sdk::{Promise, env, near};
use starling_contract_api::{billing::Billing, compute::PING_PRICE, events::ComputeEvent};
use starling_contract_common::{OrPanic, Table, answer, ask, attached, now, refund, send};
use starling_primitives::{AccountId, Amount, EscrowId, LeaseId, TimestampMs};
use starling_protocol::{
    bond::{Bond, BondError, BondState, Cover, Event, Sla},
    lease::{self, Lease},
};

#[near]
impl Contract {
    /// Asks on chain whether the node of a covered lease answers. One ping at a time, and the next when an answer to this one would have been due.
    ///
    /// Access: the tenant's full-access key. Deposit: [`PING_PRICE`], which the node's provider gets: an answer costs a tenth of it. Gas: 20 T. State change: the node must answer
    /// in the time that the offer promised, else the bond pays. Events: `cover_changed`. Refund: what is attached besides.
    #[payable]
    pub fn ping(&mut self, lease_id: LeaseId) {
        let lease = self.own_lease(lease_id).or_panic();
        let rest = attached().checked_sub(PING_PRICE).map_err(|_| ComputeError::PingPrice).or_panic();
        self.change_lease(lease_id, lease::Event::Ping).or_panic();
        send(&self.node_record(lease.node_id).or_panic().provider, PING_PRICE);
        refund(rest);
    }

    /// Answers a ping.
    ///
    /// Access: the node's key. Deposit: none. Gas: 20 T. State change: the promise stands. Events: `cover_changed`. Refund: none.
    pub fn pong(&mut self, lease_id: LeaseId) {
        let lease = self.lease_record(lease_id).or_panic();
        self.own_node(lease.node_id).or_panic();
        self.change_lease(lease_id, lease::Event::Pong).or_panic();
    }

    /// Posts all that the bond behind a lease owes, this lease's breach included: each tenant gets the sum of what was broken, once, less the fee. Repeating it is harmless.
    ///
    /// Access: anyone, at least twelve hours long after the lease's last moment whatever the provider does. Deposit: none. Gas: 100 T. State change: the promise, if a ping was not
    /// answered in time; the number of the post. Events: `cover_changed`, `bond_changed`, `bond_posted`. Refund: none. Answers whether `billing` took it; if not, call again.
    pub fn claim_bond(&mut self, lease_id: LeaseId) {
        self.post_bond(lease_id).or_panic().answers();
    }

    /// After `billing` told of the bond behind a lease that its node accepts. An answer that cannot be read changes nothing: the node may accept again.
    ///
    /// Access: this contract. State change: the lease is active; or the bond covers nothing more. Events: `lease_changed` or `bond_changed`.
    #[private]
    pub fn on_bond_read(&mut self, lease_id: LeaseId) -> bool {
        let Some(read) = answer::<Option<EscrowRead>>() else {
            return false;
        };
        let stays = read.is_some_and(|read| read.is_open() && !read.is_closing());
        if stays {
            self.step_lease(lease_id, lease::Event::Accept).or_panic();
        } else if let Some(cover) = self.lease_record(lease_id).or_panic().cover {
            // Of one that is known to close, nothing changes.
            let _ = change(cover.sla.bond, Event::ClosingAsked);
        }
        stays
    }

    /// A bond.
    pub fn bond(&self, escrow_id: EscrowId) -> Option<Bond> {
        table().get(&escrow_id)
    }
}

impl Contract {
    /// Asks `billing` whether the bond behind a lease is there and stays, and accepts the lease then.
    pub(crate) fn accept_covered(&self, lease_id: LeaseId, cover: &Cover) -> Promise {
        let question = Billing(self.setup.deployment.billing.clone()).ask_escrow(cover.sla.bond, READ_TGAS);
        ask(&question).then(Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_bond_read(lease_id))
    }

    fn post_bond(&mut self, lease_id: LeaseId) -> Result<Promise, ComputeError> {
        let stored = self.lease_record(lease_id)?;
        let escrow_id = stored.cover.as_ref().ok_or(BondError::NoCover)?.sla.bond;
        self.keep_lease(&stored, &stored.at(now()))?;
        let Bond { seq, owed, .. } = change(escrow_id, Event::Post)?;
        log(&ComputeEvent::BondPosted { escrow_id, seq, postings: owed.clone() });
        Ok(self.post(escrow_id, seq, &owed, false))
    }
}

/// Takes a bond, which counts once `billing` has opened the escrow.
pub(crate) fn accept(escrow_id: EscrowId, payer: &AccountId, amount: Amount, expires_at: TimestampMs) -> PurposeRecord {
    keep(escrow_id, Bond::new(payer.clone(), amount, expires_at));
    PurposeRecord::Bond
}

/// Removes a bond whose payment never opened.
pub(crate) fn forget(escrow_id: EscrowId) {
    table().remove(&escrow_id);
}

/// The promise of an offer must have an open bond of its own provider behind it.
pub(crate) fn require(sla: &Sla, provider: &AccountId) -> Result<(), ComputeError> {
    let bond = record(sla.bond)?;
    match bond.state {
        _ if bond.provider != *provider => Err(ComputeError::NotYours("bond's provider")),
        BondState::Open => Ok(()),
        state => Err(BondError::WrongState(state.name()).into()),
    }
}

/// Sets aside what stands behind a lease that is over by `until`.
pub(crate) fn cover(sla: Option<Sla>, until: TimestampMs) -> Result<Option<Cover>, ComputeError> {
    let Some(sla) = sla else { return Ok(None) };
    change(sla.bond, Event::SetAside { pays: sla.pays, until })?;
    Ok(Some(Cover::new(sla, until)))
}

/// Moves the bond behind a lease with its promise.
pub(crate) fn follow(before: &Lease, after: &Lease) -> Result<(), ComputeError> {
    let (Some(was), Some(is)) = (&before.cover, &after.cover) else { return Ok(()) };
    if was.state != is.state {
        log(&ComputeEvent::CoverChanged { lease_id: after.id, cover: is.state });
    }
    match is.follows(was, &after.tenant) {
        Some(event) => change(is.sla.bond, event).map(drop),
        None => Ok(()),
    }
}

/// What happens to a bond.
pub(crate) fn change(escrow_id: EscrowId, event: Event) -> Result<Bond, ComputeError> {
    let bond = record(escrow_id)?.apply(event, now())?;
    keep(escrow_id, bond.clone());
    Ok(bond)
}

fn record(escrow_id: EscrowId) -> Result<Bond, ComputeError> {
    table().get(&escrow_id).ok_or(ComputeError::NoSuchBond(escrow_id))
}

fn keep(escrow_id: EscrowId, bond: Bond) {
    table().insert(&escrow_id, &bond);
    log(&ComputeEvent::BondChanged { escrow_id, bond });
}

/// A table is no more than its prefix, so it needs no place in the contract's state.
fn table() -> Table<EscrowId, Bond> {
    Table::new(StorageKey::Bonds as u8)
}
