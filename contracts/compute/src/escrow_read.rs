//! What is read here of [`starling_contract_api::billing::EscrowView`]. All of it would be 30 kB of code.

use near_sdk::serde::Deserialize;
use starling_primitives::TimestampMs;

/// An escrow as `billing` tells of it.
#[derive(Deserialize)]
#[serde(crate = "near_sdk::serde")]
pub(crate) struct EscrowRead {
    escrow: Escrow,
}

#[derive(Deserialize)]
#[serde(crate = "near_sdk::serde")]
struct Escrow {
    state: State,
}

#[derive(Deserialize)]
#[serde(crate = "near_sdk::serde")]
struct State {
    /// The name of a [`starling_protocol::escrow::State`].
    state: String,
    /// Of an open one only.
    closing_asked_at: Option<TimestampMs>,
    /// Of a closed one.
    objected_at: Option<TimestampMs>,
    /// Of one that settles.
    opened: Option<Settling>,
}

#[derive(Deserialize)]
#[serde(crate = "near_sdk::serde")]
struct Settling {
    objected_at: Option<TimestampMs>,
}

impl EscrowRead {
    /// Whether posts are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.escrow.state.state == "open"
    }

    /// Whether the payer asked for closing.
    pub(crate) fn is_closing(&self) -> bool {
        self.escrow.state.closing_asked_at.is_some()
    }

    /// Whether the payer objected.
    pub(crate) fn was_objected_to(&self) -> bool {
        let State { objected_at, opened, .. } = &self.escrow.state;
        objected_at.or(opened.as_ref().and_then(|opened| opened.objected_at)).is_some()
    }
}
