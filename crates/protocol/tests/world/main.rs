//! All money rules together through random operations: every yocto is always somebody's, and none can be stuck.
//!
//! What runs here are the rules that the contracts run, without a virtual machine around them. `STARLING_WORLD_OPERATIONS` sets how many operations.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod bonds;
mod coverage;
mod draws;
mod ledger;
mod random;
mod targets;
mod world;

use coverage::Coverage;
use world::World;

/// Operations in one world, before all of it is taken apart.
const WORLD: u64 = 5_000;

#[test]
fn world__should_keep_every_yocto_through_any_operations() {
    let operations =
        std::env::var("STARLING_WORLD_OPERATIONS").ok().map_or(1_000_000, |text| text.parse().expect("a number of operations"));
    let mut coverage = Coverage::default();
    for seed in 1..=u64::div_ceil(operations, WORLD) {
        let mut world = World::new(seed, &mut coverage);
        for _ in 0..WORLD {
            world.operate();
        }
        world.end();
    }
    let share = 100 * coverage.taken / coverage.operations;
    println!("{} operations, {share} % taken\n{}", coverage.operations, coverage.table());
    assert!(share >= 30, "{share} % of the operations were taken: a walk of refusals shows little");
    assert_eq!(coverage.gaps(), [""; 0], "pairs of state and event that were never tried");
}
