//! Leases as the coordinator shows them.

use crate::job::{JobSpec, Metric, Report};
use serde::{Deserialize, Serialize};
use starling_primitives::{Amount, Signature, TimestampMs};
use starling_protocol::{lease::Lease, signing::LeaseStatement};

/// A lease: what the chain says, and what the node sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseView {
    /// The chain's record.
    pub lease: Lease,
    /// What it has earned so far, before the fee.
    pub earned: Amount,
    /// What the node does, once its description was uploaded.
    pub job: Option<JobSpec>,
    /// Output so far, cut at 64 KiB (of a script the last of them); the whole is the artifact that the last statement names, or its report's log.
    pub output: String,
    /// A script's figures so far, thinned evenly where there are many; all of them are an artifact that the report names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// What a script's last statement names: log, files, and how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<Report>>,
    /// What the node did last before the script runs, in one line; none of it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// The last sign of life of the node.
    pub heard_at: Option<TimestampMs>,
    /// Why the node could not do it, if so.
    pub failure: Option<String>,
}

/// News of a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum LeaseEvent {
    /// The chain's record changed; also sent first.
    Changed {
        /// The lease now.
        view: Box<LeaseView>,
    },
    /// More output.
    Output {
        /// The text that follows.
        text: String,
    },
    /// More figures of a script.
    Metrics {
        /// In order.
        points: Vec<Metric>,
    },
    /// What the node does before a script runs, in one line; none of it is paid.
    Setup {
        /// The line.
        line: String,
    },
    /// The meter is asked to sign.
    StatementReady {
        /// What to sign.
        pending: Box<PendingLeaseStatement>,
    },
}

/// A statement that the node signed and the meter has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLeaseStatement {
    /// What to sign, in the role of meter.
    pub statement: LeaseStatement,
    /// By the node's key.
    pub node: Signature,
}

/// The meter's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseMeterSignature {
    /// Number of the statement.
    pub seq: u64,
    /// By the meter's key.
    pub signature: Signature,
}
