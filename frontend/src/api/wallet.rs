//! The wallet seam: the bundle that knows the wallet connector, loaded when it is first needed.

use super::{Failure, Outcome};
use js_sys::{Array, Function, Object, Promise, Reflect};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use starling_contract_api::Call;
use starling_http_api::{login::Challenge, network::NetworkInfo};
use starling_primitives::{AccountId, PublicKey, Signature};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Who signed in, and the signed login message.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignedLogin {
    pub(crate) account_id: AccountId,
    pub(crate) public_key: PublicKey,
    pub(crate) signature: Signature,
}

/// A transaction that was sent and executed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) hash: String,
    /// `{SuccessValue: base64}`.
    pub(crate) status: serde_json::Value,
}

fn failure(error: &JsValue) -> Failure {
    let text = |name: &str| Reflect::get(error, &name.into()).ok().and_then(|value| value.as_string());
    let code = text("code").unwrap_or_else(|| "wallet_failed".to_owned());
    let what = match code.as_str() {
        "cancelled" => "You closed or refused the wallet's request. Nothing was signed, nothing was charged.".to_owned(),
        _ => text("message").unwrap_or_else(|| "The wallet did not answer. Nothing was charged unless the wallet says so.".to_owned()),
    };
    Failure { what, code }
}

async fn invoke(name: &str, argument: Option<&serde_json::Value>) -> Outcome<JsValue> {
    let starling = Reflect::get(&js_sys::global(), &"starling".into()).map_err(|error| failure(&error))?;
    let load: Function = Reflect::get(&starling, &"load".into()).and_then(JsCast::dyn_into).map_err(|error| failure(&error))?;
    let module = JsFuture::from(Promise::from(load.call1(&starling, &"wallet".into()).map_err(|error| failure(&error))?))
        .await
        .map_err(|error| failure(&error))?;
    let function: Function = Reflect::get(&module, &name.into()).and_then(JsCast::dyn_into).map_err(|error| failure(&error))?;
    let arguments = Array::new();
    if let Some(argument) = argument {
        arguments.push(&js_sys::JSON::parse(&argument.to_string()).map_err(|error| failure(&error))?);
    }
    let promise = function.apply(&module, &arguments).map_err(|error| failure(&error))?;
    JsFuture::from(Promise::resolve(&promise)).await.map_err(|error| failure(&error))
}

fn read<T: DeserializeOwned>(value: &JsValue) -> Outcome<T> {
    let text = js_sys::JSON::stringify(value.unchecked_ref::<Object>()).ok().and_then(|text| text.as_string()).unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| Failure::new("wallet_answer", format!("The wallet's answer is not understood. ({error})")))
}

/// Tells the bundle which network this is. Once.
pub(crate) async fn init(network: &NetworkInfo) -> Outcome<()> {
    invoke("init", Some(&json!({ "network": network }))).await.map(|_| ())
}

/// One prompt: sign in and sign the login message.
pub(crate) async fn sign_in(challenge: &Challenge) -> Outcome<SignedLogin> {
    let argument = json!({"message": challenge.message, "recipient": challenge.recipient, "nonce": challenge.nonce});
    read(&invoke("signInAndSignMessage", Some(&argument)).await?)
}

pub(crate) async fn sign_out() -> Outcome<()> {
    invoke("signOut", None).await.map(|_| ())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallAction<'a> {
    method_name: &'a str,
    args: &'a serde_json::Value,
    gas: String,
    deposit: String,
}

fn transaction(call: &Call) -> serde_json::Value {
    let action = CallAction { method_name: &call.method, args: &call.args, gas: call.gas.to_string(), deposit: call.deposit.to_string() };
    json!({"receiverId": call.contract, "actions": [action]})
}

/// Asks the wallet to sign and send one call.
pub(crate) async fn send(call: &Call) -> Outcome<Sent> {
    read(&invoke("signAndSendTransaction", Some(&transaction(call))).await?)
}

/// Asks the wallet once to sign several calls and send them one after the other.
pub(crate) async fn send_all(calls: &[Call]) -> Outcome<Vec<Sent>> {
    let transactions: Vec<_> = calls.iter().map(transaction).collect();
    read(&invoke("signAndSendTransactions", Some(&json!({ "transactions": transactions }))).await?)
}

/// On the embedded chain: a new account with a key made in the development wallet.
pub(crate) async fn new_account(name: &str) -> Outcome<()> {
    invoke("faucetAccount", Some(&json!({ "name": name }))).await.map(|_| ())
}
