//! Tests of a run's state machine, with time, nodes and chain as values.
//! Long because one world serves a test for each thing that may happen to a run.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_http_api::{
    node::ToNode,
    run::{Findings, HeldOut, LossUnit, RunResult},
};
use starling_primitives::{AccountId, Amount, Asset, DurationMs, EscrowId, Hash32, NodeId, PublicKey, RunId, Signature, TimestampMs};
use starling_protocol::{
    run::{Ending, Member, Run, RunState, RunTerms},
    signing::{Commitment, RoundStatement, SignedCommitment},
};
use starling_rounds::{Committed, Nats, Pace, Refusal, Score, recipe::InnerSteps, scorer_order};
use std::collections::BTreeMap;

const T0: u64 = 1_000_000;

/// One run with three nodes, time and presence, and the work through JSON at every step, as after a restart.
struct World {
    run: Run,
    work: RunWork,
    now: u64,
    booted_at: u64,
    presence: BTreeMap<NodeId, Presence>,
}

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

pub(crate) fn run_of(state: RunState) -> Run {
    let hash = |byte| Hash32([byte; 32]);
    let terms = RunTerms {
        recipe: hash(1),
        data: hash(2),
        held_out: hash(3),
        base: hash(4),
        base_root: hash(5),
        rounds: 2,
        min_nodes: 2,
        max_nodes: 3,
        tokens_per_round: 640,
        price_per_million_tokens: Amount(1_000_000),
        enroll_time: DurationMs::from_secs(60),
        round_time: DurationMs::from_secs(600),
        meter: PublicKey([9; 32]),
        availability: DurationMs::from_hours(1),
        invited: Vec::new(),
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    };
    let member = |id: u8| Member {
        node_id: NodeId(u64::from(id)),
        payout: account("bob.starling"),
        key: PublicKey([id; 32]),
        tokens: 0,
        missed: 0,
        leaving: false,
        left: false,
    };
    Run {
        id: RunId(7),
        tenant: account("alice.starling"),
        escrow_id: EscrowId(1),
        deposit: Amount(10_000),
        state_root: terms.base_root,
        terms,
        roster: vec![member(1), member(2), member(3)],
        rounds_done: 0,
        chain: Hash32::default(),
        post_seq: 0,
        created_at: TimestampMs(T0),
        state,
    }
}

impl World {
    fn new() -> Self {
        Self::of(5, InnerSteps::Equal)
    }

    /// Of a recipe with so many inner steps in a round.
    fn of(inner_steps_per_round: u32, inner_steps: InnerSteps) -> Self {
        let run = run_of(RunState::Training { round: 0, deadline: TimestampMs(T0 + 600_000) });
        let presence = (1..=3).map(|id| (NodeId(id), Presence { connected: true, since: TimestampMs(T0) })).collect();
        let mut world = Self { work: RunWork::new(&run), run, now: T0, booted_at: T0, presence };
        world.apply(Event::Admitted { inner_steps_per_round, inner_steps, federated: None });
        world
    }

    fn view(&self) -> View<'_> {
        View {
            run: &self.run,
            now: TimestampMs(self.now),
            chain_now: TimestampMs(self.now),
            height: 40,
            booted_at: TimestampMs(self.booted_at),
            presence: &self.presence,
        }
    }

    fn apply(&mut self, event: Event) -> bool {
        let mut work: RunWork = serde_json::from_str(&serde_json::to_string(&self.work).unwrap()).unwrap();
        assert_eq!(work, self.work, "the stored state is the whole state");
        let changed = apply(&mut work, event, &self.view());
        self.work = work;
        changed
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self.apply(Event::Tick);
        self
    }

    fn leave(&mut self, id: u64) {
        self.presence.insert(NodeId(id), Presence { connected: false, since: TimestampMs(self.now) });
    }

    fn commit(&mut self, place: u16, after_ms: u64) {
        self.commit_steps(place, after_ms, 5);
    }

    fn commit_steps(&mut self, place: u16, after_ms: u64, steps: u32) {
        self.now += after_ms;
        let update = Hash32([100 + u8::try_from(place).unwrap(); 32]);
        self.apply(committed(place, self.work.rounds_done, update, steps));
    }

    /// Inner steps that each node is told to make, which has not committed yet.
    fn asked_to_train(&self) -> Vec<(u64, Option<u32>)> {
        let asked = |intent: Intent| match intent {
            Intent::Send { node, message, .. } => match *message {
                ToNode::StartRound { steps, .. } => Some((node.0, steps)),
                _ => None,
            },
            _ => None,
        };
        self.due().into_iter().filter_map(asked).collect()
    }

    /// The round whose commitments are in counts on chain, and the next begins.
    fn count_round(&mut self) {
        self.count_round_without(&[]);
    }

    /// The same with the work of some places refused.
    fn count_round_without(&mut self, refused: &[u16]) {
        let round = self.work.rounds_done;
        let refused = (0..3).map(|place| refused.contains(&place).then_some(Refusal::GateRefused)).collect();
        let made = Made { refused, statement: RoundStatement { round, ..made().statement }, ..made() };
        self.work.stage = Stage::Signing { made: Box::new(made), signatures: BTreeMap::new(), quorum_at: None, meter: None };
        (self.run.rounds_done, self.run.state_root) = (round + 1, Hash32([21; 32]));
        self.run.state = RunState::Training { round: round + 1, deadline: TimestampMs(self.now + 600_000) };
        self.after(0);
    }

    fn due(&self) -> Vec<Intent> {
        plan(&self.work, &self.view(), &account("compute.starling"))
    }

    /// Names of what is said to whom, and of everything else that is due.
    fn said(&self) -> Vec<String> {
        let name = |intent: Intent| match intent {
            Intent::Send { node, key, .. } => format!("{node}: {key}"),
            Intent::DrawSeed { .. } => "seed".to_owned(),
            Intent::Inspect { .. } => "inspect".to_owned(),
            Intent::Record(_) => "record".to_owned(),
            Intent::Call { key, .. } => key,
        };
        self.due().into_iter().map(name).collect()
    }

    fn reach_scoring(&mut self) {
        for place in 0..3 {
            self.commit(place, 1_000);
        }
        for place in 0..3 {
            self.apply(Event::Revealed { place, round: 0, bytes: 10 });
        }
        self.apply(Event::SeedDrawn { round: 0, seed: Hash32([8; 32]) });
        self.apply(Event::Inspected { round: 0, valid: vec![0, 1, 2], refused: BTreeMap::new() });
    }

    fn order(&self) -> Vec<u16> {
        let committed = |participant: u16| Committed {
            participant,
            update: Hash32([100 + u8::try_from(participant).unwrap(); 32]),
            assigned_tokens: 640,
        };
        scorer_order(&Hash32([8; 32]), &(0..3).map(committed).collect::<Vec<_>>())
    }

    /// A node's scores of the updates of some places.
    fn score(&mut self, judge: u16, places: &[u16]) -> bool {
        let scores: BTreeMap<u16, Option<Score>> = places.iter().map(|place| (*place, Score::from_losses(2.0, 1.9, 2.0, 1.95))).collect();
        self.apply(Event::Scored { place: judge, round: 0, scores, probe: Some(Nats(2_000_000)) })
    }

    /// Who is asked to score which updates, in the order of places.
    fn asked_to_score(&self) -> Vec<(u64, Vec<u16>)> {
        let asked = |intent: Intent| match intent {
            Intent::Send { node, message, .. } => match *message {
                ToNode::Score { updates, .. } => Some((node.0, updates.iter().map(|update| update.place).collect())),
                _ => None,
            },
            _ => None,
        };
        self.due().into_iter().filter_map(asked).collect()
    }

    fn reach_signing(&mut self) {
        self.reach_scoring();
        let order = self.order();
        self.score(order[0], &order[1..]);
        self.score(order[1], &order[..1]);
        self.apply(Event::RecordMade(Box::new(made())));
    }
}

fn committed(place: u16, round: u32, update: Hash32, steps: u32) -> Event {
    let node_id = NodeId(u64::from(place) + 1);
    let commitment = Commitment { run_id: RunId(7), round, node_id, update, steps, began_with: None, checkpoint: Hash32([9; 32]) };
    Event::Committed { place, signed: SignedCommitment { commitment, signature: Signature([1; 64]) } }
}

fn made() -> Made {
    let statement = RoundStatement {
        escrow_id: EscrowId(1),
        run_id: RunId(7),
        round: 0,
        previous: Hash32::default(),
        record: Hash32([20; 32]),
        state_root: Hash32([21; 32]),
        tokens: vec![640; 3],
    };
    Made {
        since: TimestampMs(T0),
        record: Hash32([22; 32]),
        statement,
        state: Hash32([23; 32]),
        updates: vec![None; 3],
        refused: vec![None; 3],
        scores: vec![None; 3],
        commitments: vec![None; 3],
        bytes: 30,
        scorer: Some(0),
        rolled_back: false,
    }
}

#[test]
fn round__should_go_through_every_stage_and_count_once_the_chain_says_so() {
    let mut world = World::new();
    assert_eq!(world.said(), ["1: run/7/start/0", "2: run/7/start/0", "3: run/7/start/0"]);
    world.commit(0, 1_000);
    assert_eq!(world.said(), ["2: run/7/start/0", "3: run/7/start/0", "1: run/7/evaluate/0"]);
    world.commit(1, 100);
    world.commit(2, 100);
    assert_eq!(world.said(), ["1: run/7/reveal/0", "2: run/7/reveal/0", "3: run/7/reveal/0", "seed"]);
    for place in 0..3 {
        world.apply(Event::Revealed { place, round: 0, bytes: 10 });
    }
    assert_eq!(world.said(), ["seed"]);
    world.apply(Event::SeedDrawn { round: 0, seed: Hash32([8; 32]) });
    assert_eq!(world.said(), ["inspect"]);
    world.apply(Event::Inspected { round: 0, valid: vec![0, 1, 2], refused: BTreeMap::new() });
    let order = world.order();
    let mut others = order[1..].to_vec();
    others.sort_unstable();
    assert_eq!(world.asked_to_score(), [(u64::from(order[0]) + 1, others.clone()), (u64::from(order[1]) + 1, vec![order[0]])]);
    assert!(!world.score(order[2], &others), "only the drawn ones score");
    assert!(!world.score(order[0], &[0, 1, 2]) && !world.score(order[1], &order[1..2]), "nobody judges its own work");
    assert!(world.score(order[0], &others));
    assert!(!world.score(order[0], &others), "the first answer binds");
    assert_eq!(world.said(), [format!("{}: run/7/score/0/{}", order[1] + 1, world.now)]);
    assert!(world.score(order[1], &order[..1]));
    assert_eq!(world.said(), ["record"]);
    world.apply(Event::RecordMade(Box::new(made())));
    assert_eq!(world.said().len(), 3);
    world.apply(Event::Signed { place: 0, round: 0, signature: Signature([1; 64]) });
    assert!(world.work.pending().is_none(), "one of three is no quorum");
    world.apply(Event::Meter { round: 0, signature: Signature([9; 64]) });
    world.apply(Event::Signed { place: 2, round: 0, signature: Signature([3; 64]) });
    assert!(world.work.pending().is_some(), "the meter's word before the quorum does not count");
    world.apply(Event::Meter { round: 0, signature: Signature([9; 64]) });
    assert_eq!(world.said(), ["2: run/7/record/0"], "the third node has a moment");
    world.after(1_500);
    assert_eq!(world.said(), ["2: run/7/record/0", "round/7/0"]);
    (world.run.rounds_done, world.run.state_root) = (1, Hash32([21; 32]));
    world.run.state = RunState::Training { round: 1, deadline: TimestampMs(world.now + 600_000) };
    world.after(0);
    assert_eq!((world.work.rounds_done, world.work.state, world.work.previous_digest), (1, Hash32([23; 32]), Hash32([20; 32])));
    assert_eq!(world.said(), ["1: run/7/start/1", "2: run/7/start/1", "3: run/7/start/1"]);
    assert!(!world.apply(Event::Signed { place: 1, round: 0, signature: Signature([2; 64]) }), "what comes late changes nothing");
}

#[test]
fn paced_run__should_give_each_node_what_it_was_seen_to_make() {
    let mut world = World::of(32, InnerSteps::Paced);
    assert_eq!(world.asked_to_train(), [(1, Some(8)), (2, Some(8)), (3, Some(8))], "of new ones nothing is known");
    for place in 0..3 {
        world.commit_steps(place, 1_000, 8);
    }
    let Stage::Revealing { frozen, .. } = &world.work.stage else { panic!("still open") };
    assert_eq!(frozen.assigned, Assigned(vec![8, 8, 8]), "it stays with the round");
    world.leave(3);
    world.count_round();
    assert_eq!(world.asked_to_train(), [(1, Some(32)), (2, Some(16))], "twice as slow, half as many");
    world.after(2_000);
    world.presence.insert(NodeId(3), Presence { connected: true, since: TimestampMs(world.now) });
    world.after(0);
    assert_eq!(world.asked_to_train()[2], (3, Some(10)), "what it is given does not change within the round");
    world.commit_steps(0, 2_000, 32);
    world.commit_steps(1, 1_000, 15);
    world.commit_steps(2, 0, 10);
    world.count_round();
    let paces: Vec<Pace> = world.work.paces.values().copied().collect();
    let pace = |steps, took_ms| Pace { steps, took_ms };
    assert_eq!(paces[0], pace(32, 4_000));
    assert_eq!(paces[1], pace(8, 2_000), "other steps than it was given show nothing");
    assert_eq!(paces[2], pace(10, 3_000), "since it was told");
    assert_eq!(world.asked_to_train(), [(1, Some(32)), (2, Some(16)), (3, Some(13))]);
}

#[test]
fn paced_run__should_not_follow_the_pace_of_work_that_was_refused() {
    let mut world = World::of(32, InnerSteps::Paced);
    for (place, after_ms) in [(0, 1), (1, 2_999), (2, 3_000)] {
        world.commit_steps(place, after_ms, 8);
    }
    world.count_round_without(&[0]);
    assert_eq!(world.asked_to_train(), [(1, Some(8)), (2, Some(32)), (3, Some(16))]);
}

#[test]
fn paced_run__should_not_follow_the_pace_of_who_has_left() {
    let mut world = World::of(32, InnerSteps::Paced);
    for (place, after_ms) in [(0, 1_000), (1, 3_000), (2, 4_000)] {
        world.commit_steps(place, after_ms, 8);
    }
    world.run.roster[0].left = true;
    world.count_round();
    assert_eq!(world.asked_to_train(), [(2, Some(32)), (3, Some(16))]);
}

#[test]
fn equal_run__should_say_nothing_of_steps_and_read_work_that_was_stored_before() {
    let mut world = World::new();
    world.commit(0, 1_000);
    assert_eq!(world.asked_to_train(), [(2, None), (3, None)]);
    let mut stored = serde_json::to_value(&world.work).unwrap();
    for (part, fields) in [("", ["inner_steps", "paces"]), ("/stage/collecting", ["assigned", "told"])] {
        let part = stored.pointer_mut(part).unwrap().as_object_mut().unwrap();
        fields.iter().for_each(|field| assert!(part.remove(*field).is_some(), "{field}"));
    }
    assert_eq!(serde_json::from_value::<RunWork>(stored).unwrap(), world.work);
}

#[test]
fn commitments__should_close_without_a_dead_or_slow_node() {
    // (when the third goes, how long until the round closes after the second committed at 11 s)
    let mut dead = World::new();
    dead.leave(3);
    dead.commit(0, 10_000);
    dead.commit(1, 1_000);
    dead.after(0);
    assert!(matches!(dead.work.stage, Stage::Revealing { .. }), "it has been away for longer than anyone waits");

    let mut slow = World::new();
    slow.commit(0, 10_000);
    slow.commit(1, 1_000);
    slow.after(21_999);
    assert!(matches!(slow.work.stage, Stage::Collecting { .. }), "three times the median of 11 s is not over");
    slow.after(1);
    let Stage::Revealing { frozen, .. } = &slow.work.stage else { panic!("still open") };
    assert_eq!(frozen.commitments.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert!(!slow.apply(committed(2, 0, Hash32([1; 32]), 5)), "frozen");

    let mut lonely = World::new();
    lonely.commit(0, 1_000);
    lonely.leave(2);
    lonely.leave(3);
    lonely.after(500_000);
    assert!(matches!(lonely.work.stage, Stage::Collecting { .. }), "one of three is no quorum");
    lonely.after(100_000);
    assert!(lonely.said().contains(&"tick/run/7/0".to_owned()), "the deadline on chain passed");
}

#[test]
fn restart__should_give_nodes_time_to_come_back() {
    let mut world = World::new();
    world.commit(0, 1_000);
    world.commit(1, 100);
    // The process dies here and comes back much later; nobody is connected yet.
    world.now += 60_000;
    world.booted_at = world.now;
    world.presence.clear();
    world.after(0);
    assert!(matches!(world.work.stage, Stage::Collecting { .. }));
    world.after(3_000);
    for id in 1..=3 {
        world.presence.insert(NodeId(id), Presence { connected: true, since: TimestampMs(world.now) });
    }
    assert!(world.said().iter().any(|name| name.starts_with("3: run/7/start/0")), "the one that has not committed is asked again");
    world.commit(2, 1_000);
    assert!(matches!(world.work.stage, Stage::Revealing { .. }));
}

#[test]
fn commitment__should_bind_once() {
    let mut world = World::new();
    world.commit(0, 1_000);
    assert!(!world.apply(committed(0, 0, Hash32([77; 32]), 5)));
    assert!(!world.apply(committed(1, 3, Hash32([77; 32]), 5)), "another round");
}

#[test]
fn scorer__should_be_passed_over_when_silent_or_gone() {
    let mut world = World::new();
    world.reach_scoring();
    let order = world.order();
    let node = |turn: usize| u64::from(order[turn]) + 1;
    let skipped = |world: &World| match &world.work.stage {
        Stage::Scoring { scoring, .. } => (scoring.skipped, scoring.scores.len()),
        other => panic!("not scoring: {other:?}"),
    };
    world.leave(node(0));
    world.after(6_000);
    assert_eq!(skipped(&world), (1, 0));
    assert!(world.score(order[2], &order[1..2]));
    assert_eq!(skipped(&world), (1, 1));
    world.presence.insert(NodeId(node(0)), Presence { connected: true, since: TimestampMs(world.now) });
    world.after(45_000);
    assert_eq!(skipped(&world), (2, 0), "the scorer was silent: both are asked anew, the last followed by the first");
    world.leave(node(0));
    world.after(6_000);
    assert_eq!(skipped(&world), (1, 0), "only the pair of those who are there");
    for id in 1..=3 {
        world.leave(id);
    }
    world.after(6_000);
    assert!(!world.after(250).apply(Event::Tick), "nobody is there: nobody is passed over in vain");
}

#[test]
fn node__should_be_asked_again_where_it_does_not_answer() {
    let mut world = World::new();
    world.commit(0, 1_000);
    let asked = |world: &World| world.said().into_iter().find(|name| name.starts_with("3: ")).unwrap();
    let first = asked(&world);
    world.now += 29_000;
    assert_ne!(asked(&world), first, "what was asked may have failed there");
}

#[test]
fn post__should_need_the_meter() {
    let mut world = World::new();
    world.reach_signing();
    for place in 0..3 {
        world.apply(Event::Signed { place, round: 0, signature: Signature([1; 64]) });
    }
    world.after(60_000);
    assert!(world.said().is_empty(), "{:?}", world.said());
    world.apply(Event::Meter { round: 0, signature: Signature([9; 64]) });
    assert_eq!(world.said(), ["round/7/0"]);
}

/// The nodes that are asked for the result, and from which state.
fn asked_to_export(world: &World) -> Vec<(NodeId, Hash32)> {
    let of = |intent| match intent {
        Intent::Send { node, message, .. } => match *message {
            ToNode::Export { state, .. } => Some((node, state)),
            _ => None,
        },
        _ => None,
    };
    world.due().into_iter().filter_map(of).collect()
}

/// A run that has ended after one round that counted.
fn ended() -> World {
    let mut world = World::new();
    world.reach_signing();
    (world.run.rounds_done, world.run.state_root) = (1, Hash32([21; 32]));
    world.run.state = RunState::Ended { ending: Ending::Stopped, at: TimestampMs(world.now), settled: true };
    world
}

#[test]
fn end__should_ask_those_for_the_result_who_missed_least_and_wait_for_none_of_them_long() {
    let mut world = ended();
    (world.run.roster[0].left, world.run.roster[1].missed) = (true, 3);
    let mut order = Vec::new();
    for patience in [0, 60_000, 120_000] {
        world.after(patience);
        order.extend(asked_to_export(&world).into_iter().map(|(node, _)| node));
    }
    assert_eq!(order, [2, 1, 0].map(|place: usize| world.run.roster[place].node_id));
}

#[test]
fn end__should_export_from_the_last_paid_state_and_ask_another_node() {
    let mut world = ended();
    world.after(0);
    let first = asked_to_export(&world);
    assert_eq!(first.iter().map(|(_, state)| *state).collect::<Vec<_>>(), [Hash32([23; 32])]);
    world.leave(first[0].0.0);
    world.after(6_000);
    let second = asked_to_export(&world);
    assert_ne!(first[0].0, second[0].0);
    let result = |node_id, state_root| RunResult {
        model: Hash32([30; 32]),
        model_bytes: 1,
        config: Hash32([31; 32]),
        adapters: None,
        state_root,
        held_out: [8.0, 3.0].map(|bits| HeldOut { bits, per: LossUnit::Byte }).into(),
        findings: Findings::Masked,
        node_id,
    };
    assert!(!world.apply(Event::Exported(Box::new(result(second[0].0, Hash32([99; 32]))))), "of another state");
    assert!(world.apply(Event::Exported(Box::new(result(second[0].0, Hash32([21; 32]))))));
    assert_eq!(world.work.stage, Stage::Done);
}

#[test]
fn end__should_need_no_result_when_nothing_counted() {
    let mut world = World::new();
    world.run.state = RunState::Ended { ending: Ending::Stopped, at: TimestampMs(world.now), settled: false };
    world.after(2_000);
    assert_eq!(world.work.stage, Stage::Done);
    assert!(world.said().contains(&"settle/run/7/end".to_owned()));
}

#[test]
fn refused_run__should_get_no_work() {
    let mut world = World::new();
    world.apply(Event::Refuse("why".to_owned()));
    world.after(1_000);
    assert!(world.said().is_empty());
}
