//! Tests of a lease's plan.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_http_api::job::{Resources, Script};
use starling_primitives::{Amount, Asset, DurationMs, EscrowId, Hash32, NodeId, OfferId, PublicKey};
use starling_protocol::lease::{Cause, LeaseTerms};

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

fn lease(state: LeaseState) -> Lease {
    let terms = LeaseTerms {
        offer_id: OfferId(1),
        duration: DurationMs::from_secs(600),
        job: Hash32::default(),
        meter: PublicKey([1; 32]),
        availability: DurationMs::from_secs(60),
        delegate: None,
    };
    Lease {
        id: LeaseId(3),
        tenant: account("alice.starling"),
        node_id: NodeId(1),
        payout: account("bob.starling"),
        node_key: PublicKey([2; 32]),
        escrow_id: EscrowId(4),
        deposit: Amount(100),
        price_per_hour: Amount(10),
        terms,
        seq: 0,
        metered: DurationMs(0),
        units: 0,
        output: None,
        created_at: TimestampMs(0),
        state,
        metering: Default::default(),
        asset: Asset::Near,
        cover: None,
    }
}

fn statement(seq: u64, metered_ms: u64, is_final: bool) -> LeaseStatement {
    LeaseStatement { escrow_id: EscrowId(4), lease_id: LeaseId(3), seq, metered_ms, units: 1, output: Hash32::default(), is_final }
}

fn calls(work: &LeaseWork, lease: &Lease, now: u64) -> Vec<String> {
    let due = plan(work, lease, TimestampMs(now), &account("compute.starling"));
    due.into_iter().filter_map(|intent| if let Intent::Call { key, .. } = intent { Some(key) } else { None }).collect()
}

#[test]
fn statement__should_need_both_signatures_and_go_up() {
    let mut work = LeaseWork::new(LeaseId(3));
    assert!(work.take_statement(statement(1, 10, false), Signature([1; 64])));
    assert!(!work.take_statement(statement(1, 20, false), Signature([1; 64])));
    assert!(!work.take_meter(2, Signature([2; 64])));
    assert!(work.take_meter(1, Signature([2; 64])));
    assert!(!work.take_meter(1, Signature([2; 64])));
    assert!(!work.take_statement(statement(1, 10, false), Signature([1; 64])));
    assert!(work.take_statement(statement(2, 10, false), Signature([1; 64])));
}

#[test]
fn plan__should_post_final_and_minute_long_work_only() {
    let active = lease(LeaseState::Active { since: TimestampMs(0), deadline: TimestampMs(600_000) });
    for (metered_ms, is_final, posts) in [(10, false, false), (60_000, false, true), (10, true, true)] {
        let mut work = LeaseWork::new(LeaseId(3));
        work.take_statement(statement(1, metered_ms, is_final), Signature([1; 64]));
        assert!(calls(&work, &active, 1_000).is_empty(), "not co-signed");
        work.take_meter(1, Signature([2; 64]));
        assert_eq!(calls(&work, &active, 1_000) == ["statement-1/lease/3"], posts, "{metered_ms} {is_final}");
    }
}

#[test]
fn plan__should_post_the_last_statement_of_a_closed_lease_then_settle() {
    let closing = lease(LeaseState::Closing {
        cause: Cause::TenantClosed,
        since: Some(TimestampMs(0)),
        ended_at: TimestampMs(500),
        post_until: TimestampMs(120_500),
    });
    let mut work = LeaseWork::new(LeaseId(3));
    work.take_statement(statement(1, 10, false), Signature([1; 64]));
    work.take_meter(1, Signature([2; 64]));
    assert_eq!(calls(&work, &closing, 1_000), ["statement-1/lease/3"]);
    assert_eq!(calls(&work, &closing, 121_001), ["settle/lease/3"]);
}

#[test]
fn plan__should_post_what_may_be_objected_to_as_it_grows() {
    let work = LeaseWork::new(LeaseId(3));
    let active = LeaseState::Active { since: TimestampMs(0), deadline: TimestampMs(600_000) };
    let metered = |window_ms: u64, metered_ms: u64| {
        let mut lease = lease(active);
        lease.metering.objection_window = DurationMs(window_ms);
        lease.metered = DurationMs(metered_ms);
        calls(&work, &lease, 1_000)
    };
    assert!(metered(0, 300_000).is_empty(), "what is final at once is posted at the end");
    for (window_ms, metered_ms, expect) in [
        (60_000, 59_999, None),
        (60_000, 60_000, Some(1)),
        (60_000, 130_000, Some(2)),
        (1_400_000, 199_999, None),
        (1_400_000, 200_000, Some(1)),
    ] {
        let expect: Vec<String> = expect.map(|step: u32| format!("interim-{step}/lease/3")).into_iter().collect();
        assert_eq!(metered(window_ms, metered_ms), expect, "a window of {window_ms} ms, {metered_ms} ms metered");
    }
}

#[test]
fn plan__should_tick_what_time_demands() {
    let work = LeaseWork::new(LeaseId(3));
    assert!(calls(&work, &lease(LeaseState::Pending { accept_by: TimestampMs(60_000) }), 60_000).is_empty());
    assert_eq!(calls(&work, &lease(LeaseState::Pending { accept_by: TimestampMs(60_000) }), 60_001), ["tick-accept/lease/3"]);
    assert_eq!(calls(&work, &lease(LeaseState::Active { since: TimestampMs(0), deadline: TimestampMs(5) }), 6), ["tick-end/lease/3"]);
}

#[test]
fn output__should_be_cut_between_characters() {
    let mut work = LeaseWork::new(LeaseId(3));
    work.add_output(&"x".repeat(MAX_OUTPUT - 1));
    work.add_output("é");
    assert_eq!(work.output.len(), MAX_OUTPUT - 1);
}

#[test]
fn output__should_be_the_last_of_a_script() {
    let mut work = LeaseWork::new(LeaseId(3));
    let script = Script {
        bundle: Hash32([1; 32]),
        inputs: Vec::new(),
        command: vec!["python".to_owned()],
        requirements: None,
        environment: BTreeMap::new(),
        resources: Resources::default(),
    };
    work.job = Some(JobSpec::Script(script));
    work.add_output(&"é".repeat(MAX_OUTPUT / 2));
    work.add_output("now");
    assert_eq!((work.output.len(), work.output.ends_with("énow")), (MAX_OUTPUT - 1, true));
}

#[test]
fn metrics__should_be_thinned_evenly_and_keep_the_first_of_each_name() {
    let mut work = LeaseWork::new(LeaseId(3));
    let point = |name: &str, step| Metric { name: name.to_owned(), step, value: 1.0 };
    work.add_metrics(&[point("rare", 0)]);
    for step in 0..10 {
        work.add_metrics(&(0..1_000).map(|at| point("often", step * 1_000 + at)).collect::<Vec<_>>());
        assert!(work.metrics.len() <= MAX_METRICS);
    }
    assert_eq!((work.metrics[0].clone(), work.metrics[1].clone()), (point("rare", 0), point("often", 0)));
    let steps: Vec<u64> = work.metrics[1..].iter().map(|point| point.step).collect();
    assert!(steps.is_sorted() && steps.last().is_some_and(|last| *last > 9_900) && steps.len() > MAX_METRICS / 4);
}
