//! What a transaction did, read from the RPC's answer.

use super::RpcError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use starling_primitives::Amount;

/// A NEP-297 event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The account whose receipt logged it.
    pub contract: String,
    /// Such as `starling-billing`.
    pub standard: String,
    /// Such as `escrow_opened`.
    pub event: String,
    /// As the standard says.
    pub data: Value,
}

/// What a transaction did, all its receipts included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The transaction's hash in base58.
    pub hash: String,
    /// The final value, empty when there is none.
    pub value: Vec<u8>,
    /// All logs in order of receipts.
    pub logs: Vec<String>,
    /// The logs that are NEP-297 events.
    pub events: Vec<Event>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// yoctoNEAR burnt as gas by the transaction and its receipts.
    pub tokens_burnt: Amount,
    /// Gas burnt by the transaction and its receipts.
    pub gas_burnt: u64,
    /// Failures of single receipts (a detached promise, a call whose callback handled it).
    pub receipt_failures: Vec<String>,
}

impl Outcome {
    /// Reads the final value as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, RpcError> {
        serde_json::from_slice(&self.value).map_err(|error| RpcError::Malformed(error.to_string()))
    }

    /// Reads the answer of `send_tx` or `tx`; nothing while it is not final.
    pub(super) fn read(answer: &Value) -> Result<Option<Self>, RpcError> {
        let (Some(transaction), Some(first), Some(receipts)) =
            (answer.get("transaction"), answer.get("transaction_outcome"), answer.get("receipts_outcome").and_then(Value::as_array))
        else {
            return Ok(None);
        };
        let status = answer.get("status").ok_or_else(|| RpcError::Malformed("no status".to_owned()))?;
        let (value, failure) = match status {
            Value::Object(status) if status.contains_key("SuccessValue") => {
                let text = status["SuccessValue"].as_str().unwrap_or_default();
                (STANDARD.decode(text).map_err(|error| RpcError::Malformed(error.to_string()))?, None)
            }
            Value::Object(status) if status.contains_key("Failure") => (Vec::new(), Some(failure_text(&status["Failure"]))),
            _ => return Ok(None),
        };
        let mut outcome = Self {
            hash: transaction["hash"].as_str().unwrap_or_default().to_owned(),
            value,
            logs: Vec::new(),
            events: Vec::new(),
            failure,
            tokens_burnt: Amount::ZERO,
            gas_burnt: 0,
            receipt_failures: Vec::new(),
        };
        for part in std::iter::once(first).chain(receipts) {
            outcome.add(&part["outcome"])?;
        }
        Ok(Some(outcome))
    }

    fn add(&mut self, outcome: &Value) -> Result<(), RpcError> {
        let contract = outcome["executor_id"].as_str().unwrap_or_default();
        let burnt = outcome["tokens_burnt"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Amount::ZERO);
        self.tokens_burnt = self.tokens_burnt.checked_add(burnt).map_err(|error| RpcError::Malformed(error.to_string()))?;
        self.gas_burnt = self.gas_burnt.saturating_add(outcome["gas_burnt"].as_u64().unwrap_or(0));
        if let Some(failure) = outcome["status"].get("Failure") {
            self.receipt_failures.push(failure_text(failure));
        }
        for log in outcome["logs"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.logs.push(log.to_owned());
            self.events.extend(read_event(contract, log));
        }
        Ok(())
    }
}

fn read_event(contract: &str, log: &str) -> Option<Event> {
    let event: Value = serde_json::from_str(log.strip_prefix("EVENT_JSON:")?).ok()?;
    Some(Event {
        contract: contract.to_owned(),
        standard: event["standard"].as_str()?.to_owned(),
        event: event["event"].as_str()?.to_owned(),
        data: event["data"].clone(),
    })
}

/// The contract's panic in its own words where there is one, else the chain's error as JSON.
fn failure_text(failure: &Value) -> String {
    let panic = failure.pointer("/ActionError/kind/FunctionCallError/ExecutionError").and_then(Value::as_str);
    match panic {
        Some(panic) => panic.strip_prefix("Smart contract panicked: ").unwrap_or(panic).to_owned(),
        None => failure.to_string(),
    }
}
