//! What waits for its time is credited without anyone having to ask: posts that nobody objected to, and the holdback of a result that was served long enough.
//!
//! Anyone may call `vest`; this service does it for the runs and leases that it sees.

use crate::{
    chain::{Chain, FactsReader},
    clock,
    outbox::Outbox,
};
use starling_contract_api::{billing::Billing, rpc::RpcError};
use starling_primitives::{DurationMs, EscrowId, TimestampMs};
use starling_protocol::escrow::{Escrow, State};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often it is looked at what is due.
const EVERY: Duration = Duration::from_secs(20);
/// The most escrows that are read each time.
const READS: usize = 50;
/// An escrow that may still change is read again after so long.
const AGAIN_MS: u64 = 300_000;
/// A call that had no effect is made again after so long.
const RETRY_MS: u64 = 120_000;

/// What is to be done about an escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Something that waited is due since this moment.
    Vest(TimestampMs),
    /// Look again then.
    LookAt(TimestampMs),
    /// Nothing will ever be due.
    Forget,
}

/// Calls `vest` where something is due.
pub struct Vesting {
    chain: Arc<dyn Chain>,
    facts: FactsReader,
    outbox: Outbox,
    billing: Billing,
    /// When to look at an escrow again; nothing for those that are over.
    looks: BTreeMap<EscrowId, Option<TimestampMs>>,
}

impl Vesting {
    /// Vests what the facts name, through the outbox.
    pub fn new(chain: Arc<dyn Chain>, facts: FactsReader, outbox: Outbox, billing: Billing) -> Self {
        Self { chain, facts, outbox, billing, looks: BTreeMap::new() }
    }

    /// Works for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "what is due to vest could not be read");
            }
        }
    }

    async fn sweep(&mut self) -> Result<(), RpcError> {
        let facts = self.facts.borrow().clone();
        let now = facts.chain_time(clock::now());
        let runs = facts.runs.values().map(|run| run.escrow_id);
        for escrow_id in runs.chain(facts.leases.values().map(|lease| lease.escrow_id)) {
            self.looks.entry(escrow_id).or_insert(Some(now));
        }
        let due: Vec<EscrowId> =
            self.looks.iter().filter(|(_, look)| look.is_some_and(|at| at <= now)).map(|(id, _)| *id).take(READS).collect();
        for escrow_id in due {
            let view = self.chain.escrow(escrow_id).await?;
            let look = match plan(view.as_ref().map(|view| &view.escrow), now) {
                Plan::Vest(since) => {
                    let key = format!("vest/{escrow_id}/{}", since.0);
                    if let Err(error) = self.outbox.ensure(&key, &self.billing.vest(escrow_id), RETRY_MS).await {
                        tracing::error!(%error, "the outbox cannot be written");
                    }
                    Some(now)
                }
                Plan::LookAt(at) => Some(at),
                Plan::Forget => None,
            };
            self.looks.insert(escrow_id, look);
        }
        Ok(())
    }
}

/// What is due of an escrow, or when it may be; one that is not there any more is spent.
fn plan(escrow: Option<&Escrow>, now: TimestampMs) -> Plan {
    let Some(escrow) = escrow else { return Plan::Forget };
    let again = now.after(DurationMs(AGAIN_MS));
    match (escrow.state.vests_at(), &escrow.state) {
        (Some(at), _) if at <= now => Plan::Vest(at),
        (_, State::Closed(_) | State::Voided) => Plan::Forget,
        // Posts and the payer's decisions change it meanwhile.
        (at, _) => Plan::LookAt(at.map_or(again, |at| at.min(again))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_primitives::{AccountId, Amount, Asset, BasisPoints};
    use starling_protocol::escrow::{Authority, Bounds, Event, OpenTerms, Posting};

    const NOW: TimestampMs = TimestampMs(1_800_000_000_000);
    const AVAILABILITY: DurationMs = DurationMs::from_secs(100);

    fn open() -> Escrow {
        let bounds = Bounds {
            expires_by: NOW.after(DurationMs::from_days(9)),
            post_at_once: Amount::ZERO,
            fee: BasisPoints::ZERO,
            holdback: BasisPoints::ZERO,
            voucher: None,
            objection_window: DurationMs(0),
        };
        let name = |name: &str| AccountId::new(name).unwrap();
        let held =
            Escrow::hold(name("tenant"), name("compute"), Asset::Near, Amount(1_000), bounds.clone(), BasisPoints::ZERO, NOW).unwrap();
        let terms = OpenTerms {
            authority: Authority::Arbiter,
            expires_at: bounds.expires_by,
            grace: DurationMs(0),
            holdback: BasisPoints::new(1_000).unwrap(),
            availability: AVAILABILITY,
            max_payees: 1,
            postings: Vec::new(),
            close: false,
            objection_window: DurationMs(0),
            parts: Vec::new(),
        };
        held.apply(Event::Open(terms), NOW, |_| true).unwrap().0
    }

    fn settling() -> Escrow {
        let postings = vec![Posting { payee: AccountId::new("node").unwrap(), total: Amount(500) }];
        open().apply(Event::Post { by: Authority::Arbiter, seq: 1, postings, close: true }, NOW, |_| true).unwrap().0
    }

    #[test]
    fn plan__should_vest_a_holdback_when_its_time_has_come_and_forget_it_then() {
        let until = NOW.after(AVAILABILITY);
        assert_eq!(plan(Some(&settling()), NOW), Plan::LookAt(until));
        assert_eq!(plan(Some(&settling()), until), Plan::Vest(until));
        let (closed, _) = settling().apply(Event::Vest, until, |_| true).unwrap();
        assert_eq!(plan(Some(&closed), until), Plan::Forget);
        assert_eq!(plan(None, until), Plan::Forget);
    }

    #[test]
    fn plan__should_look_again_at_what_may_still_change() {
        assert_eq!(plan(Some(&open()), NOW), Plan::LookAt(NOW.after(DurationMs(AGAIN_MS))));
    }
}
