//! Everything that the crate promises, against a chain in this process.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod accounts;
mod common;
mod contracts;
mod durability;
mod rpc;
mod sandbox;
