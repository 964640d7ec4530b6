//! Reads of our contracts, straight from the chain's RPC.

use super::{Failure, Outcome, decode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gloo_net::http::Request;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use starling_contract_api::{
    View,
    hub::{Listings, MAX_LISTINGS_PAGE},
};
use starling_primitives::{AccountId, Amount, AssetName, PublicKey, TimestampMs};
use starling_protocol::listing::{Listing, Version};

async fn request(rpc_url: &str, method: &str, params: Value) -> Outcome<Value> {
    let away = |error: gloo_net::Error| {
        Failure::new(
            "chain_away",
            format!("The chain cannot be read right now. Your money stays where it is, in your wallet and in its contract. ({error})"),
        )
    };
    let body = json!({"jsonrpc": "2.0", "id": "dashboard", "method": method, "params": params});
    let response = Request::post(rpc_url).json(&body).map_err(away)?.send().await.map_err(away)?;
    let bytes = response.binary().await.map_err(away)?;
    let mut answer: Value =
        decode(&bytes).map_err(|error| Failure::new("chain_away", format!("The chain's answer is not understood. ({error})")))?;
    match answer.get("error").filter(|error| !error.is_null()) {
        Some(error) => {
            let name = error.pointer("/cause/name").and_then(Value::as_str).unwrap_or("rpc_refused");
            Err(Failure::new(name, format!("The chain refused the request: {}", error.get("data").unwrap_or(error))))
        }
        None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
    }
}

/// Reads a contract at the last final block.
pub(crate) async fn view<T: DeserializeOwned>(rpc_url: &str, view: &View<T>) -> Outcome<T> {
    let params = json!({
        "request_type": "call_function", "finality": "final", "account_id": view.contract, "method_name": view.method,
        "args_base64": STANDARD.encode(view.args_bytes()),
    });
    let answer = request(rpc_url, "query", params).await?;
    let bytes = answer["result"].as_array().and_then(|bytes| bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect());
    let bytes: Vec<u8> = bytes
        .ok_or_else(|| Failure::new("view_failed", format!("{} could not be read from the chain: {}", view.method, answer["error"])))?;
    view.decode(&bytes).map_err(|error| Failure::new("view_not_understood", format!("{}: {error}", view.method)))
}

/// All that a paged view has, asked page by page with the number of what came before until nothing comes.
pub(crate) async fn pages<T: DeserializeOwned>(rpc_url: &str, page: impl Fn(u64) -> View<Vec<T>>) -> Outcome<Vec<T>> {
    let mut all = Vec::new();
    loop {
        let next = view(rpc_url, &page(all.len() as u64)).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

/// All listings of a shelf that are on the list.
pub(crate) async fn listings(rpc_url: &str, shelf: &Listings) -> Outcome<Vec<Listing>> {
    let mut all = pages(rpc_url, |from| shelf.listings(None, from, MAX_LISTINGS_PAGE)).await?;
    all.retain(|listing| !listing.delisted);
    Ok(all)
}

/// All versions of a listing, the first published first.
pub(crate) async fn versions(rpc_url: &str, shelf: &Listings, name: &AssetName) -> Outcome<Vec<Version>> {
    pages(rpc_url, |from| shelf.versions(name, u32::try_from(from).unwrap_or(u32::MAX), u32::MAX)).await
}

/// What one contract logged in a transaction, all its receipts included.
pub(crate) struct Logged {
    /// Hash of the block in which it was logged.
    pub(crate) block: String,
    /// The line.
    pub(crate) line: String,
}

/// The lines that a contract logged in a transaction that has ended, in order.
pub(crate) async fn logs(rpc_url: &str, tx: &str, signer: &AccountId, contract: &AccountId) -> Outcome<Vec<Logged>> {
    let params = json!({"tx_hash": tx, "sender_account_id": signer, "wait_until": "FINAL"});
    let answer = request(rpc_url, "tx", params).await?;
    let receipts = answer["receipts_outcome"].as_array().into_iter().flatten();
    let ours = receipts.filter(|receipt| receipt.pointer("/outcome/executor_id").and_then(Value::as_str) == Some(contract.as_str()));
    let mut logged = Vec::new();
    for receipt in ours {
        let block = receipt["block_hash"].as_str().unwrap_or_default();
        let lines = receipt.pointer("/outcome/logs").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        logged.extend(lines.map(|line| Logged { block: block.to_owned(), line: line.to_owned() }));
    }
    Ok(logged)
}

/// A block's height and time, by its hash.
pub(crate) async fn block(rpc_url: &str, hash: &str) -> Outcome<(u64, TimestampMs)> {
    block_of(&request(rpc_url, "block", json!({ "block_id": hash })).await?)
}

fn block_of(answer: &Value) -> Outcome<(u64, TimestampMs)> {
    let header = |name: &str| answer["header"][name].as_u64();
    let found = header("height").zip(header("timestamp"));
    found
        .map(|(height, nanoseconds)| (height, TimestampMs(nanoseconds / 1_000_000)))
        .ok_or_else(|| Failure::new("view_not_understood", "The chain's answer about a block is not understood."))
}

/// The chain's own name, and its last final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) chain_id: String,
    pub(crate) height: u64,
    pub(crate) at: TimestampMs,
}

/// Which chain answers, and how far it is.
pub(crate) async fn status(rpc_url: &str) -> Outcome<Status> {
    let answer = request(rpc_url, "status", json!([])).await?;
    let chain_id = answer["chain_id"].as_str().unwrap_or_default().to_owned();
    let (height, at) = block_of(&request(rpc_url, "block", json!({"finality": "final"})).await?)?;
    Ok(Status { chain_id, height, at })
}

/// Whether a key belongs to an account on the chain itself.
pub(crate) async fn has_key(rpc_url: &str, account: &AccountId, key: &PublicKey) -> Outcome<bool> {
    let params = json!({"request_type": "view_access_key", "finality": "final", "account_id": account, "public_key": key});
    match request(rpc_url, "query", params).await {
        Ok(answer) => Ok(answer.get("permission").is_some()),
        Err(failure) if failure.code == "UNKNOWN_ACCESS_KEY" => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// What an account holds on the chain itself, outside our contracts.
pub(crate) async fn wallet_balance(rpc_url: &str, account: &AccountId) -> Outcome<Amount> {
    let answer = request(rpc_url, "query", json!({"request_type": "view_account", "finality": "final", "account_id": account})).await?;
    answer["amount"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::new("view_not_understood", "The account's balance is not understood."))
}

/// Asks the embedded chain's faucet to fill an account that is empty.
pub(crate) async fn fill(rpc_url: &str, account: &AccountId) -> Outcome<()> {
    let away =
        |error: gloo_net::Error| Failure::new("faucet_away", format!("The faucet does not answer; try again in a moment. ({error})"));
    let url = format!("{}/faucet", rpc_url.trim_end_matches('/'));
    let answer = Request::post(&url).body(json!({ "account_id": account }).to_string()).map_err(away)?.send().await.map_err(away)?;
    if answer.ok() {
        return Ok(());
    }
    let said: Value = decode(&answer.binary().await.map_err(away)?).unwrap_or_default();
    let why = said["error"].as_str().unwrap_or("it gave no reason");
    Err(Failure::new(said["code"].as_str().unwrap_or("faucet_refused"), format!("The faucet refused: {why}.")))
}
