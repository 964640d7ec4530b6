//! Billing: balances of every asset, deposit and withdraw, escrows with what they wait for, session keys, history, receipts.

mod escrows;
mod history;
mod keys;
mod moving;

pub(crate) use history::Timeline;
pub(crate) use moving::Moving;

use super::polled;
use crate::{
    api::{Failure, chain, tokens},
    app::shared,
    components::ui::{MaybeProblem, Money, NeedsLogin},
};
use escrows::Escrows;
use history::{History, newest};
use keys::Keys;
use leptos::prelude::*;
use starling_contract_api::{billing, billing::EscrowView, token::Token};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, Asset};
use std::{collections::BTreeMap, time::Duration};

/// All that the chain says of an account's money.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// The account's record; nothing if it is not registered.
    pub(crate) record: Option<billing::Account>,
    /// Escrows that it pays and that are not spent.
    escrows: Vec<EscrowView>,
    /// What lies in its wallet, by asset.
    in_wallet: BTreeMap<Asset, Amount>,
}

impl Held {
    fn free(&self, asset: &Asset) -> Amount {
        let balances = self.record.iter().flat_map(|record| &record.balances);
        balances.into_iter().find(|(held, _)| held == asset).map_or(Amount::ZERO, |(_, amount)| *amount)
    }

    /// What escrows of this account hold and have neither paid nor returned.
    fn locked(&self, asset: &Asset) -> Amount {
        let held = self.escrows.iter().filter(|view| view.escrow.asset == *asset);
        Amount(held.map(|view| view.available.0.saturating_add(view.pending.0)).fold(0, u128::saturating_add))
    }

    /// Whether there is anything of an asset.
    fn has(&self, asset: &Asset) -> bool {
        !self.free(asset).is_zero() || !self.locked(asset).is_zero() || self.in_wallet.get(asset).is_some_and(|amount| !amount.is_zero())
    }
}

/// Reads all of it, page by page.
async fn read_held(network: &NetworkInfo, account: &AccountId, tokens: &tokens::Tokens) -> crate::api::Outcome<Held> {
    let (rpc, contract) = (&network.rpc_url, billing::Billing(network.deployment.billing.clone()));
    let record = chain::view(rpc, &contract.account(account)).await?;
    let mut escrows: Vec<EscrowView> = Vec::new();
    loop {
        let from = escrows.last().map_or(0, |view| view.id.0 + 1);
        let page = chain::view(rpc, &contract.escrows_of(account, from, u32::MAX)).await?;
        if page.is_empty() {
            break;
        }
        escrows.extend(page);
    }
    let mut in_wallet = BTreeMap::from([(Asset::Near, chain::wallet_balance(rpc, account).await?)]);
    for token in tokens.keys() {
        // A token that does not answer is no reason to show nothing of the others.
        if let Ok(amount) = chain::view(rpc, &Token(token.clone()).balance_of(account)).await {
            in_wallet.insert(Asset::Nep141(token.clone()), amount);
        }
    }
    Ok(Held { record, escrows, in_wallet })
}

/// All of it for the account that is signed in, kept current while the screen is there.
pub(crate) fn polled_held() -> (Memo<Option<Held>>, RwSignal<Option<Failure>>) {
    let shared = shared();
    let (held, failure) = polled(Duration::from_secs(3), move || {
        let (network, account, tokens) = (shared.network.get(), shared.account(), shared.tokens.get());
        async move {
            let (Some(network), Some(account)) = (network, account) else { return Ok(None) };
            read_held(&network, &account, &tokens).await.map(Some)
        }
    });
    (Memo::new(move |_| held.get().flatten()), failure)
}

#[component]
pub(crate) fn Billing() -> impl IntoView {
    view! {
        <header><div><h1>"Billing"</h1><p>"Your balance lies in a contract, not with us. Escrows return by themselves when their time is over."</p></div></header>
        <NeedsLogin what="see your money"><Everything /></NeedsLogin>
    }
}

#[component]
fn Everything() -> impl IntoView {
    let (held, failure) = polled_held();
    let (newest, unread) = newest();
    view! {
        <MaybeProblem failure />
        <div class="split">
            <Balances held />
            <Moving held />
        </div>
        <Escrows held newest />
        <Keys held />
        <History held newest failure=unread />
    }
}

/// A row for NEAR, and one for each token that there is something of.
#[component]
fn Balances(held: Memo<Option<Held>>) -> impl IntoView {
    let shared = shared();
    let row = move |held: &Held, asset: Asset| {
        let name = shared.tokens.with(|tokens| tokens::name(tokens, &asset));
        let contract = if let Asset::Nep141(token) = &asset { Some(token.to_string()) } else { None };
        let wallet = held.in_wallet.get(&asset).copied();
        view! {
            <tr>
                <th scope="row" data-label="Asset"><div>{name}{contract.map(|token| view! { <br /><span class="faint mono">{token}</span> })}</div></th>
                <td data-label="Free in billing" class="num"><strong><Money asset=asset.clone() amount=held.free(&asset) /></strong></td>
                <td data-label="In escrows" class="num"><Money asset=asset.clone() amount=held.locked(&asset) /></td>
                <td data-label="In your wallet" class="num">{match wallet { Some(amount) => view! { <Money asset=asset.clone() amount /> }.into_any(), None => view! { <span class="faint">"does not answer"</span> }.into_any() }}</td>
            </tr>
        }
    };
    view! {
        <section class="card" aria-label="Balances"><h2>"Balances"</h2>
            {move || match held.get() {
                None => view! { <div class="skeleton" style="height: 96px" aria-hidden="true"></div> }.into_any(),
                Some(held) => {
                    let tokens = shared.tokens.with(|tokens| tokens.keys().cloned().map(Asset::Nep141).collect::<Vec<_>>());
                    let (with, without): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|asset| held.has(asset));
                    let names = without.iter().map(|asset| shared.tokens.with(|tokens| tokens::name(tokens, asset))).collect::<Vec<_>>().join(", ");
                    let any_token = !with.is_empty();
                    let storage = held.record.as_ref().map(|record| record.storage);
                    view! {
                        <table class="stacked"><thead><tr><th>"Asset"</th><th class="num">"Free in billing"</th><th class="num">"In escrows"</th><th class="num">"In your wallet"</th></tr></thead>
                            <tbody>{[Asset::Near].into_iter().chain(with).map(|asset| row(&held, asset)).collect_view()}</tbody></table>
                        <p class="faint">"What is free can be spent or withdrawn at any time."{any_token.then_some(" Names and decimals of tokens are declared by their contracts.")}</p>
                        {(!names.is_empty()).then(|| view! { <p class="faint">"Billing also takes "{names}", of which you have none."</p> })}
                        {storage.map(|storage| view! { <p class="faint">"Storage deposit "{storage.total.display_near()}", of it unused "{storage.available.display_near()}": it pays for your records and returns with them."</p> })}
                    }.into_any()
                }
            }}
        </section>
    }
}
