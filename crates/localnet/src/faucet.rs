//! Accounts and play money for strangers: `POST /faucet {"account_id", "public_key"}` makes an account, `POST /faucet {"account_id"}` fills one that is empty.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use near_crypto::{InMemorySigner, PublicKey, SecretKey, Signer};
use near_primitives::action::{Action, TransferAction};
use near_primitives::types::{AccountId, Balance};
use serde::Deserialize;
use serde_json::json;

use crate::error::LocalnetError;
use crate::node::Localnet;
use crate::rpc::Rpc;

/// An account that holds less than this is empty.
const EMPTY: Balance = Balance::from_near(1);

/// Who pays for new accounts, how much, and how often.
#[derive(Clone)]
pub struct Faucet {
    account_id: AccountId,
    signer: Signer,
    amount: Balance,
    limit: u64,
}

impl std::fmt::Debug for Faucet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faucet").field("account_id", &self.account_id).finish_non_exhaustive()
    }
}

impl Faucet {
    /// New accounts are sub-accounts of `account_id`, made and paid with its full-access key, and any empty account is filled: `amount` each, and `limit` gifts
    /// while the server runs.
    #[must_use]
    pub fn new(account_id: AccountId, secret_key: SecretKey, amount: Balance, limit: u64) -> Self {
        let signer = InMemorySigner::from_secret_key(account_id.clone(), secret_key);
        Self { account_id, signer, amount, limit }
    }
}

/// A faucet at work.
pub(crate) struct FaucetState {
    faucet: Faucet,
    given: AtomicU64,
    /// One account at a time: they share the payer's nonce.
    turn: Mutex<()>,
}

impl FaucetState {
    pub(crate) fn new(faucet: Faucet) -> Self {
        Self { faucet, given: AtomicU64::new(0), turn: Mutex::new(()) }
    }

    fn give(&self, localnet: &Localnet, ask: &Ask) -> Result<(), FaucetError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.given.load(Ordering::Relaxed) >= self.faucet.limit {
            return Err(FaucetError::Exhausted { limit: self.faucet.limit });
        }
        match &ask.public_key {
            Some(key) => self.make(localnet, &ask.account_id, key)?,
            None => self.fill(localnet, &ask.account_id)?,
        }
        self.given.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn make(&self, localnet: &Localnet, account: &AccountId, key: &PublicKey) -> Result<(), FaucetError> {
        let root = &self.faucet.account_id;
        if !account.is_sub_account_of(root) {
            return Err(FaucetError::NotASubAccount { root: root.clone() });
        }
        if localnet.account(account)?.is_some() {
            return Err(FaucetError::AccountExists);
        }
        localnet.create_account(&self.faucet.signer, account, key.clone(), self.faucet.amount)?;
        Ok(())
    }

    fn fill(&self, localnet: &Localnet, account: &AccountId) -> Result<(), FaucetError> {
        let held = localnet.account(account)?.ok_or(FaucetError::NoAccount)?.amount();
        if held >= EMPTY {
            return Err(FaucetError::NotEmpty);
        }
        let transfer = Action::Transfer(TransferAction { deposit: self.faucet.amount });
        localnet.transact(&self.faucet.signer, account, vec![transfer])?;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    account_id: AccountId,
    public_key: Option<PublicKey>,
}

#[derive(Debug, thiserror::Error)]
enum FaucetError {
    #[error("this chain has no faucet")]
    NotConfigured,
    #[error("the request is not valid: {0}")]
    Malformed(String),
    #[error("the new account must be directly under {root}")]
    NotASubAccount { root: AccountId },
    #[error("this account exists already")]
    AccountExists,
    #[error("this account does not exist: name a public key, and it is made")]
    NoAccount,
    #[error("this account is not empty: the faucet fills what holds less than 1 NEAR")]
    NotEmpty,
    #[error("the faucet has given all {limit} gifts it may")]
    Exhausted { limit: u64 },
    #[error("the account could not be made: {0}")]
    Chain(#[from] LocalnetError),
}

impl FaucetError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotConfigured => (StatusCode::NOT_FOUND, "no_faucet"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NotASubAccount { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not_a_sub_account"),
            Self::AccountExists => (StatusCode::CONFLICT, "account_exists"),
            Self::NoAccount => (StatusCode::NOT_FOUND, "no_account"),
            Self::NotEmpty => (StatusCode::CONFLICT, "not_empty"),
            Self::Exhausted { .. } => (StatusCode::TOO_MANY_REQUESTS, "faucet_exhausted"),
            Self::Chain(_) => (StatusCode::INTERNAL_SERVER_ERROR, "chain"),
        }
    }
}

impl IntoResponse for FaucetError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        (status, Json(json!({ "code": code, "error": self.to_string() }))).into_response()
    }
}

/// Answers 200 with `{"account_id", "amount"}` in yoctoNEAR, or an error with a `code`.
pub(crate) async fn handle(State(rpc): State<Arc<Rpc>>, body: Bytes) -> Response {
    match answer(rpc, &body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(rpc: Arc<Rpc>, body: &[u8]) -> Result<Response, FaucetError> {
    if rpc.faucet.is_none() {
        return Err(FaucetError::NotConfigured);
    }
    let ask: Ask = serde_json::from_slice(body).map_err(|error| FaucetError::Malformed(error.to_string()))?;
    let given = tokio::task::spawn_blocking(move || {
        let faucet = rpc.faucet.as_ref().ok_or(FaucetError::NotConfigured)?;
        faucet.give(&rpc.localnet, &ask)?;
        Ok::<_, FaucetError>(json!({ "account_id": ask.account_id, "amount": faucet.faucet.amount }))
    });
    match given.await {
        Ok(given) => Ok(Json(given?).into_response()),
        Err(error) => Err(FaucetError::Malformed(error.to_string())),
    }
}
