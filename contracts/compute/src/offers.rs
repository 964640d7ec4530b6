//! Offers: a provider's standing ask for one node.

use crate::{ComputeError, Contract, ContractExt, StorageKey, bonds, log};
use near_sdk::{env, near};
use starling_contract_api::{compute::Offer, events::ComputeEvent};
use starling_contract_common::{OrPanic, Table, bytes_cost, charge_growth, next, now, require_deposit, require_one_yocto, send};
use starling_primitives::{AccountId, NodeId, OfferId};
use starling_protocol::node::{OfferTerms, check_allow_list};

/// The most open offers of one node.
pub(crate) const MAX_OPEN_OFFERS: usize = 8;

#[near]
impl Contract {
    /// Makes an offer for a staked node of the caller; with `tenants`, 32 at most, only these may take it.
    ///
    /// Access: the provider's full-access key. Deposit: storage, see `storage_price`, and the list's. Gas: 20 T. State change: the offer's record. Events: `offer_created`,
    /// `offer_tenants_set`. Refund: what storage does not need. Answers the offer's number.
    #[payable]
    pub fn create_offer(&mut self, node_id: NodeId, terms: OfferTerms, tenants: Option<Vec<AccountId>>) -> OfferId {
        self.setup.require_running();
        terms.check().or_panic();
        let node = self.own_node(node_id).or_panic();
        self.require_ready(&node).or_panic();
        if let Some(sla) = &terms.sla {
            bonds::require(sla, &node.provider).or_panic();
        }
        let before = env::storage_usage();
        let id = OfferId(next(&mut self.last_offer));
        let offer = Offer { id, node_id, provider: node.provider, terms, created_at: now(), closed: false };
        self.offers.insert(&id, &offer);
        self.list_offer(node_id, id).or_panic();
        log(&ComputeEvent::OfferCreated { offer });
        if let Some(tenants) = tenants {
            set_allowed(id, tenants).or_panic();
        }
        charge_growth(before);
        id
    }

    /// Says who may take an offer from now on: these tenants, 32 at most, or anyone if there are none. Leases taken from it go on.
    ///
    /// Access: the provider's full-access key. Deposit: the list's storage, at least 1 yocto. Gas: 10 T. State change: the offer's list. Events: `offer_tenants_set`. Refund: what
    /// storage does not need, and what it does not need any more.
    #[payable]
    pub fn set_offer_tenants(&mut self, offer_id: OfferId, tenants: Vec<AccountId>) {
        require_deposit();
        let offer = self.offer_record(offer_id).or_panic();
        self.own_node(offer.node_id).or_panic();
        if offer.closed {
            env::panic_str(&ComputeError::OfferClosed(offer_id).to_string());
        }
        let before = env::storage_usage();
        set_allowed(offer_id, tenants).or_panic();
        let freed = before.saturating_sub(env::storage_usage());
        charge_growth(before);
        send(&offer.provider, bytes_cost(freed));
    }

    /// Who alone may take an offer; nobody in it means anyone.
    pub fn offer_tenants(&self, offer_id: OfferId) -> Vec<AccountId> {
        allowed().get(&offer_id).unwrap_or_default()
    }

    /// Takes an offer back. Leases taken from it go on.
    ///
    /// Access: the provider's full-access key. Deposit: 1 yocto. Gas: 10 T. State change: the offer. Events: `offer_closed`. Refund: none.
    #[payable]
    pub fn close_offer(&mut self, offer_id: OfferId) {
        require_one_yocto();
        let offer = self.offer_record(offer_id).or_panic();
        self.own_node(offer.node_id).or_panic();
        self.end_offer(offer_id).or_panic();
    }
}

impl Contract {
    pub(crate) fn offer_record(&self, offer_id: OfferId) -> Result<Offer, ComputeError> {
        self.offers.get(&offer_id).ok_or(ComputeError::NoSuchOffer(offer_id))
    }

    pub(crate) fn end_offer(&mut self, offer_id: OfferId) -> Result<(), ComputeError> {
        let mut offer = self.offer_record(offer_id)?;
        if offer.closed {
            return Err(ComputeError::OfferClosed(offer_id));
        }
        offer.closed = true;
        self.offers.insert(&offer_id, &offer);
        let before = env::storage_usage();
        allowed().remove(&offer_id);
        send(&offer.provider, bytes_cost(before.saturating_sub(env::storage_usage())));
        let mut open = self.open_offers.get(&offer.node_id).unwrap_or_default();
        open.retain(|id| *id != offer_id);
        self.open_offers.insert(&offer.node_id, &open);
        log(&ComputeEvent::OfferClosed { offer_id });
        Ok(())
    }

    /// Whether a tenant may take an offer.
    pub(crate) fn require_allowed(&self, offer_id: OfferId, tenant: &AccountId) -> Result<(), ComputeError> {
        match allowed().get(&offer_id) {
            Some(tenants) if !tenants.contains(tenant) => Err(ComputeError::NotInvited(offer_id)),
            _ => Ok(()),
        }
    }

    fn list_offer(&mut self, node_id: NodeId, offer_id: OfferId) -> Result<(), ComputeError> {
        let mut open = self.open_offers.get(&node_id).unwrap_or_default();
        if open.len() >= MAX_OPEN_OFFERS {
            return Err(ComputeError::TooManyOffers);
        }
        open.push(offer_id);
        self.open_offers.insert(&node_id, &open);
        Ok(())
    }
}

/// Who may take which offer. A table is no more than its prefix, so it needs no place in the contract's state.
fn allowed() -> Table<OfferId, Vec<AccountId>> {
    Table::new(StorageKey::Allowed as u8)
}

fn set_allowed(offer_id: OfferId, tenants: Vec<AccountId>) -> Result<(), ComputeError> {
    check_allow_list(&tenants)?;
    if tenants.is_empty() {
        allowed().remove(&offer_id);
    } else {
        allowed().insert(&offer_id, &tenants);
    }
    log(&ComputeEvent::OfferTenantsSet { offer_id, tenants });
    Ok(())
}
