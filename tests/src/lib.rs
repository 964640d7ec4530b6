//! What the tests share: a chain with our contracts on it, people with keys, and their calls.
//!
//! The contracts are the wasm files that `cargo xtask wasm` put into `target/contracts`; the chain is the embedded one, reached by near-workspaces over its RPC.

mod actor;
mod answer;
mod harness;
mod postgres;
mod release;
mod scripted;
pub mod walk;
pub mod work;

pub use actor::Actor;
pub use answer::Answer;
pub use harness::{CHAIN_ID, FEE, Harness, INSTANCE, MIN_STAKE, Sent, contract_wasm};
pub use postgres::Postgres;
pub use release::{CONTRACTS, marked, release_wasm};
pub use scripted::Scripted;
