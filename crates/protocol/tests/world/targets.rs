//! `compute`, `hub`, `market` and a contract of strangers without their storage: what they answer to payments, and what they do with them.

use crate::{
    coverage::Coverage,
    draws::{new_lease, new_listing, rare_lease_event, round, statement},
    random::Random,
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, NodeId, PublicKey, RunId, TimestampMs};
use starling_protocol::{
    bond::{Bond, Cover, Event as BondEvent, MAX_OWED, Sla},
    escrow::{Escrow, OpenTerms, Posting},
    lease::{self, Lease, LeaseState, LeaseTerms},
    listing::{self, Listing},
    meter::Metering,
    price::{HOLDBACK, quote_lease},
    run::{self, Member, Run, RunState, RunTerms},
    signing::Domain,
    split::Split,
};
use std::collections::BTreeMap;

/// The objection window of every offer.
const OBJECTION_WINDOW: DurationMs = DurationMs::from_hours(5);

/// What a payer wants.
#[derive(Clone)]
pub(crate) enum Wish {
    Run(RunTerms),
    Lease(LeaseTerms, Amount, Option<Sla>),
    Bond,
    Licence(AssetName),
    /// A contract of strangers that answers as it likes.
    Deal(OpenTerms),
}

/// What an escrow pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Run,
    Lease,
    Bond,
    Licence(AssetName),
    Deal,
}

/// A payment as its target keeps it; the run or lease has the escrow's number.
pub(crate) struct Payment {
    pub(crate) purpose: Purpose,
    pub(crate) answer: OpenTerms,
    pub(crate) opened: bool,
}

pub(crate) struct Targets {
    pub(crate) payments: BTreeMap<u64, Payment>,
    pub(crate) runs: BTreeMap<u64, Run>,
    pub(crate) leases: BTreeMap<u64, Lease>,
    pub(crate) bonds: BTreeMap<u64, Bond>,
    pub(crate) listings: Vec<Listing>,
    domain: Domain,
    nodes: Vec<AccountId>,
}

/// What `compute` sends to `billing`.
pub(crate) struct Settlement {
    pub(crate) seq: u64,
    pub(crate) postings: Vec<Posting>,
    pub(crate) close: bool,
}

impl Targets {
    pub(crate) fn new(nodes: Vec<AccountId>) -> Self {
        let contract = AccountId::new("compute.starling").expect("a name");
        let domain = Domain { chain_id: "world".to_owned(), contract, instance: 1 };
        Self {
            payments: BTreeMap::new(),
            runs: BTreeMap::new(),
            leases: BTreeMap::new(),
            bonds: BTreeMap::new(),
            listings: Vec::new(),
            domain,
            nodes,
        }
    }

    /// `on_payment`: the terms, or a refusal.
    pub(crate) fn ask(&mut self, id: u64, escrow: &Escrow, wish: Wish, now: TimestampMs, coverage: &mut Coverage) -> Option<OpenTerms> {
        let Escrow { payer, bounds, deposited: amount, .. } = escrow;
        let amount = *amount;
        let terms = OpenTerms {
            authority: bounds.authority(),
            expires_at: bounds.expires_by,
            grace: DurationMs::from_hours(1),
            holdback: HOLDBACK,
            availability: DurationMs(0),
            max_payees: 1,
            parts: Vec::new(),
            postings: Vec::new(),
            close: false,
            objection_window: DurationMs(0),
        };
        let (purpose, answer) = match wish {
            Wish::Run(run_terms) => {
                let run = Run::new(RunId(id), payer.clone(), EscrowId(id), amount, run_terms, now).ok()?;
                let (availability, max_payees) = (run.terms.availability, run.terms.max_payees());
                let (expires_at, objection_window) = (run.terms.expires_at(now), run.terms.objection_window);
                self.runs.insert(id, run);
                (Purpose::Run, OpenTerms { availability, max_payees, expires_at, objection_window, ..terms })
            }
            Wish::Lease(lease_terms, price_per_hour, sla) => {
                if amount
                    < quote_lease(price_per_hour, lease_terms.duration, lease_terms.delegate.as_ref(), BasisPoints::ZERO).ok()?.at_most
                {
                    return None;
                }
                let metering = Metering::new(lease_terms.delegate.as_ref(), OBJECTION_WINDOW).ok()?;
                let (max_payees, objection_window) = (1 + metering.max_payees(), metering.objection_window);
                let (availability, expires_at) =
                    (lease_terms.availability, now.after(lease_terms.duration).after(DurationMs::from_hours(1)));
                let lease = new_lease(id, payer, amount, price_per_hour, lease_terms, self.nodes[0].clone(), now);
                let cover = sla.map(|sla| Cover::new(sla, expires_at));
                if let Some(Cover { sla, until, .. }) = &cover {
                    let set_aside = BondEvent::SetAside { pays: sla.pays, until: *until };
                    self.step_bond(sla.bond.0, set_aside, now, coverage).then_some(())?;
                }
                self.leases.insert(id, Lease { metering, cover, ..lease });
                (Purpose::Lease, OpenTerms { availability, expires_at, max_payees, objection_window, ..terms })
            }
            Wish::Bond => {
                self.bonds.insert(id, Bond::new(payer.clone(), amount, bounds.expires_by));
                (Purpose::Bond, OpenTerms { holdback: BasisPoints::ZERO, grace: DurationMs(0), max_payees: MAX_OWED, ..terms })
            }
            Wish::Licence(name) => {
                let listing = self.listings.iter().find(|listing| listing.name == name)?;
                let bought = listing::buy(listing, &escrow.asset, amount);
                coverage.note("listing", state_of(listing), "buy", bought.is_ok());
                bought.ok()?;
                let postings: Vec<Posting> =
                    listing::postings(listing, amount, Split::account).into_iter().filter(|posting| !posting.total.is_zero()).collect();
                let sum = Amount::sum(postings.iter().map(|posting| posting.total));
                assert_eq!(sum, Ok(amount), "a licence's price is split to the last unit");
                let max_payees = u16::try_from(postings.len()).ok()?;
                (Purpose::Licence(name), OpenTerms { holdback: BasisPoints::ZERO, max_payees, postings, close: true, ..terms })
            }
            Wish::Deal(terms) => (Purpose::Deal, terms),
        };
        self.payments.insert(id, Payment { purpose, answer: answer.clone(), opened: false });
        Some(answer)
    }

    /// `on_opened`: whether it was news.
    pub(crate) fn opened(&mut self, id: u64, now: TimestampMs, coverage: &mut Coverage) -> bool {
        let Some(payment) = self.payments.get_mut(&id).filter(|payment| !payment.opened) else { return false };
        payment.opened = true;
        match payment.purpose {
            Purpose::Run => self.step_run(id, run::Event::Opened, now, coverage),
            Purpose::Lease => self.step_lease(id, lease::Event::Opened, now, coverage),
            Purpose::Bond => self.step_bond(id, BondEvent::Opened, now, coverage),
            Purpose::Licence(_) | Purpose::Deal => true,
        }
    }

    pub(crate) fn step_run(&mut self, id: u64, event: run::Event, now: TimestampMs, coverage: &mut Coverage) -> bool {
        let Some(run) = self.runs.get(&id) else { return false };
        let name = match event {
            run::Event::Opened => "opened",
            run::Event::Enroll(_) => "enroll",
            run::Event::Leave(_) => "leave",
            run::Event::Round { .. } => "round",
            run::Event::Stop => "stop",
            run::Event::Tick => "tick",
            run::Event::Settled => "settled",
            run::Event::Objected => "objected",
        };
        let applied = run.apply(event.clone(), now);
        coverage.note("run", run.state.name(), name, applied.is_ok());
        let Ok(next) = applied else { return false };
        let earned = Amount::sum(next.postings().expect("it was counted").into_iter().map(|posting| posting.total)).expect("small");
        assert!(earned <= next.deposit, "a run earns more than was paid");
        assert!(
            next.roster.iter().zip(&run.roster).all(|(after, before)| after.tokens >= before.tokens)
                || next.roster.len() < run.roster.len()
        );
        if matches!(event, run::Event::Round { .. }) {
            assert!(next.apply(event, now).is_err(), "a round was accepted twice");
        }
        self.runs.insert(id, next);
        true
    }

    pub(crate) fn step_lease(&mut self, id: u64, event: lease::Event, now: TimestampMs, coverage: &mut Coverage) -> bool {
        let Some(lease) = self.leases.get(&id) else { return false };
        let name = match event {
            lease::Event::Opened => "opened",
            lease::Event::Accept => "accept",
            lease::Event::Statement(_) => "statement",
            lease::Event::FormerStatement(_) => "former_statement",
            lease::Event::ReplaceMeter(_) => "replace_meter",
            lease::Event::CloseByTenant => "close_by_tenant",
            lease::Event::CloseByProvider => "close_by_provider",
            lease::Event::Ping => "ping",
            lease::Event::Pong => "pong",
            lease::Event::Tick => "tick",
            lease::Event::Settled => "settled",
            lease::Event::Objected => "objected",
            lease::Event::EscrowClosed => "escrow_closed",
        };
        let applied = lease.apply(event.clone(), now);
        coverage.note("lease", lease.state.name(), name, applied.is_ok());
        Self::note_cover(lease, &event, applied.is_ok(), now, coverage);
        let Ok(next) = applied else { return false };
        assert!(next.earned().expect("it was counted") <= next.deposit, "a lease earns more than was paid");
        assert!(next.metered >= lease.metered && next.seq >= lease.seq, "what was metered stays so");
        if matches!(event, lease::Event::Statement(_)) {
            assert!(next.apply(event, now).is_err(), "a statement was taken twice");
        }
        let before = lease.clone();
        self.follow(&before, &next, now, coverage);
        self.leases.insert(id, next);
        true
    }

    /// An event for a run: mostly one that fits, sometimes any.
    pub(crate) fn run_event(&self, id: u64, random: &mut Random) -> Option<run::Event> {
        let run = self.runs.get(&id)?;
        let node = NodeId(random.below(6));
        let enroll = |node_id: NodeId| {
            let payout = self.nodes[usize::try_from(node_id.0).unwrap_or_default() % self.nodes.len()].clone();
            run::Event::Enroll(Member::new(node_id, payout, PublicKey([7; 32])))
        };
        let fits = random.percent(80);
        Some(match (run.state, random.below(20)) {
            (RunState::Enrolling { .. }, 0..=12) if fits => enroll(node),
            (RunState::Enrolling { .. }, 13..=17) if fits => run::Event::Tick,
            (RunState::Training { .. }, 0..=13) if fits => round(run, &self.domain, random),
            (_, 0..=2) => enroll(node),
            (_, 3..=7) => round(run, &self.domain, random),
            (_, 8..=10) => run::Event::Leave(node),
            (_, 11..=15) => run::Event::Tick,
            (_, 16) => run::Event::Stop,
            (_, 17) => run::Event::Opened,
            // Only a post that `billing` took settles a run that has ended.
            (RunState::Ended { .. }, _) => run::Event::Tick,
            _ => run::Event::Settled,
        })
    }

    /// An event for a lease: mostly one that fits, sometimes any.
    pub(crate) fn lease_event(&self, id: u64, now: TimestampMs, random: &mut Random) -> Option<lease::Event> {
        let lease = self.leases.get(&id)?;
        let fits = random.percent(70);
        Some(match (lease.at(now).state, random.below(20)) {
            (LeaseState::Pending { .. }, _) if fits => lease::Event::Accept,
            (LeaseState::Active { .. }, 0..=7) if fits => statement(lease, now, random),
            (LeaseState::Active { .. }, 8..=10) if fits => lease::Event::Ping,
            (LeaseState::Active { .. }, 11..=16) if fits => lease::Event::Pong,
            (_, 0..=2) => lease::Event::Accept,
            (_, 3..=7) => statement(lease, now, random),
            (_, 8..=10) => lease::Event::CloseByTenant,
            (_, 11..=12) => lease::Event::CloseByProvider,
            (_, 13..=16) => lease::Event::Tick,
            (_, 18) => rare_lease_event(lease, now, random),
            (LeaseState::Closing { .. }, _) => lease::Event::Tick,
            (_, 17) => lease::Event::Opened,
            _ => lease::Event::Settled,
        })
    }

    /// `settle_run` and `settle_lease`: what is sent to `billing`.
    pub(crate) fn settle(&mut self, id: u64, now: TimestampMs, coverage: &mut Coverage) -> Option<Settlement> {
        if self.bonds.contains_key(&id) {
            return self.post_bond(id, now, coverage);
        }
        if let Some(run) = self.runs.get_mut(&id) {
            let close = match run.state {
                RunState::Ended { settled, .. } => (!settled).then_some(true)?,
                _ => false,
            };
            let postings = run.postings().ok()?;
            if postings.is_empty() && !close {
                return None;
            }
            run.post_seq += 1;
            return Some(Settlement { seq: run.post_seq, postings, close });
        }
        let stored = self.leases.get(&id)?.clone();
        let lease = stored.at(now);
        let ends = lease.apply(lease::Event::Settled, now);
        coverage.note("lease", lease.state.name(), "settled", ends.is_ok());
        let close = ends.is_ok();
        if !close && (lease.metering.objection_window == DurationMs(0) || lease.seq == 0) {
            return None;
        }
        let (postings, seq) = (lease.postings().ok()?, lease.seq + u64::from(close));
        self.follow(&stored, &lease, now, coverage);
        self.leases.insert(id, lease);
        Some(Settlement { seq, postings, close })
    }

    /// After `billing` took a last post.
    pub(crate) fn settled(&mut self, id: u64, now: TimestampMs, coverage: &mut Coverage) {
        self.step_run(id, run::Event::Settled, now, coverage);
        self.step_lease(id, lease::Event::Settled, now, coverage);
    }

    /// Publishes something made from others.
    pub(crate) fn publish(&mut self, publisher: &AccountId, random: &mut Random, now: TimestampMs, coverage: &mut Coverage) -> bool {
        let mut parents: Vec<&Listing> = Vec::new();
        while random.percent(60) {
            parents.extend(random.pick(&self.listings));
        }
        let flattened = listing::flatten(&parents);
        for parent in &parents {
            coverage.note("listing", state_of(parent), "flatten", flattened.is_ok());
        }
        let Ok(shares) = flattened else { return false };
        let owed: u32 = shares.iter().map(|share| u32::from(share.part.get())).sum();
        assert!(owed <= 10_000 && shares.len() < listing::MAX_SHARES, "a lineage owes more than the whole");
        let names = parents.iter().map(|parent| parent.name.clone()).collect();
        let name = format!("{publisher}/m{}", random.below(1_000_000_000));
        self.listings.push(new_listing(name.parse().expect("a name"), names, shares, random, now));
        true
    }

    /// Changes a price, delists, or splits a price as a purchase would.
    pub(crate) fn change_listing(&mut self, random: &mut Random, coverage: &mut Coverage) -> bool {
        let count = self.listings.len() as u64;
        if count == 0 {
            return false;
        }
        let index = usize::try_from(random.below(count)).unwrap_or_default();
        let listing = &mut self.listings[index];
        match random.below(10) {
            0 => listing.delisted = true,
            1..4 => listing.price = Amount(u128::from(random.below(1_000_000_000))),
            _ => {
                let parts = listing::split(listing, listing.price);
                assert_eq!(Amount::sum(parts.iter().map(|(_, part)| *part)), Ok(listing.price));
                coverage.note("listing", state_of(listing), "split", true);
            }
        }
        true
    }
}

/// NEAR, or the one token of this world.
pub(crate) fn asset(random: &mut Random) -> Asset {
    if random.percent(70) { Asset::Near } else { Asset::Nep141(AccountId::new("usd.starling").expect("a name")) }
}

fn state_of(listing: &Listing) -> &'static str {
    if listing.delisted { "delisted" } else { "listed" }
}
