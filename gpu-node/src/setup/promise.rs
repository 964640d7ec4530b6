//! What an offer promises, and the bond that stands behind it.

use super::{Provider, SetupError, failed};
use starling_contract_api::{compute::Purpose, payment::PaymentMsg};
use starling_primitives::{Amount, DurationMs, EscrowId};
use starling_protocol::{
    bond::{BondState, Sla},
    escrow::State,
};

/// Escrows read at one time.
const PAGE: u32 = 50;

/// What a provider promises to each tenant, and puts down for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// What lies in the bond's escrow.
    pub(crate) bond: Amount,
    /// What a broken promise pays a tenant.
    pub(crate) pays: Amount,
    /// Work units for each hour of metered time; 0 promises none.
    pub(crate) units_per_hour: u64,
    /// How long the node may take to answer a ping.
    pub(crate) answer_time: DurationMs,
}

impl Promise {
    /// The promise as it stands in an offer.
    pub(super) fn sla(&self, bond: EscrowId) -> Sla {
        Sla { bond, pays: self.pays, units_per_hour: self.units_per_hour, answer_time: self.answer_time }
    }
}

impl Provider {
    /// An open bond of this provider that has so much free, else a new one.
    pub(super) async fn bond(&self, promise: &Promise) -> Result<EscrowId, SetupError> {
        let what = "the bond could not be paid";
        let mut from = 0;
        loop {
            let page = self.rpc.view(&self.billing.escrows_of(self.signer.account(), from, PAGE)).await;
            let page = page.map_err(|source| failed(what, source))?;
            let Some(last) = page.last() else { break };
            from = last.id.0 + 1;
            for view in page.iter().filter(|view| view.escrow.arbiter == self.compute.0 && matches!(view.escrow.state, State::Open(_))) {
                if self.fits(view.id, promise).await? {
                    tracing::info!(escrow_id = %view.id, "a bond that was paid before stands behind the offer");
                    return Ok(view.id);
                }
            }
        }
        let escrow_id = self.pay(promise.bond, PaymentMsg::Bond, what).await?;
        tracing::info!(amount = promise.bond.display_near(), %escrow_id, "paid the bond");
        Ok(escrow_id)
    }

    async fn fits(&self, escrow_id: EscrowId, promise: &Promise) -> Result<bool, SetupError> {
        let what = "the bonds could not be read";
        let purpose = self.rpc.view(&self.compute.purpose(escrow_id)).await.map_err(|source| failed(what, source))?;
        if purpose != Some(Purpose::Bond) {
            return Ok(false);
        }
        let bond = self.rpc.view(&self.compute.bond(escrow_id)).await.map_err(|source| failed(what, source))?;
        Ok(match bond {
            Some(bond) => {
                let lasting = bond.free()?.checked_add(bond.set_aside)?;
                bond.state == BondState::Open && lasting >= promise.bond
            }
            None => false,
        })
    }
}
