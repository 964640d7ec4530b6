//! What a transaction did.

use near_workspaces::result::{ExecutionFinalResult, ExecutionOutcome};
use serde::de::DeserializeOwned;
use starling_contract_api::events::{self, BILLING_STANDARD, BillingEvent, COMPUTE_STANDARD, ComputeEvent};
use starling_primitives::Amount;

/// The outcome of a transaction with all its receipts.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The final value, or why there is none.
    pub value: Result<Vec<u8>, String>,
    /// All log lines.
    pub logs: Vec<String>,
    /// Why single receipts failed, in their own words.
    pub failures: Vec<String>,
    /// What was burnt for gas, by the transaction and its receipts.
    pub burnt: Amount,
    /// The gas of the largest receipt, in Tgas, rounded up.
    pub largest_receipt_tgas: u64,
    /// All gas, in Tgas, rounded up.
    pub total_tgas: u64,
    /// What the transaction and each receipt burnt of gas, with the account that it ran at.
    pub burnt_gas: Vec<(String, u64)>,
}

impl Answer {
    pub(crate) fn read(result: ExecutionFinalResult) -> Self {
        let burnt_gas: Vec<_> =
            result.outcomes().iter().map(|outcome| (outcome.executor_id.to_string(), outcome.gas_burnt.as_gas())).collect();
        let gas: Vec<_> = burnt_gas.iter().map(|(_, gas)| *gas).collect();
        let burnt = Amount(result.outcomes().iter().map(|outcome| outcome.tokens_burnt.as_yoctonear()).sum());
        let logs = result.logs().into_iter().map(str::to_owned).collect();
        let failures: Vec<String> = result.failures().iter().map(|outcome| failure(outcome)).collect();
        let tgas = |gas: u64| gas.div_ceil(1_000_000_000_000);
        let (largest_receipt_tgas, total_tgas) = (tgas(gas.iter().copied().max().unwrap_or(0)), tgas(gas.iter().sum()));
        let value = match result.into_result() {
            Ok(success) => success.raw_bytes().map_err(|error| error.to_string()),
            Err(_) => Err(failures.join("; ")),
        };
        Self { value, logs, failures, burnt, largest_receipt_tgas, total_tgas, burnt_gas }
    }

    /// The transaction must have succeeded, every receipt of it.
    pub fn ok(self) -> anyhow::Result<Self> {
        anyhow::ensure!(self.value.is_ok() && self.failures.is_empty(), "the transaction failed: {:?} {:?}", self.value, self.failures);
        Ok(self)
    }

    /// The transaction must have failed with these words.
    pub fn refused(self, words: &str) -> anyhow::Result<Self> {
        match &self.value {
            Err(error) if error.contains(words) => Ok(self),
            other => anyhow::bail!("expected a refusal with {words:?}, got {other:?} {:?}", self.failures),
        }
    }

    /// The final value as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let bytes = self.value.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Events of `billing`, in order.
    pub fn billing_events(&self) -> Vec<BillingEvent> {
        self.logs.iter().filter_map(|line| events::parse(line, BILLING_STANDARD)).collect()
    }

    /// Events of `compute`, in order.
    pub fn compute_events(&self) -> Vec<ComputeEvent> {
        self.logs.iter().filter_map(|line| events::parse(line, COMPUTE_STANDARD)).collect()
    }
}

/// Who failed, and why.
fn failure(outcome: &ExecutionOutcome) -> String {
    let text = format!("{outcome:?}");
    let why = text.split_once("status: ").map_or(text.as_str(), |(_, why)| why);
    format!("{}: {why}", outcome.executor_id)
}
