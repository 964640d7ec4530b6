//! The sponsor: pays gas for accounts that hold no NEAR and makes accounts for people who have none, within budgets, from an account of its own.
//!
//! It sends one listed call of our contracts at a time, with one yocto attached at most: what a job costs is never its to pay.

use crate::{
    clock,
    config::Sponsorship,
    db::{Db, Gift, Given},
    problem::Fault,
};
use axum::http::StatusCode;
use starling_contract_api::{
    Deployment, ONE_YOCTO, TGAS,
    billing::Billing,
    compute::Compute,
    payment::{PayArgs, PaymentMsg},
    rpc::{Delegated, DelegatedCall, Outcome, RpcClient, RpcError, Signer},
};
use starling_http_api::sponsor::{MAX_ARGS_BYTES, NewAccount, SponsorInfo, SponsoredCall};
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, EscrowId, LeaseId, PublicKey, RunId, TimestampMs};
use starling_protocol::escrow::Bounds;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

/// Requests that wait for their turn at once.
const MAX_WAITING: usize = 32;

/// Pays for others. Cheap to clone.
#[derive(Clone)]
pub struct Sponsor {
    rpc: RpcClient,
    signer: Arc<Signer>,
    db: Db,
    budget: Arc<Sponsorship>,
    info: Arc<SponsorInfo>,
    waiting: Arc<Semaphore>,
    /// One transaction at a time: they share a key's nonce, and a budget is looked at and used in one go.
    turn: Arc<Mutex<()>>,
}

/// Why a call is not sponsored. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSponsored {
    /// Another account signed than the one that asks.
    #[error("the call was signed by {0}, and another account is signed in")]
    OtherAccount(AccountId),
    /// Not on the list.
    #[error("{method} of {contract} is not among the calls that the sponsor pays for")]
    NotListed {
        /// The contract.
        contract: AccountId,
        /// The method.
        method: String,
    },
    /// More gas than the call needs.
    #[error("the call takes more gas than the {most} Tgas that the sponsor pays for")]
    TooMuchGas {
        /// In Tgas.
        most: u64,
    },
    /// Money is attached.
    #[error("the call attaches {0} yoctoNEAR: the sponsor attaches one at most, and never pays a price")]
    Deposit(Amount),
    /// The arguments are too long.
    #[error("the call's arguments are longer than {MAX_ARGS_BYTES} bytes")]
    TooLong,
}

impl From<NotSponsored> for Fault {
    fn from(refusal: NotSponsored) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_sponsored", "The sponsor does not pay for this", refusal)
    }
}

/// The calls that are sent for others, with the gas that our own handles attach.
pub fn sponsored_calls(deployment: &Deployment) -> Vec<SponsoredCall> {
    let (billing, compute) = (Billing(deployment.billing.clone()), Compute(deployment.compute.clone()));
    let (escrow, key) = (EscrowId(0), PublicKey([0; 32]));
    // Only names and gas of these are read.
    let bounds = Bounds {
        expires_by: TimestampMs(0),
        post_at_once: Amount::ZERO,
        fee: BasisPoints::ZERO,
        holdback: BasisPoints::ZERO,
        voucher: None,
        objection_window: DurationMs(0),
    };
    let pay = PayArgs { target: deployment.compute.clone(), amount: Amount::ZERO, storage: Amount::ZERO, bounds, msg: PaymentMsg::Bond };
    [
        billing.pay_from_balance(&pay, false),
        billing.withdraw_token(&deployment.billing, None),
        billing.storage_withdraw(None),
        billing.storage_unregister(),
        billing.acknowledge(escrow),
        billing.refuse(escrow),
        billing.object(escrow, false),
        billing.ask_closing(escrow),
        billing.extend(escrow, TimestampMs(0)),
        billing.void(escrow),
        billing.close(escrow),
        billing.claim(escrow, &deployment.billing),
        billing.remove_session_key(&key),
        compute.stop_run(RunId(0)),
        compute.close_lease(LeaseId(0)),
    ]
    .into_iter()
    .map(|call| SponsoredCall { contract: call.contract, method: call.method, gas: call.gas })
    .collect()
}

/// Whether a call may be sent for `who`; gives its gas in Tgas, rounded up.
pub fn judge(call: &DelegatedCall, who: &AccountId, list: &[SponsoredCall]) -> Result<u64, NotSponsored> {
    if call.sender != *who {
        return Err(NotSponsored::OtherAccount(call.sender.clone()));
    }
    let listed = list
        .iter()
        .find(|listed| listed.contract == call.contract && listed.method == call.method)
        .ok_or_else(|| NotSponsored::NotListed { contract: call.contract.clone(), method: call.method.clone() })?;
    if call.gas > listed.gas {
        return Err(NotSponsored::TooMuchGas { most: listed.gas / TGAS });
    }
    if call.deposit > ONE_YOCTO {
        return Err(NotSponsored::Deposit(call.deposit));
    }
    if call.args_bytes > MAX_ARGS_BYTES {
        return Err(NotSponsored::TooLong);
    }
    Ok(call.gas.div_ceil(TGAS))
}

/// Whether a name may stand before the sponsor's own.
fn is_name(name: &str) -> bool {
    let inside = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    inside && (2..=40).contains(&name.len())
}

impl Sponsor {
    /// A sponsor that pays with this key within this budget.
    pub fn new(rpc_url: &str, signer: Signer, db: Db, budget: Sponsorship, deployment: &Deployment) -> Self {
        let info = SponsorInfo { account: signer.account().clone(), calls: sponsored_calls(deployment) };
        Self {
            rpc: RpcClient::new(rpc_url),
            signer: Arc::new(signer),
            db,
            budget: Arc::new(budget),
            info: Arc::new(info),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            turn: Arc::default(),
        }
    }

    /// What it does.
    pub fn info(&self) -> &SponsorInfo {
        &self.info
    }

    /// Makes an account that holds nothing, for whoever asks from `address`.
    pub async fn create_account(&self, wanted: &NewAccount, address: &str) -> Result<AccountId, Fault> {
        let name = || Fault::bad("account_name", "A name has 2 to 40 small letters, digits, - and _, with a letter or digit at each end.");
        if !is_name(&wanted.name) || wanted.public_key.is_small_order() {
            return Err(name());
        }
        let account = self.info.account.sub_account(&wanted.name).map_err(|_| name())?;
        let _place = self.place()?;
        let _turn = self.turn.lock().await;
        let given = self.db.given(Gift::Account, address, clock::now()).await?;
        within(given, 1, self.budget.accounts_a_day, self.budget.accounts_a_day_per_address, "accounts")?;
        if self.rpc.account(&account).await?.is_some() {
            let detail = format!("{account} exists already. Choose another name; nothing was made.");
            return Err(Fault::new(StatusCode::CONFLICT, "account_exists", "This name is taken", detail));
        }
        self.db.give(Gift::Account, address, 1, clock::now()).await?;
        self.rpc.create_account(&self.signer, &account, &wanted.public_key, Amount::ZERO).await?;
        tracing::info!(%account, "made an account");
        Ok(account)
    }

    /// Sends a call that `who` signed. An error says whether anything was sent.
    pub async fn relay(&self, delegated: Delegated, who: &AccountId) -> Result<Outcome, Fault> {
        let tgas = judge(&delegated.call, who, &self.info.calls)?;
        let _place = self.place()?;
        let _turn = self.turn.lock().await;
        let given = self.db.given(Gift::Call, who.as_str(), clock::now()).await?;
        within(given, tgas, self.budget.tgas_a_day, self.budget.tgas_a_day_per_account, "Tgas")?;
        self.db.give(Gift::Call, who.as_str(), tgas, clock::now()).await?;
        let method = delegated.call.method.clone();
        let failed = |why: &str| {
            let detail = format!("The chain or the contract refused it: {why}. Nothing was changed and nothing was charged to you.");
            Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "sponsored_call_failed", "The call failed", detail)
        };
        let outcome = match self.rpc.relay(&self.signer, delegated).await {
            Ok(outcome) => outcome,
            Err(RpcError::Failed { message, .. }) => return Err(failed(&message)),
            Err(error) => return Err(error.into()),
        };
        // Every listed call tells an event when it succeeds; what fails after that is the contracts' own to answer for.
        match outcome.receipt_failures.first() {
            Some(why) if outcome.events.is_empty() => Err(failed(why)),
            _ => {
                tracing::info!(account = %who, method, tx = outcome.hash, "paid gas");
                Ok(outcome)
            }
        }
    }

    fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Fault> {
        self.waiting.try_acquire().map_err(|_| {
            Fault::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "sponsor_busy",
                "The sponsor is busy",
                "Many ask at once. Nothing was sent; try again in a minute.",
            )
        })
    }
}

fn within(given: Given, more: u64, in_all: u64, to_one: u64, what: &str) -> Result<(), Fault> {
    let refused =
        |detail: String| Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "sponsor_budget", "The sponsor has given what it may", detail));
    if given.to_one.saturating_add(more) > to_one {
        return refused(format!(
            "You have had {} of {to_one} {what} a day. Nothing was sent; try again tomorrow, or pay the gas yourself.",
            given.to_one
        ));
    }
    if given.in_all.saturating_add(more) > in_all {
        return refused(format!(
            "Everyone together has had {} of {in_all} {what} a day. Nothing was sent; try again tomorrow, or pay the gas yourself.",
            given.in_all
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "sponsor_tests.rs"]
mod tests;
