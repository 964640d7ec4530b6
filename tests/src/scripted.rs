//! A token and a target of payments that do what a test tells them (`contracts/scripted`).

use crate::{Actor, Answer, Harness, contract_wasm};
use near_workspaces::types::Gas;
use serde_json::{Value, json};
use starling_contract_api::{Call, TGAS, billing::TokenTotals, token::Token};
use starling_primitives::{AccountId, Amount};
use starling_protocol::escrow::OpenTerms;

/// A scripted contract at an account of its own.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// Where it is.
    pub account: AccountId,
    /// Its side as a token.
    pub token: Token,
}

impl Harness {
    /// A scripted contract at a new account: an honest token without holders, and a target that refuses.
    pub async fn scripted(&self, name: &str) -> anyhow::Result<Scripted> {
        let actor = self.actor(name, 50).await?;
        actor.near.deploy(&contract_wasm("scripted")?).await?.into_result()?;
        let init = actor.near.call(&name.parse()?, "new").args_json(json!({})).gas(Gas::from_tgas(30));
        Answer::read(init.transact().await?).ok()?;
        Ok(Scripted { token: Token(actor.account.clone()), account: actor.account })
    }

    /// A scripted token on `billing`'s list, which `billing` is registered with.
    pub async fn listed_token(&self, name: &str) -> anyhow::Result<Scripted> {
        let scripted = self.scripted(name).await?;
        self.call(&self.owner, &self.billing().set_token(&scripted.account, true)).await?.ok()?;
        self.call(&self.owner, &scripted.token.register(&self.deployment.billing, Amount::ZERO)).await?.ok()?;
        Ok(scripted)
    }

    /// Tells a scripted contract what to do from now on.
    pub async fn tell(&self, call: &Call) -> anyhow::Result<Answer> {
        self.call(&self.owner, call).await?.ok()
    }

    /// An account's tokens at the token.
    pub async fn tokens_of(&self, scripted: &Scripted, account: &AccountId) -> anyhow::Result<Amount> {
        self.view(&scripted.token.balance_of(account)).await
    }

    /// What `billing` says of a token on its list.
    pub async fn token_totals(&self, scripted: &Scripted) -> anyhow::Result<TokenTotals> {
        let all = self.view(&self.billing().tokens()).await?;
        all.into_iter().find(|totals| totals.token == scripted.account).ok_or_else(|| anyhow::anyhow!("the token was never listed"))
    }

    /// What `billing` holds of a token above what it owes; an error if it owes more than it holds, or something is on its way.
    pub async fn token_surplus(&self, scripted: &Scripted) -> anyhow::Result<Amount> {
        let totals = self.token_totals(scripted).await?;
        anyhow::ensure!(totals.in_flight.is_zero(), "something is in flight still: {totals:?}");
        let owed = Amount::sum([totals.balances, totals.escrows, totals.fees])?;
        Ok(self.tokens_of(scripted, &self.deployment.billing).await?.checked_sub(owed)?)
    }

    /// Puts storage credit for tokens and their payments down in `billing`.
    pub async fn add_storage_credit(&self, actor: &Actor, amount: Amount) -> anyhow::Result<()> {
        self.call(actor, &self.billing().storage_deposit(None, false, amount)).await?.ok()?;
        Ok(())
    }
}

impl Scripted {
    /// How `ft_transfer` goes: `honest`, `fails`, `lies`, `floods` or `spins`.
    pub fn set_manner(&self, manner: &str) -> Call {
        self.call("set_manner", json!({"manner": manner}))
    }

    /// What the target answers; it refuses without terms.
    pub fn set_terms(&self, terms: Option<&OpenTerms>) -> Call {
        self.call("set_terms", json!({"terms": terms.map(|terms| json!(terms).to_string())}))
    }

    /// Makes tokens for an account, which is registered by it.
    pub fn mint(&self, account: &AccountId, amount: Amount) -> Call {
        self.call("mint", json!({"account_id": account, "amount": amount}))
    }

    /// Ends an account's registration with the token.
    pub fn forget(&self, account: &AccountId) -> Call {
        self.call("forget", json!({"account_id": account}))
    }

    /// A call that the scripted contract makes in its own name.
    pub fn relay(&self, told: &Call) -> Call {
        self.call("relay", json!({"told": told}))
    }

    /// The word of the token that it moved tokens to `billing`, which it did not.
    pub fn pretend(&self, billing: &AccountId, sender: &AccountId, amount: Amount, msg: &str) -> Call {
        let args = json!({"sender_id": sender, "amount": amount, "msg": msg});
        let told = Call { contract: billing.clone(), method: "ft_on_transfer".to_owned(), args, gas: 150 * TGAS, deposit: Amount::ZERO };
        self.relay(&told)
    }

    fn call(&self, method: &str, args: Value) -> Call {
        Call { contract: self.account.clone(), method: method.to_owned(), args, gas: 250 * TGAS, deposit: Amount::ZERO }
    }
}
