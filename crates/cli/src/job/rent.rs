//! Which node, for how long and how much at most.

use super::{Api, Context, now};
use crate::pay::{self, Payment};
use anyhow::{Context as _, Result, bail, ensure};
use starling_contract_api::{compute::Purpose, payment::PaymentMsg, rpc::Signer};
use starling_http_api::{node::OfferView, path};
use starling_primitives::{Amount, Asset, DurationMs, EscrowId, Hash32, LeaseId, OfferId};
use starling_protocol::{
    lease::LeaseTerms,
    price::{HOLDBACK, Quote, quote_lease},
};
use starling_scripts::JobFile;
use std::time::{Duration, Instant};

/// The longest time where nobody names one: an hour.
const USUAL_TIME: DurationMs = DurationMs::from_hours(1);
/// How long the outputs are served before the tenth that is held back vests.
const AVAILABILITY: DurationMs = DurationMs::from_hours(1);

/// How long it is waited for a node that takes scripts.
const NODES_WAIT: Duration = Duration::from_secs(15);

/// What the tenant allows.
pub(crate) struct Limits {
    max_price: Option<Amount>,
    time: DurationMs,
    offer: Option<OfferId>,
}

/// An offer with its quote.
pub(crate) struct Choice {
    pub(crate) offer: starling_contract_api::compute::Offer,
    pub(crate) duration: DurationMs,
    pub(crate) quote: Quote,
}

impl Limits {
    /// From the job file, or what was said on the command line instead.
    pub(crate) fn of(job: &JobFile, max_price: Option<Amount>, hours: Option<f64>, offer: Option<OfferId>) -> Result<Self> {
        let time = match (hours, job.max_minutes) {
            (Some(hours), _) => {
                ensure!(hours > 0.0 && hours <= 10_000.0, "--hours is more than 0 and 10000 at most");
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
                DurationMs((hours * 3_600_000.0) as u64)
            }
            (None, Some(minutes)) => DurationMs::from_secs(u64::from(minutes) * 60),
            (None, None) => USUAL_TIME,
        };
        Ok(Self { max_price: max_price.or(job.max_price()?), time, offer })
    }

    /// The longest time that an hourly price leaves within the greatest price.
    fn duration(&self, price_per_hour: Amount) -> DurationMs {
        let affordable = match self.max_price {
            Some(most) if !price_per_hour.is_zero() => {
                u64::try_from(most.0.saturating_mul(3_600_000) / price_per_hour.0).unwrap_or(u64::MAX)
            }
            _ => u64::MAX,
        };
        // Whole seconds, so that rounding up the price never passes the greatest.
        DurationMs(self.time.0.min(affordable) / 1_000 * 1_000)
    }
}

impl Choice {
    /// The quote in words.
    pub(crate) fn words(&self) -> String {
        format!(
            "Node {}: at most {} for {} ({} an hour); only the run itself is paid, by the second that both sign.",
            self.offer.node_id,
            pay::words(&self.offer.terms.asset, self.quote.at_most),
            self.duration,
            pay::words(&self.offer.terms.asset, self.offer.terms.price_per_hour)
        )
    }
}

/// The cheapest idle offer of a node that takes scripts, or the one that was named.
pub(crate) async fn choose(context: &Context, api: &Api, job: &JobFile, limits: &Limits) -> Result<Choice> {
    let offers = offers(api).await?;
    let resources = &job.resources;
    let fits = |offer: &OfferView| {
        let capability = &offer.node.node.capability;
        offer.node.scripts
            && !offer.offer.closed
            && offer.offer.terms.asset == Asset::Near
            && limits.offer.map_or(offer.node.busy == "idle", |wanted| offer.offer.id == wanted)
            && capability.memory_bytes >= u64::from(resources.memory_mib) << 20
            && capability.threads >= resources.cpus
    };
    let scripts = offers.iter().filter(|offer| offer.node.scripts).count();
    let Some(found) = offers.into_iter().filter(fits).min_by_key(|offer| offer.offer.terms.price_per_hour) else {
        bail!(
            "no idle node takes this script now ({scripts} connected nodes take scripts; it wants {} processors and {} MiB): lower [resources], or try again later",
            resources.cpus,
            resources.memory_mib
        );
    };
    let offer = found.offer;
    let duration = limits.duration(offer.terms.price_per_hour).min(offer.terms.max_lease);
    if duration < offer.terms.min_lease {
        bail!(
            "the cheapest node asks {} an hour and takes leases of {} or more: raise the greatest price or the time",
            offer.terms.price_per_hour.display_near(),
            offer.terms.min_lease
        );
    }
    let quote = quote_lease(offer.terms.price_per_hour, duration, None, context.rpc.view(&context.billing().config()).await?.fee)?;
    if let Some(most) = limits.max_price {
        ensure!(quote.at_most <= most, "the quote of {} is more than the {} allowed", quote.at_most.display_near(), most.display_near());
    }
    Ok(Choice { offer, duration, quote })
}

/// All offers; where no node takes scripts it is waited a while, since a node that starts tries its sandbox first.
async fn offers(api: &Api) -> Result<Vec<OfferView>> {
    let until = Instant::now() + NODES_WAIT;
    loop {
        let offers: Vec<OfferView> = api.get(path::OFFERS).await?;
        if offers.iter().any(|offer| offer.node.scripts) || Instant::now() > until {
            return Ok(offers);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Pays; gives the lease and its escrow.
pub(crate) async fn pay(context: &Context, choice: &Choice, job: Hash32, meter: &Signer) -> Result<(LeaseId, EscrowId)> {
    let terms = LeaseTerms {
        offer_id: choice.offer.id,
        duration: choice.duration,
        job,
        meter: meter.public_key(),
        availability: AVAILABILITY,
        delegate: None,
    };
    let payment = Payment {
        target: context.profile.deployment.compute.clone(),
        asset: choice.offer.terms.asset.clone(),
        amount: choice.quote.at_most,
        msg: PaymentMsg::Lease(terms),
        expires_by: now().after(choice.duration).after(DurationMs::from_hours(48)),
        holdback: HOLDBACK,
        voucher: None,
    };
    let escrow_id = pay::pay(context, payment).await?;
    match context.rpc.view(&context.compute().purpose(escrow_id)).await? {
        Some(Purpose::Lease(lease_id)) => Ok((lease_id, escrow_id)),
        _ => None.with_context(|| format!("escrow {escrow_id} is open but no lease belongs to it: run `starling reclaim {escrow_id}`")),
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn limits__should_never_let_the_price_pass_what_was_allowed() {
        let job = JobFile { max_minutes: Some(30), max_price_near: Some("0.1".to_owned()), ..JobFile::of_command(vec!["x".to_owned()]) };
        let limits = Limits::of(&job, None, None, None).unwrap();
        let per_hour = Amount::from_millinear(600);
        assert_eq!(limits.duration(per_hour), DurationMs::from_secs(600));
        assert_eq!(limits.duration(Amount::from_millinear(10)), DurationMs::from_secs(1_800));
        for price in [1_u64, 7, 333, 599, 601, 100_000] {
            let price = Amount::from_millinear(price);
            let quote = quote_lease(price, limits.duration(price), None, starling_primitives::BasisPoints::ZERO).unwrap();
            assert!(quote.at_most <= Amount::from_millinear(100), "{price:?}");
        }
        let longer = Limits::of(&job, Some(Amount::from_near(9)), Some(1.5), None).unwrap();
        assert_eq!(longer.duration(per_hour), DurationMs::from_secs(5_400));
        assert!(Limits::of(&job, None, Some(0.0), None).is_err());
    }
}
