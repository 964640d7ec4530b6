//! This browser's session key: it spends the balance within a cap that the person set, without the wallet.
//!
//! The private half lies in the browser's own key store and cannot be read out; here is only which key belongs to which account.

use super::{
    Failure, Outcome, chain,
    pay::now,
    wallet::{self, Sent, Step},
};
use serde_json::json;
use starling_contract_api::{
    Call,
    billing::{Account, Billing, SESSION_KEY_BYTES},
    payment::storage_cost,
};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, Asset, DurationMs, PublicKey};
use starling_protocol::session_key::{SessionKey, SessionKeyError};

const STORE: &str = "starling.session-key.";
/// What the key may call.
const METHOD: &str = "pay_from_balance";
/// What a payment may reserve for gas in the wallet; what it does not burn comes back.
pub(crate) const GAS_RESERVE: Amount = Amount::from_millinear(120);
/// The most that the key may ever burn as gas.
const GAS_ALLOWANCE: Amount = Amount::from_millinear(500);
/// The chain's clock and this one may differ by so much.
const CLOCK_MARGIN: DurationMs = DurationMs::from_secs(30);

/// This browser's key of an account, with what it may spend and what there is to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) key: PublicKey,
    pub(crate) terms: SessionKey,
    /// Free on the account's balance.
    pub(crate) free: Amount,
}

impl Own {
    /// What it may still spend, by its cap.
    pub(crate) fn left(&self) -> Amount {
        Amount(self.terms.cap.0.saturating_sub(self.terms.spent.0))
    }

    /// Why it may not pay this, by the rule that the contract applies; nothing if it may.
    pub(crate) fn refuses(&self, amount: Amount, target: Option<&AccountId>) -> Option<String> {
        let target = target.or(self.terms.targets.first())?;
        match self.terms.spend(amount, target, now().after(CLOCK_MARGIN)) {
            Err(SessionKeyError::OverCap { left, .. }) => {
                Some(format!("this is above the {} that the session key may still spend", left.display_near()))
            }
            Err(SessionKeyError::Expired) => Some("the session key's time is over".to_owned()),
            Err(error) => Some(error.to_string()),
            Ok(_) if amount > self.free => {
                Some(format!("the balance has {}, and this takes {} of it", self.free.display_near(), amount.display_near()))
            }
            Ok(_) => None,
        }
    }
}

fn store() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

fn place(network: &NetworkInfo, account: &AccountId) -> String {
    format!("{STORE}{}.{account}", network.deployment.chain_id)
}

/// The key that this browser keeps for the account.
pub(crate) fn kept(network: &NetworkInfo, account: &AccountId) -> Option<PublicKey> {
    store()?.get_item(&place(network, account)).ok()??.parse().ok()
}

/// The kept key as the chain knows it: nothing if it was ended.
pub(crate) fn own(network: &NetworkInfo, account: &AccountId, record: Option<&Account>) -> Option<Own> {
    let (key, record) = (kept(network, account)?, record?);
    let (_, terms) = record.keys.iter().find(|(known, _)| *known == key)?;
    Some(Own { key, terms: terms.clone(), free: free_near(record) })
}

/// The NEAR that is free on a balance.
pub(crate) fn free_near(record: &Account) -> Amount {
    record.balances.iter().find(|(asset, _)| *asset == Asset::Near).map_or(Amount::ZERO, |(_, amount)| *amount)
}

/// What one approval moves for a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// From the wallet onto the balance, so that it holds the cap.
    pub(crate) top_up: Amount,
    /// For the key's record, returned with it.
    pub(crate) storage: Amount,
}

/// What a key with this cap costs an account.
pub(crate) async fn cost(network: &NetworkInfo, record: Option<&Account>, cap: Amount) -> Outcome<Cost> {
    let billing = Billing(network.deployment.billing.clone());
    let register = match record {
        Some(_) => Amount::ZERO,
        None => chain::view(&network.rpc_url, &billing.storage_balance_bounds()).await?.min,
    };
    let credit = record.map_or(Amount::ZERO, |record| record.storage.available);
    let needed = storage_cost(SESSION_KEY_BYTES).checked_add(register).map_err(|error| Failure::new("amount", error.to_string()))?;
    let free = record.map_or(Amount::ZERO, free_near);
    Ok(Cost { top_up: Amount(cap.0.saturating_sub(free.0)), storage: Amount(needed.0.saturating_sub(credit.0)) })
}

/// Makes a key here and has it authorised: one approval for its record, its cap and what the balance lacks of it.
pub(crate) async fn create(network: &NetworkInfo, account: &AccountId, cap: Amount, lasts: DurationMs) -> Outcome<()> {
    let billing = Billing(network.deployment.billing.clone());
    let record = chain::view(&network.rpc_url, &billing.account(account)).await?;
    let Cost { top_up, storage } = cost(network, record.as_ref(), cap).await?;
    let before = own(network, account, record.as_ref()).map(|own| own.key);
    let key: PublicKey = {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Made {
            public_key: PublicKey,
        }
        wallet::ask::<Made>("session", "make", None).await?.public_key
    };
    let targets = [&network.deployment.compute, &network.deployment.hub, &network.deployment.market].map(Clone::clone);
    let calls = [
        before.map(|before| billing.remove_session_key(&before)),
        (!storage.is_zero()).then(|| billing.storage_deposit(None, false, storage)),
        (!top_up.is_zero()).then(|| billing.deposit(top_up)),
        Some(billing.add_session_key(&key, cap, now().after(lasts), &targets)),
    ];
    let money: Vec<Step> = calls.into_iter().flatten().map(Step::Call).collect();
    let new = Step::NewKey { key, receiver: billing.0.clone(), methods: &[METHOD], allowance: GAS_ALLOWANCE };
    let keys: Vec<Step> = before.map(Step::EndKey).into_iter().chain([new]).collect();
    let approved = wallet::send_steps(&[(billing.0, money), (account.clone(), keys)]).await;
    if let Err(failure) = approved {
        let _ = forget(Some(&key)).await;
        return Err(failure);
    }
    if let Some(before) = before {
        let _ = forget(Some(&before)).await;
    }
    store().and_then(|store| store.set_item(&place(network, account), &key.to_string()).ok()).ok_or_else(|| {
        Failure::new(
            "no_storage",
            "This browser keeps nothing for this site. The key was added but cannot be used here: end it in Billing.",
        )
    })
}

/// Sends a call signed by this browser's key.
pub(crate) async fn send(network: &NetworkInfo, account: &AccountId, key: &PublicKey, call: &Call) -> Outcome<Sent> {
    let argument = json!({
        "rpcUrl": network.rpc_url, "signerId": account, "publicKey": key, "receiverId": call.contract, "methodName": call.method, "args": call.args,
        "gas": call.gas.to_string(),
    });
    wallet::ask("session", "send", Some(&argument)).await
}

/// Takes away a key's right on the chain, and the key itself if it is this browser's.
pub(crate) async fn end(network: &NetworkInfo, account: &AccountId, keys: &[PublicKey]) -> Outcome<()> {
    let billing = Billing(network.deployment.billing.clone());
    let money = keys.iter().map(|key| Step::Call(billing.remove_session_key(key))).collect();
    let mut steps = vec![(billing.0.clone(), money)];
    let mut native = Vec::new();
    for key in keys {
        if chain::has_key(&network.rpc_url, account, key).await? {
            native.push(Step::EndKey(*key));
        }
    }
    if !native.is_empty() {
        steps.push((account.clone(), native));
    }
    wallet::send_steps(&steps).await?;
    if let Some(own) = kept(network, account).filter(|own| keys.contains(own)) {
        forget(Some(&own)).await?;
        if let Some(store) = store() {
            let _ = store.remove_item(&place(network, account));
        }
    }
    Ok(())
}

/// Takes every session key out of this browser, of whatever account: nobody who comes after can spend with them.
pub(crate) async fn forget_all() -> Outcome<()> {
    let Some(store) = store() else { return Ok(()) };
    let names: Vec<String> = (0..store.length().unwrap_or(0)).filter_map(|index| store.key(index).ok().flatten()).collect();
    let ours: Vec<String> = names.into_iter().filter(|name| name.starts_with(STORE)).collect();
    if ours.is_empty() {
        return Ok(());
    }
    for name in ours {
        let _ = store.remove_item(&name);
    }
    forget(None).await
}

async fn forget(key: Option<&PublicKey>) -> Outcome<()> {
    wallet::ask::<serde_json::Value>("session", "forget", Some(&json!({ "publicKey": key }))).await.map(|_| ())
}
