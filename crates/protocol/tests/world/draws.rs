//! What is drawn: terms, statements and answers, mostly right and sometimes not.

use crate::{random::Random, targets::asset};
use starling_primitives::{
    AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, PublicKey, Text, TimestampMs,
};
use starling_protocol::{
    escrow::{Authority, Bounds, OpenTerms, Posting, Share},
    lease::{self, Lease, LeaseState, LeaseTerms},
    listing::{self, Category, File, Kind, Listing, Ratings, Version},
    meter::{Delegate, Meter, Metering},
    price::quote_run,
    run::{self, Run, RunTerms},
    signing::{Domain, LeaseStatement, RoundStatement},
};

pub(crate) fn run_terms(random: &mut Random) -> RunTerms {
    let delegate = random.percent(30).then(|| Box::new(delegate(random)));
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
        delegate: delegate.clone(),
        objection_window: DurationMs(if delegate.is_some() { 1 + random.below(90_000_000) } else { 0 }),
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

pub(crate) fn new_lease(
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
        cover: None,
    }
}

/// A statement of the round under way: mostly right, else of another round, history, roster or quorum, or with too many tokens.
pub(crate) fn round(run: &Run, domain: &Domain, random: &mut Random) -> run::Event {
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
    let chain = statement.chain_hash(domain);
    run::Event::Round { statement, signers, chain }
}

/// What a lease does not see every day.
pub(crate) fn rare_lease_event(lease: &Lease, now: TimestampMs, random: &mut Random) -> lease::Event {
    match (random.below(13), statement(lease, now, random)) {
        (0..=2, lease::Event::Statement(statement)) => lease::Event::FormerStatement(statement),
        (3..=6, _) => lease::Event::ReplaceMeter(Meter { key: PublicKey([8; 32]), delegate: random.percent(50).then(|| delegate(random)) }),
        (7, _) => lease::Event::EscrowClosed,
        (8..=9, _) => lease::Event::Ping,
        (10..=11, _) => lease::Event::Pong,
        _ => lease::Event::Objected,
    }
}

/// A statement that follows the last: mostly within the time that has passed.
pub(crate) fn statement(lease: &Lease, now: TimestampMs, random: &mut Random) -> lease::Event {
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

pub(crate) fn new_listing(
    name: AssetName,
    parents: Vec<AssetName>,
    shares: Vec<listing::Share>,
    random: &mut Random,
    now: TimestampMs,
) -> Listing {
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

/// Parts of all that is posted for some of these but the last, who gets the rest.
fn parts(payees: &[AccountId], random: &mut Random) -> Vec<Share> {
    let mut parts = Vec::new();
    for account in payees.iter().rev().skip(1).take(3) {
        let part = BasisPoints::new(u16::try_from(random.below(3_400)).unwrap_or_default()).expect("a part");
        parts.push(Share { account: account.clone(), part });
    }
    parts
}

/// Terms that a stranger's contract answers: any within the limits, and some beyond.
pub(crate) fn any_terms(bounds: &Bounds, amount: Amount, payees: &[AccountId], random: &mut Random, now: TimestampMs) -> OpenTerms {
    let mut postings = Vec::new();
    for payee in payees {
        if random.percent(30) {
            postings.push(Posting { payee: payee.clone(), total: Amount(u128::from(random.next()) % (amount.0 / 4 + 1)) });
        }
    }
    let parts = if random.percent(40) { parts(payees, random) } else { Vec::new() };
    if let (false, Some(rest)) = (parts.is_empty(), payees.last()) {
        postings = vec![Posting { payee: rest.clone(), total: Amount(u128::from(random.next()) % (amount.0 / 4 + 1)) }];
    }
    OpenTerms {
        authority: if random.percent(97) { bounds.authority() } else { Authority::Voucher(PublicKey([3; 32])) },
        expires_at: if random.percent(90) { bounds.expires_by } else { now.after(DurationMs::from_hours(random.below(10_000))) },
        grace: DurationMs::from_hours(random.below(25)),
        holdback: BasisPoints::new(u16::try_from(random.below(3_000)).unwrap_or_default()).expect("a part"),
        availability: availability(random),
        max_payees: 1 + u16::try_from(random.below(6)).unwrap_or_default() + u16::try_from(parts.len()).unwrap_or_default(),
        parts,
        postings,
        close: random.percent(10),
        objection_window: DurationMs(if random.percent(60) { 0 } else { random.below(700_000_000) }),
    }
}
