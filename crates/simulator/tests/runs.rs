//! Short seeded runs with all that goes wrong: they end, honest work counts, dishonest work does not, and all reach one root.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

use starling_rounds::{Codec, recipe::OverlapRecipe};
use starling_simulator::{
    Behaviour, Outcome, Participant, Scenario,
    figures::{federated_recipe, run, small_recipe},
    text::synthetic,
};

fn outcome(scenario: &Scenario, inner_steps: u32) -> Outcome {
    let outcome = run(scenario, &small_recipe(scenario.rounds, inner_steps).unwrap(), &synthetic(1, 1 << 18)).unwrap();
    println!("{}", outcome.table());
    assert_eq!(outcome.rows.len(), scenario.rounds as usize);
    outcome
}

#[test]
fn run__should_reach_one_root_whatever_fails_and_again_the_same() {
    let mut scenario = Scenario { paced: true, absent: 1, crash_chance: 0.1, evaluate_every: 4, ..Scenario::new("everything", 8, 8) };
    scenario.participants[1] = Participant::honest(3_000_000);
    scenario.participants[2].joins_before_round = 3;
    scenario.participants[3].leaves_before_round = 5;
    let scenario = scenario.attacked(2, Behaviour::SignFlip);
    let first = outcome(&scenario, 8);
    // All replicas checked and signed each root on the way: a difference would have ended the simulation.
    assert!(first.held_out_loss < first.rows[3].held_out_loss.unwrap() && first.held_out_loss < 4.0, "{}", first.held_out_loss);
    let (accepted, refused): (Vec<usize>, Vec<usize>) = (0..8).map(|place| first.verdicts(place)).unzip();
    assert_eq!(accepted[6..], [0, 0], "sign flips earn nothing");
    assert!(accepted[2] > 0 && accepted[3] > 0 && accepted[..6].iter().sum::<usize>() >= 28, "{accepted:?} {refused:?}");
    assert!(refused[..6].iter().sum::<usize>() <= 2, "{refused:?}");
    // The slow one had fewer steps, not a late commitment.
    let (slow, fast) = (first.rows[7].accepted.contains(&1), first.rows[7].accepted.contains(&0));
    assert!(slow || fast);
    assert_eq!(first, outcome(&scenario, 8));
}

#[test]
fn overlap__should_hide_the_exchange_and_learn() {
    let blocking =
        Scenario { node_bits_per_second: 1_000_000, hub_bits_per_second: 10_000_000, evaluate_every: 8, ..Scenario::new("blocking", 8, 4) };
    let overlap = OverlapRecipe { fragments: 2, merge_after_steps: 9, own_share: 0.5 };
    let overlapped = Scenario { name: "overlapped".to_owned(), overlap: Some(overlap), ..blocking.clone() };
    let (blocking, overlapped) = (outcome(&blocking, 12), outcome(&overlapped, 12));
    let least = |outcome: &Outcome| outcome.computing.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least(&blocking) < 0.6 && least(&overlapped) > 1.3 * least(&blocking), "{:?} {:?}", blocking.computing, overlapped.computing);
    assert!(overlapped.held_out_loss < 3.5, "{}", overlapped.held_out_loss);
    assert!(overlapped.rows.iter().all(|row| row.accepted.len() == 4));
}

#[test]
fn federated__should_learn_from_data_that_stays_where_it_is() {
    let scenario = Scenario { own_data: true, evaluate_every: 6, ..Scenario::new("federated", 6, 4) };
    let outcome = run(&scenario, &federated_recipe(6, 8).unwrap(), &synthetic(1, 1 << 18)).unwrap();
    assert!(outcome.held_out_loss < 3.5, "{}", outcome.held_out_loss);
    assert!((0..4).all(|place| outcome.verdicts(place).0 >= 5));
}

#[test]
fn codes__should_train_honest_nodes_alike() {
    for codec in [Codec::Int4, Codec::TwoBit] {
        let scenario = Scenario { codec, evaluate_every: 6, ..Scenario::new(format!("{codec:?}"), 6, 4) };
        let outcome = outcome(&scenario, 8);
        assert!(outcome.held_out_loss < 3.5, "{codec:?}: {}", outcome.held_out_loss);
        // The two-bit codes of honest nodes are much alike in the first rounds, and are no copies for that.
        assert!((0..4).all(|place| outcome.verdicts(place).0 >= 5), "{codec:?}");
    }
}
