//! Every byte string that is signed.
//!
//! A message is `starling/1`, a kind, the [`Domain`] and the content in borsh: always longer than the 32 bytes that transactions and NEP-413 sign, so that
//! nothing can be taken for the other. It names chain, contract, its instance, role, escrow, number and content: no replay on another network,
//! deployment or escrow.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, EscrowId, Hash32, LeaseId, NodeId, RunId, Signature, TimestampMs};

const PREFIX: &[u8] = b"starling/1";

/// Where a signature is worth something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Domain {
    /// The chain's own name.
    pub chain_id: String,
    /// The contract that checks the signature.
    pub contract: AccountId,
    /// The contract's instance number, given at deployment.
    pub instance: u64,
}

/// In which role a statement is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The node that did the work.
    Node,
    /// The meter that co-signs.
    Meter,
}

/// What a round's roster and the meter sign: the whole outcome of one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundStatement {
    /// The escrow that pays.
    pub escrow_id: EscrowId,
    /// The run.
    pub run_id: RunId,
    /// The round, counted from 0.
    pub round: u32,
    /// The run's hash chain before this round.
    pub previous: Hash32,
    /// Digest of the round record.
    pub record: Hash32,
    /// State root after the outer step.
    pub state_root: Hash32,
    /// Accepted tokens of this round for each place in the roster, in roster order; 0 where nothing was accepted.
    pub tokens: Vec<u32>,
}

/// What a lease's node and meter sign: the work so far. Cumulative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseStatement {
    /// The escrow that pays.
    pub escrow_id: EscrowId,
    /// The lease.
    pub lease_id: LeaseId,
    /// Number of the statement, counted from 1.
    pub seq: u64,
    /// Metered time so far, in milliseconds.
    pub metered_ms: u64,
    /// Work units so far (tokens generated, steps made).
    pub units: u64,
    /// Hash of the output so far, which the store received.
    pub output: Hash32,
    /// Whether the work is complete.
    pub is_final: bool,
}

/// A cumulative claim on an escrow, signed by the key that its payer named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    /// The escrow.
    pub escrow_id: EscrowId,
    /// Number of the voucher; only a higher one counts.
    pub seq: u64,
    /// Who is paid.
    pub payee: AccountId,
    /// All that is claimed so far.
    pub total: Amount,
    /// Root of the work that it pays for.
    pub work_root: Hash32,
}

/// What a node signs to open its session with a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeHello {
    /// The node.
    pub node_id: NodeId,
    /// The coordinator's origin, as the node dialled it.
    pub origin: String,
    /// The coordinator's challenge, used once.
    pub nonce: Hash32,
    /// The challenge dies then.
    pub expires_at: TimestampMs,
}

/// What a node signs before anyone sees its update: commit before reveal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// The run.
    pub run_id: RunId,
    /// The round.
    pub round: u32,
    /// The node.
    pub node_id: NodeId,
    /// Artifact hash of the encoded update.
    pub update: Hash32,
    /// Inner steps made.
    pub steps: u32,
    /// Artifact hash of the checkpoint that the round was begun with, which an earlier commitment of the node names as its own; nothing where the
    /// node began with nothing of its own. With it, and what the run names, anyone makes the same update and the same checkpoint.
    pub began_with: Option<Hash32>,
    /// Artifact hash of the node's checkpoint after the round.
    pub checkpoint: Hash32,
}

/// A commitment with its node's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCommitment {
    /// What was signed.
    pub commitment: Commitment,
    /// By the node's key.
    pub signature: Signature,
}

fn message(kind: &str, domain: &Domain, content: &impl BorshSerialize) -> Vec<u8> {
    let mut bytes = PREFIX.to_vec();
    let mut append = |part: borsh::io::Result<Vec<u8>>| {
        // Not `expect`: it would print the error, which is code that contracts pay for.
        let Ok(part) = part else { panic!("borsh writes to memory without failing") };
        bytes.extend(part);
    };
    append(borsh::to_vec(kind));
    append(borsh::to_vec(domain));
    append(borsh::to_vec(content));
    bytes
}

impl RoundStatement {
    /// The bytes that a signer in `role` signs.
    pub fn signing_bytes(&self, domain: &Domain, role: Role) -> Vec<u8> {
        message("round", domain, &(role, self))
    }

    /// The run's hash chain after this round.
    pub fn chain_hash(&self, domain: &Domain) -> Hash32 {
        Hash32::sha256(&self.chain_bytes(domain))
    }

    /// What is hashed for it.
    pub fn chain_bytes(&self, domain: &Domain) -> Vec<u8> {
        message("round-chain", domain, self)
    }
}

impl LeaseStatement {
    /// The bytes that a signer in `role` signs.
    pub fn signing_bytes(&self, domain: &Domain, role: Role) -> Vec<u8> {
        message("lease", domain, &(role, self))
    }
}

impl Voucher {
    /// The bytes that the named key signs.
    pub fn signing_bytes(&self, domain: &Domain) -> Vec<u8> {
        message("voucher", domain, self)
    }
}

impl NodeHello {
    /// The bytes that the node signs; the domain is that of `compute`.
    pub fn signing_bytes(&self, domain: &Domain) -> Vec<u8> {
        message("hello", domain, self)
    }
}

impl Commitment {
    /// The bytes that the node signs; the domain is that of `compute`.
    pub fn signing_bytes(&self, domain: &Domain) -> Vec<u8> {
        message("commitment", domain, self)
    }
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
