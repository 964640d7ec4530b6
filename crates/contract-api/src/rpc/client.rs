//! The client: views, transactions, blocks, accounts and keys.

use super::{Action, FunctionCallAction, Outcome, RpcError, SignedTx, Signer, signer::near_account};
use crate::{Call, View};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use near_primitives::{
    hash::CryptoHash,
    transaction::{SignedTransaction, Transaction, TransactionV0},
    types::{Balance, Gas},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use starling_primitives::{AccountId, Amount, PublicKey};
use std::{sync::Arc, time::Duration};

const NONCE_TRIES: u32 = 5;
const WAIT_TRIES: u32 = 60;

/// A client of one chain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RpcClient {
    url: Arc<str>,
    http: reqwest::Client,
}

/// The chain's name and height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainStatus {
    /// The chain's own name.
    pub chain_id: String,
    /// Height of the last final block.
    pub height: u64,
}

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRef {
    /// The last final one.
    Final,
    /// By height.
    Height(u64),
}

/// A block and the transactions in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its height.
    pub height: u64,
    /// Height of the block before it, which need not be the next lower one; nothing of the first block.
    pub previous_height: Option<u64>,
    /// Its hash in base58.
    pub hash: String,
    /// Its time, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Transactions that entered the chain with it.
    pub transactions: Vec<BlockTx>,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTx {
    /// Its hash in base58.
    pub hash: String,
    /// Who signed.
    pub signer: String,
    /// Whom it went to.
    pub receiver: String,
}

/// An account's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// yoctoNEAR, storage stake included.
    pub balance: Amount,
    /// Bytes stored.
    pub storage_bytes: u64,
    /// Hash of its contract in base58; `11111111111111111111111111111111` when there is none.
    pub code_hash: String,
}

/// An access key's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Whether it may do anything.
    pub full_access: bool,
    /// For a function-call key: what it may still spend on gas; nothing means no limit.
    pub allowance: Option<Amount>,
    /// For a function-call key: the one contract it may call.
    pub receiver: Option<String>,
    /// For a function-call key: the methods; any when empty.
    pub methods: Vec<String>,
    /// Its last nonce.
    pub nonce: u64,
}

impl RpcClient {
    /// A client of the RPC at `url`.
    pub fn new(url: &str) -> Self {
        Self::with_http(url, reqwest::Client::builder())
    }

    /// The same by a client of HTTP that somebody began, with other roots for example.
    pub fn with_http(url: &str, http: reqwest::ClientBuilder) -> Self {
        let http = http.connect_timeout(Duration::from_secs(10)).timeout(Duration::from_secs(60)).build().unwrap_or_default();
        Self { url: url.into(), http }
    }

    /// The address it talks to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends one request of NEAR's JSON-RPC.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let unreachable = |source| RpcError::Unreachable { url: self.url.to_string(), source };
        let body = json!({"jsonrpc": "2.0", "id": "starling", "method": method, "params": params});
        let response = self.http.post(&*self.url).json(&body).send().await.map_err(unreachable)?;
        let mut answer: Value = response.json().await.map_err(unreachable)?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let cause = error.pointer("/cause/name").or_else(|| error.get("name")).and_then(Value::as_str).unwrap_or("UNKNOWN");
            let message =
                error.get("data").map_or_else(|| error.to_string(), |data| data.as_str().map_or_else(|| data.to_string(), str::to_owned));
            return Err(RpcError::Refused { name: cause.to_owned(), message });
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }

    /// The chain's name and height.
    pub async fn status(&self) -> Result<ChainStatus, RpcError> {
        let answer = self.request("status", json!([])).await?;
        let chain_id = text(&answer, "/chain_id")?;
        let height = number(&answer, "/sync_info/latest_block_height")?;
        Ok(ChainStatus { chain_id, height })
    }

    /// Reads a contract at the last final block.
    pub async fn view<T: DeserializeOwned>(&self, view: &View<T>) -> Result<T, RpcError> {
        let params = json!({
            "request_type": "call_function", "finality": "final", "account_id": view.contract, "method_name": view.method,
            "args_base64": STANDARD.encode(view.args_bytes()),
        });
        let answer = self.request("query", params).await?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            return Err(RpcError::Refused { name: "CONTRACT_EXECUTION_ERROR".to_owned(), message: error.to_owned() });
        }
        let bytes: Vec<u8> = serde_json::from_value(answer["result"].clone()).map_err(|error| RpcError::Malformed(error.to_string()))?;
        view.decode(&bytes).map_err(|error| RpcError::Malformed(format!("{}: {error}", view.method)))
    }

    /// A block with its transactions.
    pub async fn block(&self, which: BlockRef) -> Result<BlockInfo, RpcError> {
        let params = match which {
            BlockRef::Final => json!({"finality": "final"}),
            BlockRef::Height(height) => json!({"block_id": height}),
        };
        let block = self.request("block", params).await?;
        let mut transactions = Vec::new();
        let height = number(&block, "/header/height")?;
        for chunk in block["chunks"].as_array().into_iter().flatten().filter(|chunk| chunk["height_included"].as_u64() == Some(height)) {
            let chunk = self.request("chunk", json!({"chunk_id": chunk["chunk_hash"]})).await?;
            for transaction in chunk["transactions"].as_array().into_iter().flatten() {
                transactions.push(BlockTx {
                    hash: text(transaction, "/hash")?,
                    signer: text(transaction, "/signer_id")?,
                    receiver: text(transaction, "/receiver_id")?,
                });
            }
        }
        let timestamp_ns: u64 =
            text(&block, "/header/timestamp_nanosec")?.parse().map_err(|_| RpcError::Malformed("timestamp".to_owned()))?;
        let previous_height = block["header"]["prev_height"].as_u64();
        Ok(BlockInfo { height, previous_height, hash: text(&block, "/header/hash")?, timestamp_ms: timestamp_ns / 1_000_000, transactions })
    }

    /// An account, or nothing when it does not exist.
    pub async fn account(&self, account: &AccountId) -> Result<Option<AccountInfo>, RpcError> {
        let answer = match self.request("query", json!({"request_type": "view_account", "finality": "final", "account_id": account})).await
        {
            Err(RpcError::Refused { name, .. }) if name == "UNKNOWN_ACCOUNT" => return Ok(None),
            answer => answer?,
        };
        let balance = text(&answer, "/amount")?.parse().map_err(|_| RpcError::Malformed("amount".to_owned()))?;
        Ok(Some(AccountInfo { balance, storage_bytes: number(&answer, "/storage_usage")?, code_hash: text(&answer, "/code_hash")? }))
    }

    /// The public keys of an account, of whatever kind.
    pub async fn keys(&self, account: &AccountId) -> Result<Vec<String>, RpcError> {
        let params = json!({"request_type": "view_access_key_list", "finality": "final", "account_id": account});
        let answer = self.request("query", params).await?;
        let keys = answer["keys"].as_array().ok_or_else(|| RpcError::Malformed("no /keys".to_owned()))?;
        keys.iter().map(|key| text(key, "/public_key")).collect()
    }

    /// An access key, or nothing when it is not there.
    pub async fn access_key(&self, account: &AccountId, key: &PublicKey) -> Result<Option<KeyInfo>, RpcError> {
        let params = json!({"request_type": "view_access_key", "finality": "final", "account_id": account, "public_key": key});
        let answer = match self.request("query", params).await {
            Err(RpcError::Refused { name, .. }) if name == "UNKNOWN_ACCESS_KEY" || name == "UNKNOWN_ACCOUNT" => return Ok(None),
            answer => answer?,
        };
        if answer.get("error").is_some() {
            return Ok(None);
        }
        let nonce = number(&answer, "/nonce")?;
        let Some(limits) = answer.pointer("/permission/FunctionCall") else {
            return Ok(Some(KeyInfo {
                full_access: answer["permission"] == "FullAccess",
                allowance: None,
                receiver: None,
                methods: Vec::new(),
                nonce,
            }));
        };
        Ok(Some(KeyInfo {
            full_access: false,
            allowance: limits["allowance"].as_str().and_then(|text| text.parse().ok()),
            receiver: limits["receiver_id"].as_str().map(str::to_owned),
            methods: serde_json::from_value(limits["method_names"].clone()).unwrap_or_default(),
            nonce,
        }))
    }

    /// Signs, sends and waits until all receipts are executed. A failed transaction is [`RpcError::Failed`].
    pub async fn call(&self, signer: &Signer, call: &Call) -> Result<Outcome, RpcError> {
        self.transact(signer, &call.contract, vec![function_call(call)]).await
    }

    /// The same with any actions. A nonce that another process took is tried again.
    pub async fn transact(&self, signer: &Signer, receiver: &AccountId, actions: Vec<Action>) -> Result<Outcome, RpcError> {
        for attempt in 1.. {
            let signed = self.sign_actions(signer, receiver, actions.clone()).await?;
            match self.submit(&signed, signer.account()).await {
                Err(RpcError::Refused { message, .. }) if message.contains("InvalidNonce") && attempt < NONCE_TRIES => continue,
                outcome => return outcome,
            }
        }
        Err(RpcError::Malformed("no nonce".to_owned()))
    }

    /// Signs a call without sending it.
    pub async fn sign(&self, signer: &Signer, call: &Call) -> Result<SignedTx, RpcError> {
        self.sign_actions(signer, &call.contract, vec![function_call(call)]).await
    }

    async fn sign_actions(&self, signer: &Signer, receiver: &AccountId, actions: Vec<Action>) -> Result<SignedTx, RpcError> {
        let key = self
            .access_key(signer.account(), &signer.public_key())
            .await?
            .ok_or_else(|| RpcError::NoAccount(signer.account().to_string()))?;
        let block = self.request("block", json!({"finality": "final"})).await?;
        let block_hash: CryptoHash = text(&block, "/header/hash")?.parse().map_err(|_| RpcError::Malformed("block hash".to_owned()))?;
        let public_key = near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(signer.public_key().0));
        let transaction = Transaction::V0(TransactionV0 {
            signer_id: signer.near_account(),
            public_key,
            nonce: key.nonce + 1,
            receiver_id: near_account(receiver),
            block_hash,
            actions,
        });
        let (hash, _) = transaction.get_hash_and_size();
        let signature = signer.sign_bytes(hash.as_ref());
        let signature = near_crypto::Signature::from_parts(near_crypto::KeyType::ED25519, &signature.0)
            .map_err(|error| RpcError::Malformed(error.to_string()))?;
        let bytes =
            borsh::to_vec(&SignedTransaction::new(signature, transaction)).map_err(|error| RpcError::Malformed(error.to_string()))?;
        Ok(SignedTx { hash: hash.to_string(), bytes })
    }

    /// Sends a signed transaction and waits for its outcome; the same bytes again give the same outcome.
    pub async fn submit(&self, signed: &SignedTx, signer: &AccountId) -> Result<Outcome, RpcError> {
        let params = json!({"signed_tx_base64": STANDARD.encode(&signed.bytes), "wait_until": "FINAL"});
        match self.request("send_tx", params).await {
            Ok(answer) => match Outcome::read(&answer)? {
                Some(outcome) => finish(outcome),
                None => self.wait(&signed.hash, signer).await,
            },
            Err(RpcError::Refused { name, .. }) if name == "TIMEOUT_ERROR" => self.wait(&signed.hash, signer).await,
            // It may have entered the chain on an earlier try.
            Err(refused @ RpcError::Refused { .. }) => match self.outcome(&signed.hash, signer).await {
                Ok(Some(outcome)) => finish(outcome),
                _ => Err(refused),
            },
            Err(error) => Err(error),
        }
    }

    /// A transaction's outcome; nothing while it is unknown or not executed.
    pub async fn outcome(&self, hash: &str, signer: &AccountId) -> Result<Option<Outcome>, RpcError> {
        let params = json!({"tx_hash": hash, "sender_account_id": signer, "wait_until": "NONE"});
        match self.request("tx", params).await {
            Ok(answer) => Outcome::read(&answer),
            Err(RpcError::Refused { name, .. }) if name == "UNKNOWN_TRANSACTION" || name == "TIMEOUT_ERROR" => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn wait(&self, hash: &str, signer: &AccountId) -> Result<Outcome, RpcError> {
        for _ in 0..WAIT_TRIES {
            if let Some(outcome) = self.outcome(hash, signer).await? {
                return finish(outcome);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(RpcError::Refused {
            name: "TIMEOUT_ERROR".to_owned(),
            message: format!("the transaction {hash} was sent and has no outcome yet; ask again later"),
        })
    }
}

fn function_call(call: &Call) -> Action {
    Action::FunctionCall(Box::new(FunctionCallAction {
        method_name: call.method.clone(),
        args: call.args_bytes(),
        gas: Gas::from_gas(call.gas),
        deposit: Balance::from_yoctonear(call.deposit.0),
    }))
}

fn finish(outcome: Outcome) -> Result<Outcome, RpcError> {
    match outcome.failure.clone() {
        Some(message) => Err(RpcError::Failed { outcome: Box::new(outcome), message }),
        None => Ok(outcome),
    }
}

fn text(value: &Value, pointer: &str) -> Result<String, RpcError> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| RpcError::Malformed(format!("no {pointer}")))
}

fn number(value: &Value, pointer: &str) -> Result<u64, RpcError> {
    value.pointer(pointer).and_then(Value::as_u64).ok_or_else(|| RpcError::Malformed(format!("no {pointer}")))
}
