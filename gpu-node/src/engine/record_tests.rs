//! Tests of the record check: an honest record gives its root; each changed part is found.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::engine::{Base, PrepareJob, prepare, read_state};
use starling_primitives::{AccountId, Amount, Asset, DurationMs, EscrowId, NodeId, PublicKey, RunId, TimestampMs};
use starling_protocol::run::{Member, RunState, RunTerms};
use starling_rounds::{Codec, Entry, Fragments, Nats, Score, ScorerDraw, clip_factors, norm, scorer_order};
use starling_training::Recipe;

fn run_of(prepared: &starling_http_api::node::Prepared) -> Run {
    let terms = RunTerms {
        recipe: prepared.recipe,
        data: prepared.data,
        held_out: prepared.held_out,
        base: prepared.base,
        base_root: prepared.base_root,
        rounds: prepared.rounds,
        min_nodes: 2,
        max_nodes: 2,
        tokens_per_round: prepared.tokens_per_round,
        price_per_million_tokens: Amount(1),
        enroll_time: DurationMs::from_secs(60),
        round_time: DurationMs::from_secs(60),
        meter: PublicKey([9; 32]),
        availability: DurationMs::from_secs(60),
        invited: Vec::new(),
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    };
    let payout = AccountId::new("a.near").unwrap();
    let member = |id: u8| Member {
        node_id: NodeId(id.into()),
        payout: payout.clone(),
        key: PublicKey([id; 32]),
        tokens: 0,
        missed: 0,
        leaving: false,
        left: false,
    };
    let mut run = Run::new(RunId(3), payout.clone(), EscrowId(4), Amount::from_near(1), terms, TimestampMs(0)).unwrap();
    run.roster = vec![member(1), member(2)];
    run.state = RunState::Training { round: 0, deadline: TimestampMs(1) };
    run
}

/// A whole honest round of two nodes.
fn honest() -> RecordJob {
    let recipe = Recipe::preset("tiny").unwrap();
    let data: Arc<[u8]> = include_bytes!("record.rs").as_slice().into();
    let made = prepare(PrepareJob { recipe: recipe.to_toml().unwrap(), fit: false, data, held_out: None, base: Base::Fresh }).unwrap();
    let state = read_state(&recipe, &made.files[3]).unwrap();
    let update = |seed: usize| -> Arc<[u8]> {
        let values: Vec<f32> = (0..state.weights().len()).map(|index| ((index * 7 + seed * 13) % 29) as f32 * 1e-4).collect();
        Codec::Int4.encode(state.layout(), &values, &mut vec![0.0; values.len()]).unwrap().into()
    };
    let updates = vec![(0, update(1)), (1, update(2))];
    let works: Vec<(u64, u32)> =
        updates.iter().map(|(_, bytes)| (norm(&Codec::Int4.decode(state.layout(), bytes).unwrap()), 640)).collect();
    let entries: Vec<Entry> = updates
        .iter()
        .zip(clip_factors(&works))
        .map(|((place, bytes), clip_factor_256)| {
            let outcome =
                Outcome::Accepted { update_hash: hash_of(bytes), clip_factor_256, score: Score { own: Nats(1_000), unseen: Nats(900) } };
            Entry { participant: *place, assigned_tokens: 640, outcome }
        })
        .collect();
    let run = run_of(&made.prepared);
    let commitments: Vec<_> = entries.iter().filter_map(Entry::commitment).collect();
    let seed = Hash32([5; 32]);
    let scorer = Some(ScorerDraw { seed, skipped: 0, scorer: scorer_order(&seed, &commitments)[0] });
    let record = RoundRecord {
        run: run.id,
        round: 0,
        previous_digest: genesis_digest(run.id, made.prepared.base_root),
        previous_state_root: made.prepared.base_root,
        first_inner_step: 0,
        inner_steps: 5,
        roster_size: 2,
        scorer,
        probe: Some(Nats(5_000_000)),
        entries,
    };
    let decoded = decode_all(Codec::Int4, state.layout(), updates.clone()).unwrap();
    let state_root = apply_round(&mut state.clone(), None, &Fragments::whole(state.layout()), &record, &decoded).unwrap();
    let statement = RoundStatement {
        escrow_id: run.escrow_id,
        run_id: run.id,
        round: 0,
        previous: run.chain,
        record: record.digest(),
        state_root,
        tokens: record.tokens_by_place(),
    };
    let inputs = RunInputs::of(recipe, made.files[0].clone(), made.files[1].clone(), None).unwrap();
    let (update, checkpoint) = (hash_of(&updates[0].1), Hash32([0; 32]));
    let commitment = Commitment { run_id: run.id, round: 0, node_id: NodeId(1), update, steps: 5, began_with: None, checkpoint };
    let own = Some((0, commitment));
    RecordJob { inputs, run, state, earlier: None, record, updates, statement, previous_digest: None, own }
}

#[test]
fn record__should_be_confirmed_when_all_is_right() {
    let job = honest();
    let (state_root, digest) = (job.statement.state_root, job.record.digest());
    let confirmed = check_and_apply(job).unwrap();
    assert_eq!((confirmed.state_root, confirmed.digest), (state_root, digest));
    // The bytes are those that the next round starts from.
    let state = OuterState::from_bytes(&confirmed.state).unwrap();
    assert_eq!((state.root(), state.round()), (state_root, 1));
}

fn own(job: &mut RecordJob) -> &mut Commitment {
    &mut job.own.as_mut().unwrap().1
}

#[test]
fn record__should_be_refused_for_each_deviation() {
    type Change = fn(&mut RecordJob);
    let changes: [(&str, Change); 12] = [
        ("escrow", |job| job.statement.escrow_id = EscrowId(5)),
        ("run", |job| job.statement.run_id = RunId(5)),
        ("round", |job| job.statement.round = 1),
        ("history", |job| job.statement.previous = Hash32([1; 32])),
        ("record digest", |job| job.record.first_inner_step = 5),
        ("tokens", |job| job.statement.tokens[1] = 0),
        ("state root", |job| job.statement.state_root = Hash32([1; 32])),
        ("committed to", |job| own(job).update = Hash32([1; 32])),
        ("640 tokens", |job| own(job).steps = 4),
        ("previous digest", |job| job.previous_digest = Some(Hash32([1; 32]))),
        ("previous state root", |job| job.run.state_root = Hash32([1; 32])),
        ("accepted", |job| drop(job.updates.pop())),
    ];
    for (word, change) in changes {
        let mut job = honest();
        change(&mut job);
        let error = check_and_apply(job).unwrap_err().to_string();
        assert!(error.contains(word) || word == "accepted" && error.contains("participant 1"), "{error} lacks {word}");
    }
}
