//! Run: quorum, bounds, deadlines to the millisecond, and that no accepted sequence earns more than was paid in.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::{
    escrow::{MAX_OBJECTION_WINDOW, MAX_VESTING_PAYEES},
    meter::Delegate,
    signing::Domain,
};
use proptest::prelude::*;
use starling_primitives::Asset;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const ENROLL: DurationMs = DurationMs::from_secs(60);
const ROUND: DurationMs = DurationMs::from_secs(300);
const MS: DurationMs = DurationMs(1);
const TOKENS: u32 = 1_000;

fn name(text: &str) -> AccountId {
    AccountId::new(text).expect("a name")
}

fn domain() -> Domain {
    Domain { chain_id: "starling-test".to_owned(), contract: name("compute"), instance: 1 }
}

fn terms() -> RunTerms {
    RunTerms {
        recipe: Hash32([1; 32]),
        data: Hash32([2; 32]),
        held_out: Hash32([3; 32]),
        base: Hash32([4; 32]),
        base_root: Hash32([5; 32]),
        rounds: 5,
        min_nodes: 2,
        max_nodes: 4,
        tokens_per_round: TOKENS,
        price_per_million_tokens: Amount(1_000_000_007),
        enroll_time: ENROLL,
        round_time: ROUND,
        meter: PublicKey([9; 32]),
        availability: DurationMs::from_hours(2),
        invited: vec![],
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    }
}

fn deposit(terms: &RunTerms) -> Amount {
    crate::price::quote_run(terms, starling_primitives::BasisPoints::ZERO).expect("small").at_most
}

fn member(id: u64) -> Member {
    Member::new(NodeId(id), name(&format!("provider-{id}")), PublicKey([u8::try_from(id).expect("small"); 32]))
}

#[track_caller]
fn step(run: &Run, event: Event, now: TimestampMs) -> Run {
    run.apply(event, now).expect("the event is taken")
}

fn pending_with(terms: RunTerms) -> Run {
    Run::new(RunId(6), name("tenant"), EscrowId(8), deposit(&terms), terms, NOW).expect("within the limits")
}

fn enrolling() -> Run {
    step(&pending_with(terms()), Event::Opened, NOW)
}

/// A run in its first round with so many nodes of four.
fn training(nodes: u64) -> Run {
    let run = (1..=nodes).fold(enrolling(), |run, id| step(&run, Event::Enroll(member(id)), NOW));
    if nodes == 4 { run } else { step(&run, Event::Tick, NOW.after(ENROLL)) }
}

fn statement(run: &Run, tokens: &[u32]) -> RoundStatement {
    let RunState::Training { round, .. } = run.state else { panic!("no round is under way") };
    let (record, state_root) = (Hash32([6; 32]), Hash32::sha256(&round.to_le_bytes()));
    RoundStatement { escrow_id: run.escrow_id, run_id: run.id, round, previous: run.chain, record, state_root, tokens: tokens.to_vec() }
}

fn round(run: &Run, tokens: &[u32], signers: u64) -> Event {
    signed(statement(run, tokens), signers)
}

fn signed(statement: RoundStatement, signers: u64) -> Event {
    let chain = statement.chain_hash(&domain());
    Event::Round { statement, signers, chain }
}

fn deadline(run: &Run) -> TimestampMs {
    let RunState::Training { deadline, .. } = run.state else { panic!("no round is under way") };
    deadline
}

#[test]
fn terms__should_keep_their_limits() {
    let cases = [
        RunTerms { rounds: 0, ..terms() },
        RunTerms { rounds: MAX_ROUNDS + 1, ..terms() },
        RunTerms { min_nodes: 0, ..terms() },
        RunTerms { min_nodes: 5, ..terms() },
        RunTerms { max_nodes: MAX_ROSTER + 1, ..terms() },
        RunTerms { tokens_per_round: 0, ..terms() },
        RunTerms { round_time: DurationMs(999), ..terms() },
        RunTerms { round_time: MAX_ROUND_TIME.0.checked_add(1).map(DurationMs).expect("small"), ..terms() },
        RunTerms { enroll_time: DurationMs(999), ..terms() },
        RunTerms { enroll_time: MAX_ENROLL_TIME.0.checked_add(1).map(DurationMs).expect("small"), ..terms() },
        RunTerms { invited: (0..65).map(NodeId).collect(), ..terms() },
    ];
    for case in cases {
        assert!(matches!(case.check(), Err(RunError::Terms(_))), "{case:?}");
        assert!(Run::new(RunId(1), name("tenant"), EscrowId(1), Amount(u128::MAX), case, NOW).is_err());
    }
    assert_eq!(terms().check(), Ok(()));
}

#[test]
fn terms__should_name_an_objection_window_only_where_there_is_one() {
    let plain = serde_json::to_string(&terms()).expect("JSON");
    assert!(!plain.contains("objection_window"), "{plain}");
    let objected = RunTerms { objection_window: DurationMs(1), ..terms() };
    let text = serde_json::to_string(&objected).expect("JSON");
    assert!(text.contains(r#""objection_window":1"#), "{text}");
    for (text, terms) in [(plain, terms()), (text, objected)] {
        assert_eq!(serde_json::from_str::<RunTerms>(&text).expect("JSON"), terms);
    }
}

#[test]
fn terms__should_take_the_limits_themselves() {
    let second = DurationMs::from_secs(1);
    let cases = [
        RunTerms { rounds: 1, ..terms() },
        RunTerms { rounds: MAX_ROUNDS, ..terms() },
        RunTerms { min_nodes: 1, max_nodes: 1, ..terms() },
        RunTerms { min_nodes: MAX_ROSTER, max_nodes: MAX_ROSTER, ..terms() },
        RunTerms { round_time: second, enroll_time: second, ..terms() },
        RunTerms { round_time: MAX_ROUND_TIME, enroll_time: MAX_ENROLL_TIME, ..terms() },
        RunTerms { invited: (0..64).map(NodeId).collect(), ..terms() },
    ];
    for case in cases {
        assert_eq!(case.check(), Ok(()), "{case:?}");
    }
}

#[test]
fn deposit__should_cover_the_quote_to_the_yocto() {
    let needed = deposit(&terms());
    assert_eq!(needed, Amount(20_000_001), "5 rounds, 4 nodes, 1,000 tokens at 1,000,000,007 a million, rounded up");
    let short = needed.checked_sub(Amount(1)).expect("positive");
    assert_eq!(Run::new(RunId(1), name("tenant"), EscrowId(1), short, terms(), NOW), Err(RunError::DepositTooSmall(needed)));
}

fn delegate(share: u16) -> Box<Delegate> {
    Box::new(Delegate { account: name("delegate"), share: starling_primitives::BasisPoints::new(share).expect("a part") })
}

fn delegated() -> RunTerms {
    RunTerms { delegate: Some(delegate(1_000)), objection_window: DurationMs::from_hours(5), ..terms() }
}

#[test]
fn delegate__should_want_a_window_a_share_and_a_place_within_their_limits() {
    let longest = RunTerms { objection_window: MAX_OBJECTION_WINDOW, delegate: Some(delegate(2_500)), ..terms() };
    let fullest = RunTerms { max_nodes: MAX_VESTING_PAYEES - 1, ..delegated() };
    for case in [&delegated(), &longest, &fullest] {
        assert_eq!(case.check(), Ok(()), "{case:?}");
    }
    assert_eq!((terms().max_payees(), delegated().max_payees(), fullest.max_payees()), (4, 5, MAX_VESTING_PAYEES));
    let cases = [
        RunTerms { delegate: None, ..delegated() },
        RunTerms { objection_window: DurationMs(0), ..delegated() },
        RunTerms { objection_window: DurationMs(MAX_OBJECTION_WINDOW.0 + 1), ..delegated() },
        RunTerms { delegate: Some(delegate(2_501)), ..delegated() },
        RunTerms { max_nodes: MAX_VESTING_PAYEES, ..delegated() },
    ];
    for case in cases {
        assert!(matches!(case.check(), Err(RunError::Terms(_))), "{case:?}");
    }
}

#[test]
fn delegate__should_get_its_part_besides_what_nodes_earn() {
    let quote = crate::price::quote_run(&delegated(), starling_primitives::BasisPoints::ZERO).expect("small");
    assert_eq!((quote.delegate_at_most, quote.at_most), (Amount(2_000_001), Amount(22_000_002)));
    let run = step(&pending_with(delegated()), Event::Opened, NOW);
    let run = (1..=4).fold(run, |run, id| step(&run, Event::Enroll(member(id)), NOW));
    assert_eq!(run.postings(), Ok(Vec::new()), "nothing earned, nothing posted");
    let run = step(&run, round(&run, &[TOKENS, 0, TOKENS, 0], 0b1111), NOW);
    let posting = |payee: &str, total| Posting { payee: name(payee), total: Amount(total) };
    let expect = [posting("delegate", 200_000), posting("provider-1", 1_000_000), posting("provider-3", 1_000_000)];
    assert_eq!(run.postings().expect("small"), expect);
    // Who is node and delegate has one figure.
    let both = Run {
        terms: RunTerms { delegate: Some(Box::new(Delegate { account: name("provider-3"), ..*delegate(1_000) })), ..delegated() },
        ..run.clone()
    };
    assert_eq!(both.postings().expect("small"), [posting("provider-1", 1_000_000), posting("provider-3", 1_200_000)]);
    let own = Run { terms: terms(), ..run };
    assert_eq!(own.postings().expect("small"), expect[1..]);
}

#[test]
fn objection__should_end_a_run_for_good_whenever_it_comes() {
    let objected = |at| RunState::Ended { ending: Ending::Failed(FailReason::Objected), at, settled: true };
    let later = NOW.after(MS);
    for run in [pending_with(delegated()), enrolling(), training(4)] {
        assert_eq!(step(&run, Event::Objected, NOW).state, objected(NOW));
    }
    let stopped = step(&training(4), Event::Stop, NOW);
    let settled = step(&stopped, Event::Settled, NOW);
    for run in [stopped, settled] {
        let ended = step(&run, Event::Objected, later);
        assert_eq!(ended.state, objected(NOW), "it ended when it ended");
        for event in [Event::Objected, Event::Settled, Event::Stop, Event::Tick] {
            assert_eq!(ended.apply(event, later), Err(RunError::WrongState("ended")));
        }
    }
}

#[test]
fn enrolling__should_start_when_full_and_else_when_its_time_is_over() {
    assert!(matches!(training(4).state, RunState::Training { round: 0, deadline } if deadline == NOW.after(ROUND)));
    let until = NOW.after(ENROLL);
    let two = [1, 2].iter().fold(enrolling(), |run, id| step(&run, Event::Enroll(member(*id)), NOW));
    assert_eq!(two.apply(Event::Tick, TimestampMs(until.0 - 1)), Err(RunError::NothingDue(until)));
    assert!(matches!(step(&two, Event::Tick, until).state, RunState::Training { round: 0, .. }));
    // However late the tick comes, no deadline moves: it stays within what the escrow's life allows.
    assert_eq!(deadline(&step(&two, Event::Tick, until.after(DurationMs(5_000)))), until.after(ROUND));
    assert_eq!(two.apply(Event::Enroll(member(3)), until), Err(RunError::WrongState("enrolling")));
    assert!(two.apply(Event::Enroll(member(3)), TimestampMs(until.0 - 1)).is_ok());
    let one = step(&enrolling(), Event::Enroll(member(1)), NOW);
    assert_eq!(
        step(&one, Event::Tick, until).state,
        RunState::Ended { ending: Ending::Failed(FailReason::TooFewNodes), at: until, settled: false }
    );
}

#[test]
fn enrolling__should_take_each_invited_node_once() {
    let one = step(&enrolling(), Event::Enroll(member(1)), NOW);
    assert_eq!(one.apply(Event::Enroll(member(1)), NOW), Err(RunError::Twice(NodeId(1))));
    assert_eq!(one.apply(Event::Leave(NodeId(2)), NOW), Err(RunError::NotInRun(NodeId(2))));
    assert!(step(&one, Event::Leave(NodeId(1)), NOW).roster.is_empty());
    let closed_shop = step(&pending_with(RunTerms { invited: vec![NodeId(2)], ..terms() }), Event::Opened, NOW);
    assert_eq!(closed_shop.apply(Event::Enroll(member(1)), NOW), Err(RunError::NotInRun(NodeId(1))));
    assert!(closed_shop.apply(Event::Enroll(member(2)), NOW).is_ok());
    // A node brings no history along.
    let forged = Member { tokens: 1_000_000, missed: 2, left: true, leaving: true, ..member(5) };
    assert_eq!(step(&enrolling(), Event::Enroll(forged), NOW).roster[0], member(5));
}

#[test]
fn round__should_need_two_thirds_of_those_present() {
    for (nodes, needed) in [(2, 2), (3, 2), (4, 3)] {
        let run = training(nodes);
        assert_eq!(run.quorum(), needed);
        let tokens = vec![1; run.roster.len()];
        for signers in 0..1_u64 << nodes {
            let result = run.apply(round(&run, &tokens, signers), NOW);
            let signed = signers.count_ones();
            if signed >= needed {
                assert!(result.is_ok(), "{signers:b} of {nodes}");
            } else {
                assert_eq!(result, Err(RunError::NoQuorum { signed, needed }));
            }
        }
        // Bits beyond the roster are nobody's.
        let beyond = !((1_u64 << nodes) - 1);
        assert_eq!(run.apply(round(&run, &tokens, beyond), NOW), Err(RunError::NoQuorum { signed: 0, needed }));
    }
}

#[test]
fn round__should_be_refused_for_another_run_escrow_round_history_or_roster() {
    let run = training(4);
    let good = statement(&run, &[TOKENS; 4]);
    let cases = [
        (RoundStatement { run_id: RunId(7), ..good.clone() }, "another run"),
        (RoundStatement { escrow_id: EscrowId(9), ..good.clone() }, "another run"),
        (RoundStatement { round: 1, ..good.clone() }, "another round"),
        (RoundStatement { previous: Hash32([1; 32]), ..good.clone() }, "another history"),
        (RoundStatement { tokens: vec![TOKENS; 3], ..good.clone() }, "another roster"),
        (RoundStatement { tokens: vec![TOKENS; 5], ..good.clone() }, "another roster"),
    ];
    for (statement, why) in cases {
        assert_eq!(run.apply(signed(statement, 15), NOW), Err(RunError::DoesNotFollow(why)));
    }
    let next = step(&run, signed(good.clone(), 15), NOW);
    assert_eq!((next.chain, next.state_root, next.rounds_done), (good.chain_hash(&domain()), good.state_root, 1));
    // The same statement again is of another round now.
    assert_eq!(next.apply(signed(good, 15), NOW), Err(RunError::DoesNotFollow("another round")));
}

#[test]
fn round__should_pay_at_most_what_was_assigned() {
    let run = training(4);
    assert_eq!(run.apply(round(&run, &[TOKENS, TOKENS + 1, 0, 0], 15), NOW), Err(RunError::TooManyTokens(1)));
    let paid = step(&run, round(&run, &[TOKENS, 3, 0, 0], 15), NOW).earned().expect("small");
    assert_eq!(paid, vec![(name("provider-1"), Amount(1_000_000)), (name("provider-2"), Amount(3_000))]);
}

#[test]
fn earned__should_add_up_the_nodes_of_one_payout_account() {
    let twin = Member { payout: name("provider-1"), ..member(2) };
    let run = [member(1), twin, member(3), member(4)].into_iter().fold(enrolling(), |run, member| step(&run, Event::Enroll(member), NOW));
    let earned = step(&run, round(&run, &[500, 500, 0, 1], 15), NOW).earned().expect("small");
    assert_eq!(earned, vec![(name("provider-1"), Amount(1_000_000)), (name("provider-4"), Amount(1_000))]);
}

#[test]
fn contributor__should_be_paid_though_it_died_before_signing() {
    let run = training(4);
    let next = step(&run, round(&run, &[TOKENS; 4], 0b0111), NOW);
    assert_eq!(next.roster[3].tokens, u64::from(TOKENS));
    assert_eq!(next.roster[3].missed, 0, "it took part");
}

#[test]
fn node__should_be_out_after_three_missed_rounds_in_a_row() {
    let mut run = training(4);
    for missed in 1..=MAX_MISSED {
        assert!(!run.roster[3].left);
        run = step(&run, round(&run, &[1, 1, 1, 0], 0b0111), NOW);
        assert_eq!(run.roster[3].missed, missed);
    }
    assert!(run.roster[3].left);
    assert_eq!(run.quorum(), 2, "two thirds of three");
    assert_eq!(run.apply(round(&run, &[1, 1, 1, 1], 0b1111), NOW), Err(RunError::TooManyTokens(3)));
    // Its signature counts no more.
    assert_eq!(run.apply(round(&run, &[1, 1, 1, 0], 0b1001), NOW), Err(RunError::NoQuorum { signed: 1, needed: 2 }));

    let mut lucky = training(4);
    for signers in [0b0111, 0b0111, 0b1111, 0b0111] {
        lucky = step(&lucky, round(&lucky, &[1, 1, 1, 0], signers), NOW);
    }
    assert_eq!((lucky.roster[3].missed, lucky.roster[3].left), (1, false), "taking part starts the count again");
}

#[test]
fn leaving__should_count_from_the_next_round() {
    let run = training(4);
    let signed_before = round(&run, &[TOKENS; 4], 0b1110);
    let leaving = step(&run, Event::Leave(NodeId(1)), NOW);
    assert_eq!(leaving.apply(Event::Leave(NodeId(1)), NOW), Err(RunError::NotInRun(NodeId(1))), "once");
    assert_eq!(leaving.quorum(), 3, "the quorum is that of the round's roster");
    let next = step(&leaving, signed_before, NOW);
    assert_eq!(next.roster[0].tokens, u64::from(TOKENS), "it is paid for what it did");
    assert!(next.roster[0].left);
    assert_eq!(next.quorum(), 2);
    assert_eq!(next.apply(round(&next, &[1, 0, 0, 0], 0b1111), NOW), Err(RunError::TooManyTokens(0)));
    assert_eq!(next.apply(Event::Leave(NodeId(1)), NOW), Err(RunError::NotInRun(NodeId(1))));
    assert_eq!(step(&next, round(&next, &[0, 1, 1, 1], 0b1110), NOW).rounds_done, 2, "the others go on");
}

#[test]
fn run__should_fail_when_the_last_node_has_left() {
    let run = training(2);
    let run = [1, 2].iter().fold(run, |run, id| step(&run, Event::Leave(NodeId(*id)), NOW));
    let now = NOW.after(ENROLL);
    let run = step(&run, round(&run, &[TOKENS, TOKENS], 0b11), now);
    assert_eq!(run.state, RunState::Ended { ending: Ending::Failed(FailReason::RosterTooSmall), at: now, settled: false });
    assert_eq!(run.earned().expect("small").len(), 2, "what they did before is paid");
}

#[test]
fn round__should_be_taken_until_its_deadline_to_the_millisecond() {
    let run = training(4);
    let last = deadline(&run);
    assert_eq!(run.apply(Event::Tick, last), Err(RunError::NothingDue(last)));
    let next = step(&run, round(&run, &[1; 4], 15), last);
    assert_eq!(deadline(&next), last.after(ROUND));
    let late = last.after(MS);
    assert_eq!(run.apply(round(&run, &[1; 4], 15), late), Err(RunError::RoundOver));
    assert_eq!(
        step(&run, Event::Tick, late).state,
        RunState::Ended { ending: Ending::Failed(FailReason::RoundTimedOut), at: late, settled: false }
    );
}

#[test]
fn run__should_finish_with_its_last_round_and_settle_once() {
    let mut run = training(4);
    for _ in 0..5 {
        run = step(&run, round(&run, &[TOKENS; 4], 15), NOW);
    }
    assert_eq!(run.state, RunState::Ended { ending: Ending::Finished, at: NOW, settled: false });
    let sum = Amount::sum(run.earned().expect("small").into_iter().map(|(_, amount)| amount)).expect("small");
    assert_eq!(sum, Amount(20_000_000), "each node's figure is rounded down");
    let settled = step(&run, Event::Settled, NOW);
    assert_eq!(settled.apply(Event::Settled, NOW), Err(RunError::WrongState("ended")));
}

#[test]
fn stop__should_end_a_run_that_is_under_way_and_nothing_else() {
    for run in [enrolling(), training(4)] {
        assert_eq!(step(&run, Event::Stop, NOW).state, RunState::Ended { ending: Ending::Stopped, at: NOW, settled: false });
    }
    let stopped = step(&training(4), Event::Stop, NOW);
    for run in [pending_with(terms()), stopped] {
        for event in [Event::Stop, Event::Tick, Event::Enroll(member(1)), Event::Leave(NodeId(1))] {
            assert_eq!(run.apply(event, NOW.after(DurationMs::from_days(9))), Err(RunError::WrongState(run.state.name())));
        }
    }
}

#[test]
fn escrow__should_outlive_the_longest_run() {
    let terms = terms();
    let mut now = NOW.after(crate::escrow::HOLD_PERIOD);
    let run = step(&pending_with(terms.clone()), Event::Opened, now);
    let run = (1..=3).fold(run, |run, id| step(&run, Event::Enroll(member(id)), now));
    now = now.after(ENROLL);
    let mut run = step(&run, Event::Tick, now);
    while let RunState::Training { deadline, .. } = run.state {
        now = deadline;
        run = step(&run, round(&run, &[1; 3], 7), now);
    }
    assert!(
        now.after(DurationMs::from_secs(600)) < terms.expires_at(NOW),
        "opened at the last moment, every round at its deadline, and time is left to settle"
    );
}

proptest! {
    /// Whatever is sent, in whatever order: what is earned never passes the deposit and never falls, per payee too.
    #[test]
    fn earned__should_stay_within_the_deposit(
        price in 1..u128::MAX / 1_000_000_000_000,
        draws in prop::collection::vec((0..12_u8, 1..6_u64, 0..100_000_u64, prop::collection::vec(0..1_100_u32, 4), any::<u64>()), 1..60),
    ) {
        let terms = RunTerms { price_per_million_tokens: Amount(price), ..terms() };
        let (mut run, mut now) = (step(&pending_with(terms), Event::Opened, NOW), NOW);
        for (kind, node, pause_ms, tokens, signers) in draws {
            now = now.after(DurationMs(pause_ms));
            let (number, tokens) = match run.state {
                RunState::Training { round, .. } => (round, &tokens[..run.roster.len().min(4)]),
                _ => (0, &tokens[..]),
            };
            let statement = RoundStatement {
                escrow_id: run.escrow_id,
                run_id: run.id,
                round: number,
                previous: run.chain,
                record: Hash32([6; 32]),
                state_root: Hash32([7; 32]),
                tokens: tokens.to_vec(),
            };
            let event = match kind {
                0..=2 => Event::Enroll(member(node)),
                3 => Event::Leave(NodeId(node)),
                4 => Event::Tick,
                5 if node == 1 => Event::Stop,
                _ => signed(statement, signers | 0b0110),
            };
            let before = run.earned().expect("within range");
            if let Ok(next) = run.apply(event, now) {
                run = next;
            }
            let earned = run.earned().expect("within range");
            for (payee, amount) in &before {
                prop_assert!(earned.iter().any(|(account, now)| account == payee && now >= amount), "{payee}'s figure fell");
            }
            prop_assert!(Amount::sum(earned.into_iter().map(|(_, amount)| amount)).expect("within range") <= run.deposit);
        }
    }
}
