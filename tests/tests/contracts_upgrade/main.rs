//! Upgrades: who may, to what and when; and a rehearsal from each release, with money in flight.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod approval;
mod migration;
mod rehearsal;
mod release_1;
mod second_forms;
