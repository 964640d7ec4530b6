//! The wallet seam: the bundle that knows the wallet connector, loaded when it is first needed.

use super::{Failure, Outcome, decode};
use js_sys::{Array, Function, Object, Promise, Reflect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use starling_contract_api::Call;
use starling_http_api::{login::Challenge, network::NetworkInfo};
use starling_primitives::{AccountId, Amount, PublicKey, Signature};
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The bundle that knows the wallet connector.
const WALLET: &str = "wallet";

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
    /// Who signed it, where that is not the account itself.
    pub(crate) signer: Option<AccountId>,
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

async fn invoke(part: &str, name: &str, argument: Option<&serde_json::Value>) -> Outcome<JsValue> {
    let starling = Reflect::get(&js_sys::global(), &"starling".into()).map_err(|error| failure(&error))?;
    let load: Function = Reflect::get(&starling, &"load".into()).and_then(JsCast::dyn_into).map_err(|error| failure(&error))?;
    let module = JsFuture::from(Promise::from(load.call1(&starling, &part.into()).map_err(|error| failure(&error))?))
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
    // A function that gives nothing gives `undefined`, which JSON has no word for.
    let text = js_sys::JSON::stringify(value.unchecked_ref::<Object>())
        .ok()
        .and_then(|text| text.as_string())
        .unwrap_or_else(|| "null".to_owned());
    decode(text.as_bytes()).map_err(|error| Failure::new("wallet_answer", format!("The wallet's answer is not understood. ({error})")))
}

thread_local! {
    /// The network, as the bundle is told it when it is first needed.
    static NETWORK: RefCell<Option<serde_json::Value>> = const { RefCell::new(None) };
}

/// Keeps which network this is for the bundle, which is loaded when a wallet is first needed.
pub(crate) fn use_network(network: &NetworkInfo) {
    NETWORK.set(Some(json!({ "network": network })));
}

/// Calls a function of the bundle that knows the wallet connector; tells it before which network this is, which does nothing the second time.
async fn of_wallet(name: &str, argument: Option<&serde_json::Value>) -> Outcome<JsValue> {
    if let Some(network) = NETWORK.with_borrow(Clone::clone) {
        invoke(WALLET, "init", Some(&network)).await?;
    }
    invoke(WALLET, name, argument).await
}

/// One prompt: sign in and sign the login message.
pub(crate) async fn sign_in(challenge: &Challenge) -> Outcome<SignedLogin> {
    let argument = json!({"message": challenge.message, "recipient": challenge.recipient, "nonce": challenge.nonce});
    ask(WALLET, "signInAndSignMessage", Some(&argument)).await
}

pub(crate) async fn sign_out() -> Outcome<()> {
    of_wallet("signOut", None).await.map(|_| ())
}

/// What a transaction does, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Calls a method of the transaction's receiver.
    Call(Call),
    /// Gives the account a key that calls these methods of one contract, with so much gas in all and no deposit.
    NewKey { key: PublicKey, receiver: AccountId, methods: &'static [&'static str], allowance: Amount },
    /// Takes a key away from the account.
    EndKey(PublicKey),
}

impl Step {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Call(call) => {
                json!({"methodName": call.method, "args": call.args, "gas": call.gas.to_string(), "deposit": call.deposit.to_string()})
            }
            Self::NewKey { key, receiver, methods, allowance } => {
                json!({"newKey": {"publicKey": key, "receiverId": receiver, "methodNames": methods, "allowance": allowance.to_string()}})
            }
            Self::EndKey(key) => json!({ "endKey": key }),
        }
    }
}

fn transaction(receiver: &AccountId, steps: &[Step]) -> serde_json::Value {
    json!({"receiverId": receiver, "actions": steps.iter().map(Step::json).collect::<Vec<_>>()})
}

/// Asks the wallet to sign and send one call.
pub(crate) async fn send(call: &Call) -> Outcome<Sent> {
    ask(WALLET, "signAndSendTransaction", Some(&transaction(&call.contract, &[Step::Call(call.clone())]))).await
}

/// Asks the wallet once to sign several calls and send them one after the other.
pub(crate) async fn send_all(calls: &[Call]) -> Outcome<Vec<Sent>> {
    let transactions: Vec<_> = calls.iter().map(|call| (call.contract.clone(), vec![Step::Call(call.clone())])).collect();
    send_steps(&transactions).await
}

/// Asks the wallet once to sign transactions of several steps each, and to send them one after the other. All steps of a transaction happen, or none.
pub(crate) async fn send_steps(transactions: &[(AccountId, Vec<Step>)]) -> Outcome<Vec<Sent>> {
    let transactions: Vec<_> = transactions.iter().map(|(receiver, steps)| transaction(receiver, steps)).collect();
    ask(WALLET, "signAndSendTransactions", Some(&json!({ "transactions": transactions }))).await
}

/// Calls a function of a part that is loaded on demand, and reads its answer.
pub(crate) async fn ask<T: DeserializeOwned>(part: &str, name: &str, argument: Option<&serde_json::Value>) -> Outcome<T> {
    let answer = if part == WALLET { of_wallet(name, argument).await } else { invoke(part, name, argument).await };
    read(&answer?)
}

/// On the embedded chain: the next sign-in makes this account, with play money on it from the faucet or by the sponsor with nothing.
pub(crate) async fn new_account(name: &str, sponsored: bool) -> Outcome<()> {
    let giver = if sponsored { "sponsor" } else { "faucet" };
    of_wallet("newAccount", Some(&json!({"name": name, "giver": giver}))).await.map(|_| ())
}
