//! JSON for contracts, whose code is paid for by the byte: a third of `serde_json`'s size, for the same types.
//!
//! The caller chooses what an error is ([`Fault`]). A contract that panics at the first one chooses a type without values: the compiler then leaves out every path that
//! would hand an error on. Records are read from objects only, numbers are whole, and nothing is deeper than [`MAX_DEPTH`].

mod fault;
mod read;
mod scan;
mod write;

pub use fault::{Fault, Unreadable};
pub use read::read;
pub use scan::MAX_DEPTH;
pub use write::write;

#[cfg(test)]
mod tests;
