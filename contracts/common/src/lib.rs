//! What all four contracts share: the caller, the clock, promises, events, storage that is paid for, and signatures.
//!
//! Rules return errors; only the edge of a contract turns one into a panic, here through [`OrPanic`] and [`require`].

mod caller;
mod edge;
mod event;
pub mod listings;
mod outgoing;
mod setup;
mod signature;
mod storage;
mod table;

pub use caller::{attached, current, input, now, predecessor, require_one_yocto};
pub use edge::{OrPanic, require};
pub use event::emit;
pub use outgoing::{answer, call, refund, send, succeeded, to_near};
pub use setup::Setup;
pub use signature::{is_signed, require_strong_key};
pub use storage::{bytes_cost, charge_growth, next};
pub use table::Table;
