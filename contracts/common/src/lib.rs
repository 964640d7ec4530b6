//! What all four contracts share: the caller, the clock, promises, events, storage that is paid for, and signatures.
//!
//! Contracts name this crate `near_sdk`: it is near-sdk with our own JSON and state, which what `#[near]` writes looks for under
//! that name.
//!
//! Rules return errors; only the edge of a contract turns one into a panic, here through [`OrPanic`] and [`require()`].

mod caller;
mod edge;
mod event;
mod forms;
mod hash;
mod json;
pub mod listings;
#[cfg(target_arch = "wasm32")]
mod memory;
mod outgoing;
mod setup;
mod signature;
pub mod state;
mod storage;
mod table;
pub mod upgrade;

pub use near_sdk::*;

pub use caller::{attached, current, input, now, predecessor, require_deposit, require_one_yocto};
pub use edge::{OrPanic, require};
pub use event::emit;
pub use forms::{FirstForm, Forms};
pub use hash::split_account;
pub use outgoing::{Promise, PromiseOrValue, answer, answer_with, ask, refund, send, succeeded, to_near};
pub use setup::Setup;
pub use signature::{is_signed, require_strong_key};
pub use storage::{bytes_cost, charge_change, charge_growth, left_of, next};
pub use table::{PageFull, Room, Table, page};

/// What the code that `#[near]` writes calls for arguments and answers.
pub mod serde_json {
    pub use crate::json::{Fatal, from_slice, from_str, to_vec};
    pub use ::serde_json::Value;
}
