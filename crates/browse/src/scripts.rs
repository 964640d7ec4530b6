//! Which offer a script takes and for how long, or why each machine that is there cannot take it.

use starling_http_api::{job::Resources, node::OfferView};
use starling_primitives::{Amount, Asset, DurationMs, NodeId, OfferId};
use starling_protocol::node::DeviceKind;
use std::{collections::BTreeMap, fmt};

/// The longest time where nobody names one: an hour.
pub const USUAL_TIME: DurationMs = DurationMs::from_hours(1);
/// Reasons that are told at most.
const MAX_REASONS: usize = 6;

/// What a script wants of a machine, and what its tenant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What the machine must have.
    pub resources: Resources,
    /// The most that it may cost, in yoctoNEAR.
    pub most: Option<Amount>,
    /// The longest that it may take, setting up included.
    pub time: DurationMs,
    /// This offer and no other, even if its node works on something else.
    pub offer: Option<OfferId>,
}

/// An offer that takes a script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice<'a> {
    /// Which.
    pub offer: &'a OfferView,
    /// The longest time that price and offer leave.
    pub time: DurationMs,
}

/// Why no offer takes a script, in words for its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoOffer {
    resources: Resources,
    /// Of each node that offers anything.
    reasons: BTreeMap<NodeId, String>,
}

impl Wish {
    /// The cheapest offer that takes the script; of equal ones the first.
    ///
    /// # Errors
    /// Why each node that is there does not take it.
    pub fn choose<'a>(&self, offers: &'a [OfferView]) -> Result<Choice<'a>, NoOffer> {
        let mut reasons = BTreeMap::new();
        let mut fits: Vec<Choice<'a>> = Vec::new();
        for offer in offers.iter().filter(|offer| self.offer.is_none_or(|wanted| offer.offer.id == wanted)) {
            match self.time_on(offer) {
                Ok(time) => fits.push(Choice { offer, time }),
                Err(why) => drop(reasons.insert(offer.node.node.id, why)),
            }
        }
        fits.into_iter().min_by_key(|choice| choice.offer.offer.terms.price_per_hour).ok_or(NoOffer { resources: self.resources, reasons })
    }

    /// The longest time that an offer gives it.
    fn time_on(&self, offer: &OfferView) -> Result<DurationMs, String> {
        let (node, terms, wanted) = (&offer.node, &offer.offer.terms, &self.resources);
        let capability = &node.node.capability;
        let memory_mib = capability.memory_bytes >> 20;
        if !node.scripts && !node.lacks.is_empty() {
            return Err(format!("its sandbox cannot give {}", node.lacks.join(", ")));
        }
        if !node.scripts {
            return Err("it takes no scripts".to_owned());
        }
        if offer.offer.closed {
            return Err("its provider took the offer back".to_owned());
        }
        if terms.asset != Asset::Near {
            return Err("it is paid in another token than NEAR".to_owned());
        }
        if capability.threads < wanted.cpus {
            return Err(format!("it has {} of {} processors", capability.threads, wanted.cpus));
        }
        if memory_mib < u64::from(wanted.memory_mib) {
            return Err(format!("it has {memory_mib} of {} MiB of memory", wanted.memory_mib));
        }
        if wanted.gpu && capability.kind == DeviceKind::Cpu {
            return Err("it has no graphics processor".to_owned());
        }
        if self.offer.is_none() && node.busy != "idle" {
            return Err(format!("it works on {}", node.busy));
        }
        let time = self.affordable(terms.price_per_hour).min(terms.max_lease);
        if time < terms.min_lease {
            let price = terms.price_per_hour.display_near();
            return Err(format!("it asks {price} an hour and takes {} or more: raise the greatest price or the time", terms.min_lease));
        }
        Ok(time)
    }

    /// The longest time that an hourly price leaves within the greatest price, in whole seconds, so that rounding up the price never passes the greatest.
    fn affordable(&self, price_per_hour: Amount) -> DurationMs {
        let left = match self.most {
            Some(most) if !price_per_hour.is_zero() => {
                u64::try_from(most.0.saturating_mul(3_600_000) / price_per_hour.0).unwrap_or(u64::MAX)
            }
            _ => u64::MAX,
        };
        DurationMs(self.time.0.min(left) / 1_000 * 1_000)
    }
}

impl fmt::Display for NoOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resources { cpus, memory_mib, gpu, .. } = self.resources;
        let gpu = if gpu { ", graphics processors" } else { "" };
        write!(f, "no connected node takes this script now, which wants {cpus} processors, {memory_mib} MiB of memory{gpu}")?;
        for (place, (node, why)) in self.reasons.iter().take(MAX_REASONS).enumerate() {
            write!(f, "{} node {node}: {why}", if place == 0 { ";" } else { "," })?;
        }
        match self.reasons.len() {
            0 => f.write_str("; none offers anything"),
            count if count > MAX_REASONS => write!(f, ", and {} more", count - MAX_REASONS),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "scripts_tests.rs"]
mod tests;
