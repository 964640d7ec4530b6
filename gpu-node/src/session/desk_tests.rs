//! Tests of the desk with synthetic messages and results.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_http_api::job::{Generate, JobSpec};
use starling_primitives::{Amount, Asset, DurationMs, PublicKey};
use starling_protocol::run::RunTerms;

const RUN: RunId = RunId(1);

fn terms() -> Box<RunTerms> {
    let hash = Hash32::default();
    Box::new(RunTerms {
        recipe: hash,
        data: hash,
        held_out: hash,
        base: hash,
        base_root: hash,
        rounds: 10,
        min_nodes: 1,
        max_nodes: 3,
        tokens_per_round: 640,
        price_per_million_tokens: Amount(1),
        enroll_time: DurationMs(1),
        round_time: DurationMs(1),
        meter: PublicKey([1; 32]),
        availability: DurationMs(1),
        invited: Vec::new(),
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    })
}

fn start_round(run_id: RunId, round: u32) -> ToNode {
    ToNode::StartRound {
        run_id,
        terms: terms(),
        round,
        place: 0,
        steps: None,
        state: Hash32::default(),
        state_root: Hash32::default(),
        time_left_ms: 1,
    }
}

fn lease_open(lease_id: u64) -> ToNode {
    let job = JobSpec::Generate(Generate {
        model: Hash32::default(),
        prompt: String::new(),
        max_new_tokens: 1,
        temperature: 0.0,
        top_k: 0,
        seed: 0,
    });
    ToNode::LeaseOpen { lease_id: LeaseId(lease_id), job, last: None }
}

fn revealed(round: u32) -> FromNode {
    FromNode::Revealed { run_id: RUN, round, bytes: 1 }
}

fn started(effects: &[Effect]) -> Vec<Key> {
    effects.iter().filter_map(|effect| if let Effect::Start { key, .. } = effect { Some(*key) } else { None }).collect()
}

fn hear(desk: &mut Desk, message: ToNode) -> Vec<Effect> {
    desk.apply(Event::Heard(message))
}

#[test]
fn desk__should_start_once_and_answer_again() {
    let mut desk = Desk::default();
    let ask = ToNode::Reveal { run_id: RUN, round: 2 };
    let key = Key::Reveal(RUN, 2);
    assert_eq!(started(&hear(&mut desk, ask.clone())), [key]);
    assert_eq!(hear(&mut desk, ask.clone()), [], "it is under way");
    assert_eq!(desk.apply(Event::Finished(key, Finish::Answer(revealed(2)))), [Effect::Say(revealed(2))]);
    assert_eq!(hear(&mut desk, ask), [Effect::Say(revealed(2))], "asked again after a reconnect");
}

#[test]
fn desk__should_not_answer_for_other_updates_what_it_scored() {
    let mut desk = Desk::default();
    let ask = |places: &[u16]| {
        let updates = places.iter().map(|place| PlacedUpdate { place: *place, update: Hash32::default(), steps: None }).collect();
        ToNode::Score { run_id: RUN, round: 1, state: Hash32::default(), seed: Hash32::default(), updates }
    };
    let key = started(&hear(&mut desk, ask(&[2])))[0];
    let scored = FromNode::Scored { run_id: RUN, round: 1, scores: Vec::new() };
    desk.apply(Event::Finished(key, Finish::Answer(scored.clone())));
    assert_eq!(started(&hear(&mut desk, ask(&[0, 2]))).len(), 1, "it takes over from another judge");
    assert_eq!(hear(&mut desk, ask(&[2])), [Effect::Say(scored)]);
}

#[test]
fn desk__should_try_again_what_failed() {
    let mut desk = Desk::default();
    let key = Key::Round(RUN, 0);
    assert_eq!(started(&hear(&mut desk, start_round(RUN, 0))), [key]);
    let refused = FromNode::RoundRefused { run_id: RUN, round: 0, reason: "disk".to_owned() };
    assert_eq!(desk.apply(Event::Finished(key, Finish::Failed(Some(refused.clone())))), [Effect::Say(refused)]);
    assert_eq!(started(&hear(&mut desk, start_round(RUN, 0))), [key]);
}

#[test]
fn desk__should_leave_a_round_when_the_next_begins() {
    let mut desk = Desk::default();
    hear(&mut desk, start_round(RUN, 0));
    let effects = hear(&mut desk, start_round(RUN, 1));
    assert_eq!(effects[0], Effect::Cancel(Key::Round(RUN, 0)));
    assert_eq!(started(&effects), [Key::Round(RUN, 1)]);
    let late = Event::Finished(Key::Round(RUN, 0), Finish::Answer(revealed(0)));
    assert_eq!(desk.apply(late), [], "a cancelled task has nothing to say");
}

#[test]
fn desk__should_not_take_a_run_and_a_lease_at_once() {
    let mut desk = Desk::default();
    assert_eq!(started(&hear(&mut desk, lease_open(5))), [Key::Lease(LeaseId(5))]);
    let declined = hear(&mut desk, ToNode::RunOpen { run_id: RUN, terms: terms() });
    assert!(matches!(&declined[..], [Effect::Say(FromNode::RunDeclined { reason, .. })] if reason == "busy with lease 5"), "{declined:?}");
    let refused = hear(&mut desk, lease_open(6));
    assert!(matches!(&refused[..], [Effect::Say(FromNode::LeaseFailed { lease_id: LeaseId(6), .. })]), "{refused:?}");
    desk.apply(Event::Finished(Key::Lease(LeaseId(5)), Finish::Quiet));
    assert_eq!(started(&hear(&mut desk, ToNode::RunOpen { run_id: RUN, terms: terms() })), [Key::Enroll(RUN)]);
}

#[test]
fn desk__should_name_the_run_that_it_may_still_be_in() {
    let mut desk = Desk::default();
    hear(&mut desk, ToNode::RunOpen { run_id: RUN, terms: terms() });
    desk.apply(Event::Finished(Key::Enroll(RUN), Finish::Quiet));
    let other = hear(&mut desk, ToNode::RunOpen { run_id: RunId(2), terms: terms() });
    assert!(matches!(&other[..], [Effect::Start { busy_with: Some(RUN), .. }]), "{other:?}");
    let same = hear(&mut desk, ToNode::RunOpen { run_id: RUN, terms: terms() });
    assert_eq!(same, [], "enrolled already");
    let lease = hear(&mut desk, lease_open(5));
    assert!(matches!(&lease[..], [Effect::Start { busy_with: Some(RUN), .. }]), "{lease:?}");
}

#[test]
fn desk__should_drop_all_of_a_run_that_ended() {
    let mut desk = Desk::default();
    hear(&mut desk, start_round(RUN, 3));
    hear(&mut desk, ToNode::Reveal { run_id: RUN, round: 2 });
    desk.apply(Event::Finished(Key::Reveal(RUN, 2), Finish::Answer(revealed(2))));
    let effects = hear(&mut desk, ToNode::RunEnded { run_id: RUN });
    assert_eq!(effects, [Effect::Cancel(Key::Round(RUN, 3)), Effect::ForgetRun(RUN)]);
    assert_eq!(started(&hear(&mut desk, ToNode::Reveal { run_id: RUN, round: 2 })), [Key::Reveal(RUN, 2)], "no old answer is left");
}

#[test]
fn desk__should_pass_on_what_concerns_the_lease_under_way_only() {
    let mut desk = Desk::default();
    hear(&mut desk, lease_open(5));
    assert_eq!(hear(&mut desk, lease_open(5)), [Effect::RepeatLease]);
    let signed = |lease_id| ToNode::MeterSigned { lease_id: LeaseId(lease_id), seq: 1, signature: Signature([1; 64]) };
    assert_eq!(hear(&mut desk, signed(5)), [Effect::LeaseSigned(1, Signature([1; 64]))]);
    assert_eq!(hear(&mut desk, signed(6)), []);
    assert_eq!(hear(&mut desk, ToNode::LeaseEnded { lease_id: LeaseId(5) }), [Effect::EndLease]);
    assert_eq!(hear(&mut desk, ToNode::LeaseEnded { lease_id: LeaseId(6) }), []);
}

#[test]
fn desk__should_keep_its_limits() {
    let mut desk = Desk::default();
    for round in 0..1_000 {
        hear(&mut desk, ToNode::Reveal { run_id: RUN, round });
    }
    assert_eq!(desk.running.len(), MAX_RUNNING);
    for round in 0..1_000 {
        hear(&mut desk, ToNode::Reveal { run_id: RUN, round });
        desk.apply(Event::Finished(Key::Reveal(RUN, round), Finish::Answer(revealed(round))));
    }
    assert!(desk.answers.len() <= MAX_ANSWERS && desk.order.len() <= MAX_ANSWERS);
}

#[test]
fn desk__should_not_answer_a_request_with_an_older_one_of_its_number() {
    let mut desk = Desk::default();
    let prepare = || ToNode::Prepare {
        request_id: 1,
        recipe: String::new(),
        fit: false,
        data: Hash32::default(),
        held_out: None,
        base: starling_http_api::run::Base::Fresh,
    };
    hear(&mut desk, prepare());
    desk.apply(Event::Finished(Key::Prepare(1), Finish::Answer(FromNode::Alive)));
    assert_eq!(started(&hear(&mut desk, prepare())), [Key::Prepare(1)]);
}
