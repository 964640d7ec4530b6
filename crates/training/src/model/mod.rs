//! The models, one readable file each.

pub(crate) mod gpt;

pub use gpt::{Decoder, Gpt, Leaves};
