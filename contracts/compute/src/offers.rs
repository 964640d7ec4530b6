//! Offers: a provider's standing ask for one node.

use crate::{ComputeError, Contract, ContractExt, log};
use near_sdk::{env, near};
use starling_contract_api::{compute::Offer, events::ComputeEvent};
use starling_contract_common::{OrPanic, charge_growth, next, now, require_one_yocto};
use starling_primitives::{NodeId, OfferId};
use starling_protocol::node::OfferTerms;

/// The most open offers of one node.
pub(crate) const MAX_OPEN_OFFERS: usize = 8;

#[near]
impl Contract {
    /// Makes an offer for a staked node of the caller.
    ///
    /// Access: the provider's full-access key. Deposit: storage, see `storage_price`. Gas: 20 T. State change: the offer's record. Events: `offer_created`. Refund: what storage does
    /// not need. Answers the offer's number.
    #[payable]
    pub fn create_offer(&mut self, node_id: NodeId, terms: OfferTerms) -> OfferId {
        self.setup.require_running();
        terms.check().or_panic();
        let node = self.own_node(node_id).or_panic();
        self.require_ready(&node).or_panic();
        let before = env::storage_usage();
        let id = OfferId(next(&mut self.last_offer));
        let offer = Offer { id, node_id, provider: node.provider, terms, created_at: now(), closed: false };
        self.offers.insert(&id, &offer);
        self.list_offer(node_id, id).or_panic();
        charge_growth(before);
        log(&ComputeEvent::OfferCreated { offer });
        id
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
        let mut open = self.open_offers.get(&offer.node_id).unwrap_or_default();
        open.retain(|id| *id != offer_id);
        self.open_offers.insert(&offer.node_id, &open);
        log(&ComputeEvent::OfferClosed { offer_id });
        Ok(())
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
