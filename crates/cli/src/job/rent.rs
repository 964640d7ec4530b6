//! Which node, for how long and how much at most.

use super::{Api, Context, now};
use crate::pay::{self, Payment};
use anyhow::{Context as _, Result, bail, ensure};
use starling_browse::scripts::{USUAL_TIME, Wish};
use starling_contract_api::{
    compute::{Offer, Purpose},
    payment::PaymentMsg,
    rpc::Signer,
};
use starling_primitives::{Amount, DurationMs, EscrowId, Hash32, LeaseId, OfferId};
use starling_protocol::{
    lease::LeaseTerms,
    price::{HOLDBACK, Quote, quote_lease},
};
use starling_scripts::JobFile;
use std::time::Duration;

/// How long the outputs are served before the tenth that is held back vests.
const AVAILABILITY: DurationMs = DurationMs::from_hours(1);

/// How long it is waited for a node that takes scripts.
const NODES_WAIT: Duration = Duration::from_secs(30);

/// An offer with its quote.
pub(crate) struct Choice {
    pub(crate) offer: Offer,
    pub(crate) duration: DurationMs,
    pub(crate) quote: Quote,
}

/// What a job wants, from its job file or what was said on the command line instead.
pub(crate) fn wish(job: &JobFile, max_price: Option<Amount>, hours: Option<f64>, offer: Option<OfferId>) -> Result<Wish> {
    let time = match (hours, job.max_minutes) {
        (Some(hours), _) => {
            ensure!(hours > 0.0 && hours <= 10_000.0, "--hours is more than 0 and 10000 at most");
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
            DurationMs((hours * 3_600_000.0) as u64)
        }
        (None, Some(minutes)) => DurationMs::from_secs(u64::from(minutes) * 60),
        (None, None) => USUAL_TIME,
    };
    Ok(Wish { resources: job.resources, most: max_price.or(job.max_price()?), time, offer })
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

/// The cheapest idle offer of a node that takes the script, or the one that was named.
pub(crate) async fn choose(context: &Context, api: &Api, wish: &Wish) -> Result<Choice> {
    // A node that starts tries its sandbox first.
    let offers = api.offers(NODES_WAIT, |offer| offer.node.scripts).await?;
    let (offer, duration) = match wish.choose(&offers) {
        Ok(choice) => (choice.offer.offer.clone(), choice.time),
        Err(none) => bail!("{none}: lower [resources], or try again later"),
    };
    let quote = quote_lease(offer.terms.price_per_hour, duration, None, context.rpc.view(&context.billing().config()).await?.fee)?;
    if let Some(most) = wish.most {
        ensure!(quote.at_most <= most, "the quote of {} is more than the {} allowed", quote.at_most.display_near(), most.display_near());
    }
    Ok(Choice { offer, duration, quote })
}

/// Pays; gives the lease and its escrow.
pub(crate) async fn pay(context: &Context, choice: &Choice, job: Hash32, meter: &Signer) -> Result<(LeaseId, EscrowId)> {
    let escrow_id = pay::pay(context, payment(context, choice, job, meter)).await?;
    Ok((lease_of(context, escrow_id).await?, escrow_id))
}

/// What is to be paid for a choice.
pub(crate) fn payment(context: &Context, choice: &Choice, job: Hash32, meter: &Signer) -> Payment {
    let terms = LeaseTerms {
        offer_id: choice.offer.id,
        duration: choice.duration,
        job,
        meter: meter.public_key(),
        availability: AVAILABILITY,
        delegate: None,
    };
    Payment {
        target: context.profile.deployment.compute.clone(),
        asset: choice.offer.terms.asset.clone(),
        amount: choice.quote.at_most,
        msg: PaymentMsg::Lease(terms),
        expires_by: now().after(choice.duration).after(DurationMs::from_hours(48)),
        holdback: HOLDBACK,
        voucher: None,
    }
}

/// The lease that an escrow pays.
pub(crate) async fn lease_of(context: &Context, escrow_id: EscrowId) -> Result<LeaseId> {
    match context.rpc.view(&context.compute().purpose(escrow_id)).await? {
        Some(Purpose::Lease(lease_id)) => Ok(lease_id),
        _ => None.with_context(|| format!("escrow {escrow_id} is open but no lease belongs to it: run `starling reclaim {escrow_id}`")),
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn wish__should_take_what_was_said_before_the_job_file() {
        let job = JobFile { max_minutes: Some(30), max_price_near: Some("0.1".to_owned()), ..JobFile::of_command(vec!["x".to_owned()]) };
        let of_file = wish(&job, None, None, None).unwrap();
        assert_eq!((of_file.most, of_file.time), (Some(Amount::from_millinear(100)), DurationMs::from_secs(1_800)));
        let said = wish(&job, Some(Amount::from_near(9)), Some(1.5), Some(OfferId(3))).unwrap();
        assert_eq!((said.most, said.time, said.offer), (Some(Amount::from_near(9)), DurationMs::from_secs(5_400), Some(OfferId(3))));
        assert_eq!(wish(&JobFile::of_command(Vec::new()), None, None, None).unwrap().time, USUAL_TIME);
        assert!(wish(&job, None, Some(0.0), None).is_err());
    }
}
