//! Nodes and offers as `compute` keeps them.

use crate::{
    bond::{CLAIM_PERIOD, MAX_ANSWER_TIME, MIN_ANSWER_TIME, Sla},
    escrow::{CLOSING_PERIOD, MAX_OBJECTION_WINDOW},
    price::{is_near, near},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, Asset, DurationMs, EscrowId, NodeId, PublicKey, Text, TimestampMs};

/// The longest lease an offer may allow.
pub const MAX_LEASE: DurationMs = DurationMs::from_days(30);
/// How long a lease's escrow lives beyond the lease itself: acceptance, the last statement, settlement.
pub const LEASE_MARGIN: DurationMs = DurationMs::from_hours(1);
/// The longest lease that an offer with a bond behind it may allow: the bond is there to be claimed whatever its provider does.
pub const MAX_COVERED_LEASE: DurationMs = DurationMs(CLOSING_PERIOD.0 - CLAIM_PERIOD.0 - LEASE_MARGIN.0);

/// The most tenants on an offer's list.
pub const MAX_ALLOWED: usize = 32;

/// What kind of device does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// An NVIDIA card.
    Nvidia,
    /// An AMD card.
    Amd,
}

/// What a node says of itself. The rate was measured by its own probe; all of it is declared until a job shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// What kind of device.
    pub kind: DeviceKind,
    /// The device's name, as the system gives it.
    pub device: Text<64>,
    /// Memory that a job may use.
    pub memory_bytes: u64,
    /// Processor threads that a job may use.
    pub threads: u16,
    /// Matrix rate in units of 10^9 operations a second (f32), by the node's probe.
    pub matrix_gflops: u32,
}

/// A provider's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Whose it is.
    pub provider: AccountId,
    /// Who is paid. Only the provider's full-access key changes it.
    pub payout: AccountId,
    /// The node's own key, a function-call key on the provider's account.
    pub key: PublicKey,
    /// What it says of itself.
    pub capability: Capability,
    /// The escrow that holds its stake, once paid.
    pub stake: Option<Stake>,
    /// When it was registered.
    pub registered_at: TimestampMs,
    /// Whether it was retired; it takes no new work then.
    pub retired: bool,
}

/// A provider's collateral.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Stake {
    /// The escrow in `billing`.
    pub escrow_id: EscrowId,
    /// How much.
    pub amount: Amount,
    /// Whether `billing` has confirmed that the escrow is open.
    pub confirmed: bool,
}

/// A provider's standing ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferTerms {
    /// For training: a million accepted tokens.
    pub price_per_million_tokens: Amount,
    /// For metered work: an hour.
    pub price_per_hour: Amount,
    /// The shortest lease.
    pub min_lease: DurationMs,
    /// The longest lease; [`MAX_LEASE`] at most.
    pub max_lease: DurationMs,
    /// How long a tenant whose meter is a delegate may object to each post; 0 where only a tenant's own key may be the meter. [`MAX_OBJECTION_WINDOW`] at most.
    #[serde(default)]
    pub objection_window: DurationMs,
    /// What prices are in, and what a lease is paid in: NEAR, or a token that `billing` takes, in its smallest units.
    #[serde(default = "near", skip_serializing_if = "is_near")]
    pub asset: Asset,
    /// What is promised, with a bond behind it; nothing if nothing is. Its leases are [`MAX_COVERED_LEASE`] long at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<Sla>,
}

/// Why a node or an offer was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// A lease must last at least a minute, the shortest no longer than the longest, and that within the limit.
    #[error("the lease times must satisfy 1 min <= min_lease <= max_lease <= {MAX_LEASE}")]
    LeaseTimes,
    /// The objection window is too long.
    #[error("the objection window may be {MAX_OBJECTION_WINDOW} at most")]
    ObjectionWindow,
    /// The promise is outside its limits.
    #[error(
        "a bond must pay something, an answer take {MIN_ANSWER_TIME} to {MAX_ANSWER_TIME}, and a covered lease {MAX_COVERED_LEASE} at most"
    )]
    Sla,
    /// Too many tenants, or one twice.
    #[error("an offer's list has at most {MAX_ALLOWED} tenants, each once")]
    AllowList,
    /// Memory and threads must not be zero.
    #[error("a node needs memory and at least one thread")]
    EmptyCapability,
}

/// Whether a list of the tenants who alone may take an offer is within its limits; an empty one means anyone.
pub fn check_allow_list(tenants: &[AccountId]) -> Result<(), NodeError> {
    let twice = tenants.iter().enumerate().any(|(place, tenant)| tenants[..place].contains(tenant));
    if twice || tenants.len() > MAX_ALLOWED { Err(NodeError::AllowList) } else { Ok(()) }
}

impl OfferTerms {
    /// Whether the terms make sense.
    pub fn check(&self) -> Result<(), NodeError> {
        let ordered = DurationMs::from_secs(60) <= self.min_lease && self.min_lease <= self.max_lease && self.max_lease <= MAX_LEASE;
        match self {
            _ if !ordered => Err(NodeError::LeaseTimes),
            terms if terms.objection_window > MAX_OBJECTION_WINDOW => Err(NodeError::ObjectionWindow),
            Self { sla: Some(sla), max_lease, .. } if !sla.check() || *max_lease > MAX_COVERED_LEASE => Err(NodeError::Sla),
            _ => Ok(()),
        }
    }
}

impl Capability {
    /// Whether the capability makes sense.
    pub fn check(&self) -> Result<(), NodeError> {
        if self.memory_bytes == 0 || self.threads == 0 { Err(NodeError::EmptyCapability) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
