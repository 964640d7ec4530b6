//! Deposit and withdraw, of NEAR and of every token that billing has.

use super::{Held, read_held};
use crate::{
    api::{Failure, Outcome, pay::token_storage, tokens, wallet},
    app::{Shared, shared},
    components::ui::MaybeProblem,
};
use leptos::{prelude::*, task::spawn_local};
use starling_contract_api::{Call, billing::Billing, token::Token};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, Asset};

#[component]
pub(crate) fn Moving(held: Memo<Option<Held>>) -> impl IntoView {
    let shared = shared();
    let (asset, amount) = (RwSignal::new(Asset::Near.to_string()), RwSignal::new(String::new()));
    let (failure, done, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(None::<String>), RwSignal::new(false));
    let chosen = move || asset.get().parse::<Asset>().unwrap_or(Asset::Near);
    let choices = Memo::new(move |_| {
        let held = held.get();
        shared.tokens.with(|tokens| {
            // What is not taken any more still leaves.
            let shown = tokens.iter().filter(|(token, info)| {
                info.listed || held.as_ref().is_some_and(|held| !held.free(&Asset::Nep141((*token).clone())).is_zero())
            });
            let tokens =
                shown.map(|(token, _)| Asset::Nep141(token.clone())).map(|asset| (asset.to_string(), tokens::name(tokens, &asset)));
            [("near".to_owned(), "NEAR".to_owned())].into_iter().chain(tokens).collect::<Vec<_>>()
        })
    });
    let free = move || held.with(|held| held.as_ref().map(|held| held.free(&chosen())));
    // Nothing can be moved before it is read what there is.
    let nothing = move || free().is_none_or(Amount::is_zero);
    let listed = move || match chosen() {
        Asset::Near => true,
        Asset::Nep141(token) => shared.tokens.with(|tokens| tokens.get(&token).is_some_and(|info| info.listed)),
    };
    let run = move |deposit: bool| {
        let asset = chosen();
        done.set(None);
        failure.set(None);
        busy.set(true);
        spawn_local(async move {
            match send(shared, &asset, &amount.get_untracked(), deposit).await {
                Ok(moved) => {
                    let words = shared.words(&asset, moved);
                    done.set(Some(if deposit { format!("Deposited {words}.") } else { format!("{words} went to your wallet.") }));
                    amount.set(String::new());
                }
                Err(error) => failure.set(Some(error)),
            }
            busy.set(false);
            shared.refresh_balance();
        });
    };
    let all = move |_| {
        let asset = chosen();
        let free = held.get_untracked().map_or(Amount::ZERO, |held| held.free(&asset));
        let text = shared.tokens.with_untracked(|tokens| tokens::exact(tokens, &asset, free));
        amount.set(text.split(' ').next().unwrap_or_default().replace(',', ""));
    };
    view! {
        <section class="card" aria-label="Move money"><h2>"Deposit or withdraw"</h2>
            <label class="field">"Asset"<select prop:value=move || asset.get() on:change:target=move |event| { asset.set(event.target().value()); amount.set(String::new()); done.set(None) }>
                {move || choices.get().into_iter().map(|(value, name)| { let key = value.clone(); view! { <option value=value selected=move || asset.get() == key>{name}</option> }}).collect_view()}
            </select></label>
            <label class="field">"Amount"<input inputmode="decimal" autocomplete="off" placeholder="1.5" prop:value=move || amount.get() on:input:target=move |event| amount.set(event.target().value()) />
                <span class="hint">{move || match (free(), held.with(|held| held.as_ref()?.in_wallet.get(&chosen()).copied())) {
                    (None, _) => "What you have is not read yet.".to_owned(),
                    (Some(free), None) => format!("{} can be withdrawn.", shared.words(&chosen(), free)),
                    (Some(free), Some(there)) => format!("{} can be withdrawn; {} in your wallet can be deposited.", shared.words(&chosen(), free), shared.words(&chosen(), there)),
                }}</span></label>
            <div class="row">
                <button class="button" class:primary=move || nothing() && listed() disabled=move || busy.get() || !listed() || free().is_none() on:click=move |_| run(true)>"Deposit"</button>
                <button class="button" disabled=move || busy.get() || nothing() on:click=move |_| run(false)>"Withdraw"</button>
                <button class="button small" type="button" disabled=nothing on:click=all>"Fill in all that is free"</button>
            </div>
            {move || (!listed()).then(|| view! { <p class="faint">"Billing takes no more of this token. What is here leaves at any time."</p> })}
            {move || done.get().map(|done| view! { <p class="note good" role="status">{done}</p> })}
            <MaybeProblem failure />
        </section>
    }
}

/// Moves what is written and gives the amount; nothing was signed where it is an error before the wallet.
async fn send(shared: Shared, asset: &Asset, text: &str, deposit: bool) -> Outcome<Amount> {
    let (network, account) = shared.signed_in()?;
    let amount = shared.tokens.with_untracked(|tokens| tokens::parse(tokens, asset, text))?;
    if amount.is_zero() {
        return Err(Failure::new("amount", "Write an amount above 0. Nothing was signed."));
    }
    // What the page shows may be seconds old.
    let known = read_held(&network, &account, &shared.tokens.get_untracked()).await?;
    let there = if deposit { known.in_wallet.get(asset).copied().unwrap_or_default() } else { known.free(asset) };
    if amount > there {
        let place = if deposit { "in your wallet" } else { "free in billing" };
        return Err(Failure::new(
            "balance_too_small",
            format!("There are {} {place}. Nothing was signed; choose a smaller amount.", shared.words(asset, there)),
        ));
    }
    let calls = calls(&network, &account, asset, amount, deposit).await?;
    match calls.as_slice() {
        [call] => wallet::send(call).await.map(|_| ())?,
        several => wallet::send_all(several).await.map(|_| ())?,
    }
    Ok(amount)
}

async fn calls(network: &NetworkInfo, account: &AccountId, asset: &Asset, amount: Amount, deposit: bool) -> Outcome<Vec<Call>> {
    let billing = Billing(network.deployment.billing.clone());
    Ok(match asset {
        Asset::Near if deposit => vec![billing.deposit(amount)],
        Asset::Near => vec![billing.withdraw(Some(amount))],
        Asset::Nep141(token) if deposit => {
            let token = Token(token.clone());
            let storage = token_storage(network, account, &token, Amount::ZERO).await?;
            storage.into_iter().chain([token.deposit(&billing, amount)]).collect()
        }
        Asset::Nep141(token) => vec![billing.withdraw_token(token, Some(amount))],
    })
}
