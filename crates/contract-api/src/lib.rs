//! The wire of our contracts: method names, arguments, answers, gas and deposits.
//!
//! A [`Call`] or a [`View`] is a value that says what to send; a transport sends it: `rpc` over NEAR's JSON-RPC in native programs, the wallet and the
//! browser's fetch in the dashboard.

mod ask;
pub mod billing;
pub mod compute;
pub mod events;
pub mod hub;
pub mod market;
pub mod payment;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod settlement;
pub mod token;
pub mod upgrade;

pub use ask::{AboutEscrow, Ask};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use starling_primitives::{AccountId, Amount};
use starling_protocol::signing::Domain;
use std::marker::PhantomData;

/// One yoctoNEAR: what a call wants that a function-call key must not make.
pub const ONE_YOCTO: Amount = Amount(1);
/// Gas units in one Tgas.
pub const TGAS: u64 = 1_000_000_000_000;

/// The accounts of one deployment. Embedded chain, testnet and mainnet differ in this and in an RPC address only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The chain's own name, as its RPC `status` gives it.
    pub chain_id: String,
    /// The contracts' instance number, given at deployment; part of all that is signed.
    pub instance: u64,
    /// Money.
    pub billing: AccountId,
    /// Nodes, offers, leases, runs.
    pub compute: AccountId,
    /// Models.
    pub hub: AccountId,
    /// Research tools and data sets.
    pub market: AccountId,
}

impl Deployment {
    /// The domain of all that `compute` checks.
    pub fn compute_domain(&self) -> Domain {
        self.domain(&self.compute)
    }

    /// The domain of the vouchers that `billing` checks.
    pub fn billing_domain(&self) -> Domain {
        self.domain(&self.billing)
    }

    fn domain(&self, contract: &AccountId) -> Domain {
        Domain { chain_id: self.chain_id.clone(), contract: contract.clone(), instance: self.instance }
    }
}

/// What a contract is deployed with: the one argument of each `new`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitArgs {
    /// Approves upgrades, pauses and receives fees; never the coordinator.
    pub owner: AccountId,
    /// The deployment that the contract is part of.
    pub deployment: Deployment,
    /// For `billing`: the fee; for the others ignored.
    pub fee: starling_primitives::BasisPoints,
    /// For `compute`: the least stake of a node that offers; for the others ignored.
    pub min_stake: Amount,
}

/// A transaction's function call, ready to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The contract.
    pub contract: AccountId,
    /// The method.
    pub method: String,
    /// JSON arguments.
    pub args: serde_json::Value,
    /// Attached gas.
    pub gas: u64,
    /// Attached yoctoNEAR.
    pub deposit: Amount,
}

/// A read of a contract and the type of its answer.
#[derive(Clone, Debug)]
pub struct View<T> {
    /// The contract.
    pub contract: AccountId,
    /// The method.
    pub method: &'static str,
    /// JSON arguments.
    pub args: serde_json::Value,
    answer: PhantomData<fn() -> T>,
}

impl Call {
    fn new(contract: &AccountId, method: &str, args: serde_json::Value, tgas: u64, deposit: Amount) -> Self {
        Self { contract: contract.clone(), method: method.to_owned(), args, gas: tgas * TGAS, deposit }
    }

    /// The arguments as bytes.
    pub fn args_bytes(&self) -> Vec<u8> {
        self.args.to_string().into_bytes()
    }
}

impl<T: DeserializeOwned> View<T> {
    fn new(contract: &AccountId, method: &'static str, args: serde_json::Value) -> Self {
        Self { contract: contract.clone(), method, args, answer: PhantomData }
    }

    /// The arguments as bytes.
    pub fn args_bytes(&self) -> Vec<u8> {
        self.args.to_string().into_bytes()
    }

    /// The same read from another contract: a call whose answer a callback reads.
    pub fn as_call(&self, tgas: u64) -> Call {
        Call::new(&self.contract, self.method, self.args.clone(), tgas, Amount::ZERO)
    }

    /// Reads the contract's answer.
    pub fn decode(&self, answer: &[u8]) -> Result<T, serde_json::Error> {
        serde_json::from_slice(answer)
    }
}
