//! A whole run without a network: eight participants, fifty rounds, a toy quadratic, and four who do not do as they should.
//!
//! Every honest party (three here, each with its own copy of everything) checks and applies each record from bytes
//! alone, and all reach one root; one of them is killed in the middle and goes on from its checkpoint's bytes.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

use starling_primitives::{Hash32, RunId};
use starling_rounds::{
    ApplyError, Candidate, Codec, CodecError, Fragments, Layout, Nats, Outcome, OuterConfig, OuterState, PROBE_STEP, Plan, Previous,
    Refusal, RoundRecord, Score, TensorShape, Update, Updates, Work, apply_round, artifact_hash, probe_point, propose, pseudo_gradient,
};

const RUN: RunId = RunId(1);
const ROSTER: u16 = 8;
const ROUNDS: u32 = 50;
const INNER_STEPS: u32 = 5;
const LATE: u16 = 2;
const ABSENT: u16 = 4;
const COPIER: u16 = 6;
const NAN: u16 = 7;

/// Loss of one participant's data: half the squared distance to a target near the common one, by curvature.
struct Task {
    target: Vec<f32>,
    curvature: Vec<f32>,
}

impl Task {
    fn new(own: u32, parameters: usize) -> Self {
        let number = |place: usize, of: u32| {
            let place = u32::try_from(place).unwrap();
            let hash = artifact_hash(&[place.to_le_bytes(), of.to_le_bytes()].concat()).0;
            f32::from(u16::from_le_bytes([hash[0], hash[1]])) / 65_536.0
        };
        let target = (0..parameters).map(|i| 4.0 * number(i, 1_000) - 2.0 + 1.6 * number(i, own)).collect();
        let curvature = (0..parameters).map(|i| 0.2 + 0.8 * number(i, 2_000)).collect();
        Self { target, curvature }
    }

    fn loss(&self, weights: &[f32]) -> f64 {
        let pairs = weights.iter().zip(&self.target).zip(&self.curvature);
        let sum: f64 = pairs.map(|((w, t), c)| f64::from(c * (w - t) * (w - t))).sum();
        0.5 * sum / weights.len() as f64
    }

    fn train(&self, global: &[f32]) -> Vec<f32> {
        let mut weights = global.to_vec();
        for _ in 0..INNER_STEPS {
            for ((w, t), c) in weights.iter_mut().zip(&self.target).zip(&self.curvature) {
                *w -= 0.05 * c * (*w - t);
            }
        }
        weights
    }
}

fn layout() -> Layout {
    let tensors = [("layer.weight", vec![20, 30]), ("layer.bias", vec![30]), ("head", vec![7])];
    Layout::new(tensors.into_iter().map(|(name, shape)| TensorShape { name: name.into(), shape }).collect()).unwrap()
}

/// One party that follows the run: a node, the coordinator or a stranger with the artifacts.
#[derive(Clone)]
struct Party {
    state: OuterState,
    previous: Previous,
}

impl Party {
    fn follow(&mut self, plan: Plan, record: &[u8], artifacts: &[(u16, Vec<u8>)]) -> Hash32 {
        let record: RoundRecord = borsh::from_slice(record).unwrap();
        let updates: Updates = record
            .accepted()
            .map(|who| {
                let (_, bytes) = artifacts.iter().find(|(by, _)| *by == who).unwrap();
                (who, Codec::Int4.decode(self.state.layout(), bytes).unwrap())
            })
            .collect();
        record.check(&self.previous, plan, &updates).unwrap();
        let whole = Fragments::whole(self.state.layout());
        let root = apply_round(&mut self.state, None, &whole, &record, &updates).unwrap();
        self.previous = Previous::after(&record, root, ROSTER);
        root
    }
}

/// The coordinator's side of a round, from the bytes that came in time, in the order in which they were committed to.
fn make_record(party: &Party, plan: Plan, tasks: &[Task], unseen: &Task, in_time: &[(u16, Vec<u8>)]) -> RoundRecord {
    let weights = party.state.weights();
    let decoded: Vec<Result<Update, CodecError>> =
        in_time.iter().map(|(_, bytes)| Codec::Int4.decode(party.state.layout(), bytes)).collect();
    let mut candidates = vec![Candidate {
        participant: LATE,
        assigned_tokens: plan.assigned_tokens(),
        commitment: None,
        work: Work::Unusable(Refusal::Late),
    }];
    for ((participant, bytes), update) in in_time.iter().zip(&decoded) {
        let work = match update {
            Err(error) => Work::Unusable(error.into()),
            Ok(update) => {
                let task = &tasks[usize::from(*participant)];
                let point = probe_point(weights, update, PROBE_STEP).unwrap();
                let (own, other) = ([weights, &point].map(|at| task.loss(at)), [weights, &point].map(|at| unseen.loss(at)));
                Work::Scored { update, score: Score::from_losses(own[0], own[1], other[0], other[1]) }
            }
        };
        candidates.push(Candidate {
            participant: *participant,
            assigned_tokens: plan.assigned_tokens(),
            commitment: Some(artifact_hash(bytes)),
            work,
        });
    }
    let seed = artifact_hash(&party.state.round().to_le_bytes());
    propose(&party.previous, plan, (seed, 0), Some(Nats::or_most(unseen.loss(weights))), &candidates)
}

#[test]
fn run__should_reach_one_root_whatever_four_of_eight_do() {
    let layout = layout();
    let parameters = layout.parameters();
    let plan = Plan::new(INNER_STEPS, 2, 16).unwrap();
    let tasks: Vec<Task> = (0..u32::from(ROSTER)).map(|own| Task::new(own, parameters)).collect();
    let unseen = Task::new(500, parameters);
    let config = OuterConfig::new(0.5, 0.8).unwrap();
    let state = OuterState::new(layout.clone(), config, vec![0.0; parameters]).unwrap();
    let common = |weights: &[f32]| tasks.iter().map(|task| task.loss(weights)).sum::<f64>();
    let loss_before = common(state.weights());
    let party = Party { previous: Previous::genesis(RUN, &state, ROSTER), state };
    let mut parties = vec![party; 3];
    let mut feedback = vec![vec![0.0_f32; parameters]; usize::from(ROSTER)];
    let mut accepted = [0_u32; ROSTER as usize];
    let mut reasons = [0_u32; 3];

    for round in 0..ROUNDS {
        let mut in_time: Vec<(u16, Vec<u8>)> = Vec::new();
        for participant in (0..ROSTER).filter(|who| ![ABSENT, COPIER].contains(who)) {
            let place = usize::from(participant);
            let global = parties[0].state.weights();
            let delta = pseudo_gradient(global, &tasks[place].train(global)).unwrap();
            let mut bytes = Codec::Int4.encode(&layout, &delta, &mut feedback[place]).unwrap();
            if participant == NAN {
                bytes[38..40].copy_from_slice(&[0x00, 0x7E]);
            }
            if participant != LATE {
                in_time.push((participant, bytes));
            }
        }
        in_time.push((COPIER, in_time[0].1.clone()));
        let record = make_record(&parties[0], plan, &tasks, &unseen, &in_time);
        for entry in &record.entries {
            match &entry.outcome {
                Outcome::Accepted { .. } => accepted[usize::from(entry.participant)] += 1,
                Outcome::Refused { reason: Refusal::Late, .. } => reasons[0] += 1,
                Outcome::Refused { reason: Refusal::NotFinite, .. } => reasons[1] += 1,
                Outcome::Refused { reason: Refusal::Copied, .. } => reasons[2] += 1,
                Outcome::Refused { reason, .. } => panic!("round {round}: {reason:?}"),
            }
        }
        let record = borsh::to_vec(&record).unwrap();
        let roots: Vec<Hash32> = parties.iter_mut().map(|party| party.follow(plan, &record, &in_time)).collect();
        assert!(roots.iter().all(|root| *root == roots[0]), "round {round}: {roots:?}");
        if round == 20 {
            // Killed: nothing is left of one party but the checkpoint and the last record.
            let checkpoint = parties[1].state.to_bytes();
            let last: RoundRecord = borsh::from_slice(&record).unwrap();
            let state = OuterState::from_bytes(&checkpoint).unwrap();
            let previous = Previous::after(&last, state.root(), ROSTER);
            parties[1] = Party { state, previous };
        }
    }
    // Four honest ones in every round, the others in none.
    assert_eq!(accepted, [50, 50, 0, 50, 0, 50, 0, 0]);
    assert_eq!(reasons, [50, 50, 50]);
    let end = &parties[0].state;
    assert_eq!((end.round(), end.next_inner_step()), (ROUNDS, u64::from(ROUNDS * INNER_STEPS)));
    let loss_after = common(end.weights());
    println!("loss {loss_before:.4} -> {loss_after:.4}, root {}", end.root());
    assert!(loss_after < loss_before / 8.0, "{loss_before} -> {loss_after}");
    assert_eq!(end.root().to_string(), "8d04c7a7e0fe9a73b4a7717b241405d572c48bee26503a8cd67a0e71f41e0e15");
}

/// A round whose updates all pass, whatever they do: what judges that look away would let through.
fn waved_through(party: &Party, plan: Plan, loss: f64, updates: &[(u16, Vec<u8>)]) -> (RoundRecord, Updates) {
    let decoded: Updates = updates.iter().map(|(who, bytes)| (*who, Codec::Int4.decode(party.state.layout(), bytes).unwrap())).collect();
    let score = Score::from_losses(2.0, 1.9, 2.0, 1.95);
    let candidates = decoded.iter().map(|(who, update)| Candidate {
        participant: *who,
        assigned_tokens: plan.assigned_tokens(),
        commitment: Some(update.hash()),
        work: Work::Scored { update, score },
    });
    let candidates: Vec<Candidate<'_>> = candidates.collect();
    let seed = artifact_hash(&party.state.round().to_le_bytes());
    let record = propose(&party.previous, plan, (seed, 0), Some(Nats::or_most(loss)), &candidates);
    let accepted: Vec<u16> = record.accepted().collect();
    (record, decoded.into_iter().filter(|(who, _)| accepted.contains(who)).collect())
}

#[test]
fn run__should_take_a_harmful_step_back_in_the_round_after_it() {
    let layout = layout();
    let plan = Plan::new(INNER_STEPS, 2, 16).unwrap();
    let tasks: Vec<Task> = (0..4).map(|own| Task::new(own, layout.parameters())).collect();
    let unseen = Task::new(500, layout.parameters());
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.0; layout.parameters()]).unwrap();
    let mut party = Party { previous: Previous::genesis(RUN, &state, ROSTER), state };
    let (mut states, whole) = (vec![party.state.clone()], Fragments::whole(&layout));
    for round in 0..8_u32 {
        let global = party.state.weights();
        // In round 5 all send the opposite of their work, a hundred times as long, and are let through.
        let factor = if round == 5 { -100.0 } else { 1.0 };
        let encoded = |(who, task): (usize, &Task)| {
            let delta: Vec<f32> = pseudo_gradient(global, &task.train(global)).unwrap().iter().map(|value| factor * value).collect();
            (u16::try_from(who).unwrap(), Codec::Int4.encode(&layout, &delta, &mut vec![0.0; delta.len()]).unwrap())
        };
        let updates: Vec<(u16, Vec<u8>)> = tasks.iter().enumerate().map(encoded).collect();
        let (record, decoded) = waved_through(&party, plan, unseen.loss(global), &updates);
        record.check(&party.previous, plan, &decoded).unwrap();
        let astray = party.state.is_astray(record.probe);
        assert_eq!(astray, round == 6, "round {round}: {:?}", record.probe);
        if astray {
            let missing = apply_round(&mut party.state.clone(), states.first(), &whole, &record, &decoded);
            assert_eq!(missing, Err(ApplyError::EarlierMissing(party.state.before())), "the first state is not the one before");
        }
        let earlier = states.iter().find(|earlier| earlier.root() == party.state.before());
        let root = apply_round(&mut party.state, earlier, &whole, &record, &decoded).unwrap();
        if astray {
            assert_eq!(party.state.weights(), states[5].weights());
            assert!(party.state.momentum().iter().all(|speed| *speed == 0.0));
            assert_eq!((party.state.round(), party.state.next_inner_step()), (7, u64::from(7 * INNER_STEPS)));
        }
        party.previous = Previous::after(&record, root, ROSTER);
        states.push(party.state.clone());
    }
    let losses = [5, 6, 8].map(|round: usize| unseen.loss(states[round].weights()));
    assert!(losses[1] > 2.0 * losses[0] && losses[2] < losses[0], "{losses:?}");
}
