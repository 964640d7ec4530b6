//! Reads of our contracts, straight from the chain's RPC.

use super::{Failure, Outcome};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gloo_net::http::Request;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use starling_contract_api::{
    View,
    hub::{Listings, MAX_LISTINGS_PAGE},
};
use starling_primitives::{AccountId, Amount};
use starling_protocol::listing::Listing;

async fn request(rpc_url: &str, method: &str, params: Value) -> Outcome<Value> {
    let away = |error: gloo_net::Error| {
        Failure::new("chain_away", format!("The chain's RPC does not answer. Nothing has changed; try again in a moment. ({error})"))
    };
    let body = json!({"jsonrpc": "2.0", "id": "dashboard", "method": method, "params": params});
    let response = Request::post(rpc_url).json(&body).map_err(away)?.send().await.map_err(away)?;
    let mut answer: Value = response.json().await.map_err(away)?;
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
    let bytes: Vec<u8> = serde_json::from_value(answer["result"].clone())
        .map_err(|_| Failure::new("view_failed", format!("{} could not be read from the chain: {}", view.method, answer["error"])))?;
    view.decode(&bytes).map_err(|error| Failure::new("view_not_understood", format!("{}: {error}", view.method)))
}

/// All listings of a shelf, page by page.
pub(crate) async fn listings(rpc_url: &str, shelf: &Listings) -> Outcome<Vec<Listing>> {
    let (count, mut from, mut all) = (view(rpc_url, &shelf.listings_count(None)).await?, 0, Vec::new());
    while from < count {
        all.extend(view(rpc_url, &shelf.listings(None, from, MAX_LISTINGS_PAGE)).await?);
        from += u64::from(MAX_LISTINGS_PAGE);
    }
    Ok(all)
}

/// The chain's own name and height.
pub(crate) async fn status(rpc_url: &str) -> Outcome<(String, u64)> {
    let answer = request(rpc_url, "status", json!([])).await?;
    let chain_id = answer["chain_id"].as_str().unwrap_or_default().to_owned();
    Ok((chain_id, answer.pointer("/sync_info/latest_block_height").and_then(Value::as_u64).unwrap_or(0)))
}

/// What an account holds on the chain itself, outside our contracts.
pub(crate) async fn wallet_balance(rpc_url: &str, account: &AccountId) -> Outcome<Amount> {
    let answer = request(rpc_url, "query", json!({"request_type": "view_account", "finality": "final", "account_id": account})).await?;
    answer["amount"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::new("view_not_understood", "The account's balance is not understood."))
}
