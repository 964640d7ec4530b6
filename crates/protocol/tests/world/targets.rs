//! `compute`, `hub`, `market` and a contract of strangers without their storage: what they answer to payments, and what they do with them.

use crate::{coverage::Coverage, random::Random};
use starling_primitives::{
    AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, PublicKey, RunId, Text,
    TimestampMs,
};
use starling_protocol::{
    escrow::{Authority, Bounds, Escrow, OpenTerms, Posting},
    lease::{self, Lease, LeaseState, LeaseTerms},
    listing::{self, Category, File, Kind, Listing, Ratings, Version},
    meter::{Delegate, Meter, Metering},
    price::{HOLDBACK, quote_lease, quote_run},
    run::{self, Member, Run, RunState, RunTerms},
    signing::{Domain, LeaseStatement, RoundStatement},
};
use std::collections::BTreeMap;

/// The objection window of every offer.
const OBJECTION_WINDOW: DurationMs = DurationMs::from_hours(5);

/// What a payer wants.
#[derive(Clone)]
pub(crate) enum Wish {
    Run(RunTerms),
    Lease(LeaseTerms, Amount),
    Licence(AssetName),
    /// A contract of strangers that answers as it likes.
    Deal(OpenTerms),
}

/// What an escrow pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Run,
    Lease,
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
        Self { payments: BTreeMap::new(), runs: BTreeMap::new(), leases: BTreeMap::new(), listings: Vec::new(), domain, nodes }
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
                let (availability, max_payees) = (run.terms.availability, run.terms.max_nodes);
                let expires_at = run.terms.expires_at(now);
                self.runs.insert(id, run);
                (Purpose::Run, OpenTerms { availability, max_payees, expires_at, ..terms })
            }
            Wish::Lease(lease_terms, price_per_hour) => {
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
                self.leases.insert(id, Lease { metering, ..lease });
                (Purpose::Lease, OpenTerms { availability, expires_at, max_payees, objection_window, ..terms })
            }
            Wish::Licence(name) => {
                let listing = self.listings.iter().find(|listing| listing.name == name)?;
                let bought = listing::buy(listing, &escrow.asset, amount);
                coverage.note("listing", state_of(listing), "buy", bought.is_ok());
                let parts: Vec<_> = bought.ok()?.into_iter().filter(|(_, amount)| !amount.is_zero()).collect();
                assert_eq!(Amount::sum(parts.iter().map(|(_, part)| *part)), Ok(amount), "a licence's price is split to the last unit");
                let postings: Vec<Posting> = parts.into_iter().map(|(payee, total)| Posting { payee, total }).collect();
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
        };
        let applied = run.apply(event.clone(), now, &self.domain);
        coverage.note("run", run.state.name(), name, applied.is_ok());
        let Ok(next) = applied else { return false };
        let earned = Amount::sum(next.earned().expect("it was counted").into_iter().map(|(_, amount)| amount)).expect("small");
        assert!(earned <= next.deposit, "a run earns more than was paid");
        assert!(
            next.roster.iter().zip(&run.roster).all(|(after, before)| after.tokens >= before.tokens)
                || next.roster.len() < run.roster.len()
        );
        if matches!(event, run::Event::Round { .. }) {
            assert!(next.apply(event, now, &self.domain).is_err(), "a round was accepted twice");
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
            lease::Event::Tick => "tick",
            lease::Event::Settled => "settled",
            lease::Event::Objected => "objected",
            lease::Event::EscrowClosed => "escrow_closed",
        };
        let applied = lease.apply(event.clone(), now);
        coverage.note("lease", lease.state.name(), name, applied.is_ok());
        let Ok(next) = applied else { return false };
        assert!(next.earned().expect("it was counted") <= next.deposit, "a lease earns more than was paid");
        assert!(next.metered >= lease.metered && next.seq >= lease.seq, "what was metered stays so");
        if matches!(event, lease::Event::Statement(_)) {
            assert!(next.apply(event, now).is_err(), "a statement was taken twice");
        }
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
            (RunState::Training { .. }, 0..=13) if fits => round(run, random),
            (_, 0..=2) => enroll(node),
            (_, 3..=7) => round(run, random),
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
            (LeaseState::Active { .. }, 0..=16) if fits => statement(lease, now, random),
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
        if let Some(run) = self.runs.get_mut(&id) {
            let close = match run.state {
                RunState::Ended { settled, .. } => (!settled).then_some(true)?,
                _ => false,
            };
            let postings: Vec<Posting> = run.earned().ok()?.into_iter().map(|(payee, total)| Posting { payee, total }).collect();
            if postings.is_empty() && !close {
                return None;
            }
            run.post_seq += 1;
            return Some(Settlement { seq: run.post_seq, postings, close });
        }
        let lease = self.leases.get(&id)?.at(now);
        let ends = lease.apply(lease::Event::Settled, now);
        coverage.note("lease", lease.state.name(), "settled", ends.is_ok());
        let close = ends.is_ok();
        if !close && (lease.metering.objection_window == DurationMs(0) || lease.seq == 0) {
            return None;
        }
        let (postings, seq) = (lease.postings().ok()?, lease.seq + u64::from(close));
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

pub(crate) fn run_terms(random: &mut Random) -> RunTerms {
    let max_nodes = 1 + u16::try_from(random.below(5)).unwrap_or_default();
    RunTerms {
        recipe: Hash32::default(),
        data: Hash32::default(),
        held_out: Hash32::default(),
        base: Hash32::default(),
        base_root: Hash32::default(),
        rounds: 1 + u32::try_from(random.below(5)).unwrap_or_default(),
        min_nodes: 1,
        // Now and then impossible.
        max_nodes: if random.percent(5) { 0 } else { max_nodes },
        tokens_per_round: 1 + u32::try_from(random.below(10_000)).unwrap_or_default(),
        price_per_million_tokens: Amount(u128::from(random.below(1_000_000_000_000))),
        enroll_time: DurationMs::from_secs(1 + random.below(3_600)),
        round_time: DurationMs::from_secs(1 + random.below(20_000)),
        meter: PublicKey([9; 32]),
        availability: availability(random),
        invited: if random.percent(20) { vec![NodeId(0), NodeId(1)] } else { Vec::new() },
        asset: Asset::Near,
    }
}

pub(crate) fn lease_terms(random: &mut Random) -> LeaseTerms {
    LeaseTerms {
        offer_id: OfferId(1),
        duration: DurationMs::from_secs(60 + random.below(50_000)),
        job: Hash32::default(),
        meter: PublicKey([9; 32]),
        availability: availability(random),
        delegate: random.percent(40).then(|| delegate(random)),
    }
}

fn delegate(random: &mut Random) -> Delegate {
    let account = AccountId::new(if random.percent(50) { "first-meter" } else { "second-meter" }).expect("a name");
    Delegate { account, share: BasisPoints::new(u16::try_from(random.below(2_510)).unwrap_or_default()).expect("a part") }
}

fn availability(random: &mut Random) -> DurationMs {
    let longest_hours = if random.percent(60) { 3 } else { 200 };
    DurationMs::from_hours(random.below(longest_hours))
}

/// What such a run must be paid; a little less now and then.
pub(crate) fn run_price(terms: &RunTerms, random: &mut Random) -> Amount {
    let quote = quote_run(terms, BasisPoints::ZERO).map_or(Amount(1), |quote| quote.at_most);
    Amount((quote.0 + u128::from(random.below(1_000))).saturating_sub(u128::from(random.below(20) / 19)))
}

fn new_lease(
    id: u64,
    payer: &AccountId,
    deposit: Amount,
    price_per_hour: Amount,
    terms: LeaseTerms,
    payout: AccountId,
    now: TimestampMs,
) -> Lease {
    Lease {
        id: LeaseId(id),
        tenant: payer.clone(),
        node_id: NodeId(1),
        payout,
        node_key: PublicKey([7; 32]),
        escrow_id: EscrowId(id),
        deposit,
        price_per_hour,
        terms,
        seq: 0,
        metered: DurationMs(0),
        units: 0,
        output: None,
        created_at: now,
        state: LeaseState::Unpaid,
        metering: Metering::default(),
        asset: Asset::Near,
    }
}

/// A statement of the round under way: mostly right, else of another round, history, roster or quorum, or with too many tokens.
fn round(run: &Run, random: &mut Random) -> run::Event {
    let limit = u64::from(run.terms.tokens_per_round) + u64::from(random.percent(4));
    let tokens = run
        .roster
        .iter()
        .map(|member| if member.left && random.percent(98) { 0 } else { u32::try_from(random.below(limit + 1)).unwrap_or_default() })
        .collect();
    let statement = RoundStatement {
        escrow_id: run.escrow_id,
        run_id: run.id,
        round: run.rounds_done + u32::from(random.percent(5)),
        previous: if random.percent(96) { run.chain } else { Hash32::sha256(b"another history") },
        record: Hash32::sha256(&random.next().to_le_bytes()),
        state_root: Hash32::sha256(&random.next().to_le_bytes()),
        tokens,
    };
    let signers = if random.percent(70) { u64::MAX } else { random.next() };
    run::Event::Round { statement, signers }
}

/// What a lease does not see every day.
fn rare_lease_event(lease: &Lease, now: TimestampMs, random: &mut Random) -> lease::Event {
    match (random.below(9), statement(lease, now, random)) {
        (0..=2, lease::Event::Statement(statement)) => lease::Event::FormerStatement(statement),
        (3..=6, _) => lease::Event::ReplaceMeter(Meter { key: PublicKey([8; 32]), delegate: random.percent(50).then(|| delegate(random)) }),
        (7, _) => lease::Event::EscrowClosed,
        _ => lease::Event::Objected,
    }
}

/// A statement that follows the last: mostly within the time that has passed.
fn statement(lease: &Lease, now: TimestampMs, random: &mut Random) -> lease::Event {
    let since = match lease.state {
        LeaseState::Active { since, .. } | LeaseState::Closing { since: Some(since), .. } => since,
        _ => lease.created_at,
    };
    let room = now.since(since).0.saturating_sub(lease.metered.0) + 1;
    let more = if random.percent(95) { random.below(room) } else { room + random.below(10) };
    lease::Event::Statement(LeaseStatement {
        escrow_id: lease.escrow_id,
        lease_id: lease.id,
        seq: lease.seq + 1 - u64::from(random.percent(5)),
        metered_ms: lease.metered.0 + more,
        units: lease.units + random.below(100),
        output: Hash32::sha256(&random.next().to_le_bytes()),
        is_final: random.percent(8),
    })
}

fn new_listing(name: AssetName, parents: Vec<AssetName>, shares: Vec<listing::Share>, random: &mut Random, now: TimestampMs) -> Listing {
    let file = File { name: Text::new("model.safetensors").expect("short"), hash: Hash32::default(), bytes: 1 };
    let version = Version { files: vec![file], run_id: None, note: Text::new("first").expect("short"), published_at: now };
    Listing {
        name,
        kind: Kind::Model,
        category: Category::Other,
        title: Text::new("a model").expect("short"),
        summary: Text::new("").expect("short"),
        licence: Text::new("MIT").expect("short"),
        asset: asset(random),
        price: Amount(u128::from(random.below(1_000_000_000))),
        price_per_use: None,
        parents,
        shares,
        royalty: BasisPoints::new(u16::try_from(random.below(6_000)).unwrap_or_default()).expect("a part"),
        versions: vec![version],
        sold: 0,
        ratings: Ratings::default(),
        delisted: false,
        published_at: now,
    }
}

/// Terms that a stranger's contract answers: any within the limits, and some beyond.
pub(crate) fn any_terms(bounds: &Bounds, amount: Amount, payees: &[AccountId], random: &mut Random, now: TimestampMs) -> OpenTerms {
    let mut postings = Vec::new();
    for payee in payees {
        if random.percent(30) {
            postings.push(Posting { payee: payee.clone(), total: Amount(u128::from(random.next()) % (amount.0 / 4 + 1)) });
        }
    }
    OpenTerms {
        authority: if random.percent(97) { bounds.authority() } else { Authority::Voucher(PublicKey([3; 32])) },
        expires_at: if random.percent(90) { bounds.expires_by } else { now.after(DurationMs::from_hours(random.below(10_000))) },
        grace: DurationMs::from_hours(random.below(25)),
        holdback: BasisPoints::new(u16::try_from(random.below(3_000)).unwrap_or_default()).expect("a part"),
        availability: availability(random),
        max_payees: 1 + u16::try_from(random.below(6)).unwrap_or_default(),
        parts: Vec::new(),
        postings,
        close: random.percent(10),
        objection_window: DurationMs(if random.percent(60) { 0 } else { random.below(700_000_000) }),
    }
}
