//! Reading parameters, in the object form and in the older positional ones.

use near_jsonrpc_primitives::errors::RpcError;
use near_primitives::transaction::SignedTransaction;
use near_primitives::types::{BlockId, BlockReference, Finality};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::chain::Block;
use crate::error::LocalnetError;
use crate::rpc::Rpc;

pub(super) fn parse<T: DeserializeOwned>(value: Value) -> Result<T, RpcError> {
    serde_json::from_value(value).map_err(|error| RpcError::parse_error(format!("Failed parsing args: {error}")))
}

/// The parameters as an object; a positional list gets the names in order.
pub(super) fn named(params: Value, names: &[&str]) -> Value {
    match params {
        Value::Array(values) => {
            let pairs = names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value));
            Value::Object(pairs.collect())
        }
        Value::Null => json!({}),
        other => other,
    }
}

/// The block that `params` name; the final one when they name none.
pub(super) fn block_reference(params: &Value) -> Result<BlockReference, RpcError> {
    match params {
        Value::Null => Ok(BlockReference::Finality(Finality::Final)),
        Value::Array(values) => match values.first() {
            None | Some(Value::Null) => Ok(BlockReference::Finality(Finality::Final)),
            Some(id) => Ok(BlockReference::BlockId(parse::<BlockId>(id.clone())?)),
        },
        Value::Object(object) => {
            for name in ["block_id", "finality", "sync_checkpoint"] {
                if let Some(value) = object.get(name).filter(|value| !value.is_null()) {
                    return parse(json!({ name: value }));
                }
            }
            Ok(BlockReference::Finality(Finality::Final))
        }
        _ => Err(RpcError::parse_error("parameters are an object or a list".to_owned())),
    }
}

/// A signed transaction in base64, alone in a list or named.
pub(super) fn signed_transaction(params: &Value) -> Result<SignedTransaction, RpcError> {
    let encoded = match params {
        Value::Array(values) => values.first(),
        Value::Object(object) => object.get("signed_tx_base64"),
        _ => None,
    };
    let encoded = encoded.ok_or_else(|| RpcError::parse_error("a signed transaction is missing".to_owned()))?;
    parse(encoded.clone())
}

impl Rpc {
    /// The block that a reference means; `None` when there is none.
    pub(super) fn find_block(&self, reference: &BlockReference) -> Result<Option<Block>, LocalnetError> {
        match reference {
            BlockReference::Finality(_) => Ok(Some(self.localnet.head())),
            BlockReference::BlockId(BlockId::Height(height)) => self.localnet.block(*height),
            BlockReference::BlockId(BlockId::Hash(hash)) => self.localnet.block_by_hash(hash),
            BlockReference::SyncCheckpoint(_) => self.localnet.block(0),
        }
    }
}
