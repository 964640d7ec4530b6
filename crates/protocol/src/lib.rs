//! The pure rules of Starling: escrow, lease, bond, meter, run, listing, split, price, reputation and upgrade, and every byte string that is signed.
//!
//! A rule takes a state, an event and the time, and gives the new state and what must follow from it. It reads no clock, does no I/O and draws no random
//! number, so the contract, the coordinator, the browser and a third party with a copy of the chain reach the same answer.

pub mod bond;
pub mod escrow;
pub mod lease;
pub mod listing;
pub mod meter;
pub mod node;
pub mod price;
pub mod reputation;
pub mod run;
pub mod session_key;
pub mod signing;
pub mod split;
pub mod upgrade;
