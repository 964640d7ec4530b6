//! Billing: balance, deposit, withdraw, escrows with what they wait for, history.

use super::polled;
use crate::{
    api::{Failure, Outcome, chain, coordinator, wallet},
    app::shared,
    components::ui::{Empty, MaybeProblem, Near, NeedsLogin, save},
    pages::run::Accept,
};
use leptos::{prelude::*, task::spawn_local};
use starling_contract_api::{Call, billing};
use starling_http_api::{
    network::{Change, HistoryEntry},
    path,
};
use starling_primitives::{Amount, Asset};
use starling_protocol::escrow::State;
use std::{fmt::Write as _, time::Duration};

#[component]
pub(crate) fn Billing() -> impl IntoView {
    view! {
        <header><div><h1>"Billing"</h1><p>"Your balance lies in a contract, not with us. Escrows return by themselves when their time is over."</p></div></header>
        <NeedsLogin what="see your money"><Money /></NeedsLogin>
    }
}

#[component]
fn Money() -> impl IntoView {
    let shared = shared();
    let (account, failure) = polled(Duration::from_secs(3), move || {
        let (network, account) = (shared.network.get(), shared.account());
        async move {
            let (Some(network), Some(account)) = (network, account) else { return Ok(None) };
            let contract = billing::Billing(network.deployment.billing);
            let record = chain::view(&network.rpc_url, &contract.account(&account)).await?;
            let mut escrows: Vec<billing::EscrowView> = Vec::new();
            loop {
                let from = escrows.last().map_or(0, |view| view.id.0 + 1);
                let page = chain::view(&network.rpc_url, &contract.escrows_of(&account, from, u32::MAX)).await?;
                if page.is_empty() {
                    break;
                }
                escrows.extend(page);
            }
            let in_wallet = chain::wallet_balance(&network.rpc_url, &account).await?;
            Ok(Some((record, escrows, in_wallet)))
        }
    });
    let free = move || {
        account
            .get()
            .flatten()
            .and_then(|(record, ..)| record)
            .and_then(|record| record.balances.into_iter().find(|(asset, _)| *asset == Asset::Near))
            .map_or(Amount::ZERO, |(_, amount)| amount)
    };
    let in_wallet = move || account.get().flatten().map_or(Amount::ZERO, |(_, _, amount)| amount);
    view! {
        <MaybeProblem failure />
        <div class="cards">
            <section class="card" aria-label="Balance"><h2>"Balance in billing"</h2><p class="at-most num" style="font-size: 28px; font-weight: 650"><Near amount=Signal::derive(free) /></p><p class="faint">"Free to spend or to withdraw."</p></section>
            <section class="card" aria-label="Wallet"><h2>"In your wallet"</h2><p class="num" style="font-size: 20px"><Near amount=Signal::derive(in_wallet) /></p><p class="faint">"On your own account, outside the contract."</p></section>
            <Move />
        </div>
        <section class="stack" aria-label="Escrows"><h2>"Escrows"</h2>
            {move || match account.get().flatten().map(|(_, escrows, _)| escrows) {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(escrows) if escrows.is_empty() => view! { <Empty><p>"No escrow holds anything of yours. One appears with each payment and goes when it is settled."</p></Empty> }.into_any(),
                Some(escrows) => view! { <div class="cards">{escrows.into_iter().map(|view| view! { <EscrowCard view /> }).collect_view()}</div> }.into_any(),
            }}
        </section>
        <History />
    }
}

/// Deposit and withdraw.
#[component]
fn Move() -> impl IntoView {
    let shared = shared();
    let amount = RwSignal::new(String::new());
    let (failure, done) = (RwSignal::new(None::<Failure>), RwSignal::new(None::<&'static str>));
    let run = move |deposit: bool| {
        let Some(network) = shared.network_now() else { return };
        done.set(None);
        spawn_local(async move {
            let outcome: Outcome<()> = async {
                let contract = billing::Billing(network.deployment.billing);
                let near = Amount::parse_near(&amount.get_untracked())
                    .map_err(|error| Failure::new("amount", format!("The amount is {error}.")))?;
                let call: Call = if deposit { contract.deposit(near) } else { contract.withdraw(Some(near)) };
                wallet::send(&call).await.map(|_| ())
            }
            .await;
            if outcome.is_ok() {
                done.set(Some(if deposit { "Deposited." } else { "Sent to your wallet." }));
                amount.set(String::new());
            }
            failure.set(outcome.err());
            shared.refresh_balance();
        });
    };
    view! {
        <section class="card" aria-label="Move money"><h2>"Deposit or withdraw"</h2>
            <label class="field">"NEAR"<input inputmode="decimal" placeholder="1.5" prop:value=move || amount.get() on:input:target=move |event| amount.set(event.target().value()) /></label>
            <div class="row"><button class="button" on:click=move |_| run(true)>"Deposit"</button><button class="button" on:click=move |_| run(false)>"Withdraw"</button></div>
            {move || done.get().map(|done| view! { <p class="note good" role="status">{done}</p> })}
            <MaybeProblem failure />
        </section>
    }
}

#[component]
fn EscrowCard(view: billing::EscrowView) -> impl IntoView {
    let shared = shared();
    let failure = RwSignal::new(None);
    let (id, escrow) = (view.id, view.escrow.clone());
    let waiting = match &escrow.state {
        State::Held { .. } => "Waits for the contract's answer; if none comes it can be returned after ten minutes.",
        State::Open(opened) if opened.closing_asked_at.is_some() => "Closing was asked; the rest returns within seven days.",
        State::Open(_) => "Open: earned parts are posted as work is proven.",
        State::Settling { .. } => "The work is over; what is held back waits for you.",
        State::Closed(_) | State::Voided => "Closed.",
    };
    let open = matches!(&escrow.state, State::Open(opened) if opened.closing_asked_at.is_none());
    let settling = matches!(escrow.state, State::Settling { .. });
    let ask = move |_| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(async move { failure.set(wallet::send(&billing::Billing(network.deployment.billing).ask_closing(id)).await.err()) });
    };
    view! {
        <article class="card">
            <div class="row between"><h3>"Escrow "{id.0}</h3><span class="chip">{escrow.state.name()}</span></div>
            <p class="soft">{waiting}</p>
            <dl class="pairs"><dt>"Paid in"</dt><dd><Near amount=escrow.deposited /></dd><dt>"Available"</dt><dd><Near amount=view.available /></dd><dt>"Pending"</dt><dd><Near amount=view.pending /></dd><dt>"Earned"</dt><dd><Near amount=view.posted /></dd><dt>"Returned"</dt><dd><Near amount=escrow.refunded /></dd><dt>"Held for"</dt><dd class="mono">{escrow.arbiter.to_string()}</dd></dl>
            {settling.then(|| view! { <Accept escrow=id /> })}
            {open.then(|| view! { <button class="button" on:click=ask>"Ask for closing"</button> })}
            <MaybeProblem failure />
        </article>
    }
}

fn change_words(change: Option<Change>) -> String {
    match change {
        Some(Change::Plus(amount)) => format!("+{}", amount.display_near()),
        Some(Change::Minus(amount)) => format!("-{}", amount.display_near()),
        None => String::new(),
    }
}

#[component]
fn History() -> impl IntoView {
    let shared = shared();
    let filter = RwSignal::new(String::new());
    let (entries, failure) = polled(Duration::from_secs(5), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<HistoryEntry>>(&format!("{}?account={account}&limit=100", path::HISTORY)).await
        }
    });
    let shown = move || {
        entries
            .get()
            .map(|entries| entries.into_iter().filter(|entry| filter.get().is_empty() || entry.event == filter.get()).collect::<Vec<_>>())
    };
    let kinds = move || {
        let mut kinds: Vec<String> = entries.get().unwrap_or_default().into_iter().map(|entry| entry.event).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    let export = move |_| {
        let mut csv = "time_ms,event,change_yocto,escrow,purpose,transaction\n".to_owned();
        for entry in shown().unwrap_or_default() {
            let change = match entry.change {
                Some(Change::Plus(amount)) => amount.to_string(),
                Some(Change::Minus(amount)) => format!("-{amount}"),
                None => String::new(),
            };
            let _ = writeln!(
                csv,
                "{},{},{change},{},{},{}",
                entry.at.0,
                entry.event,
                entry.escrow_id.map(|id| id.to_string()).unwrap_or_default(),
                entry.purpose.unwrap_or_default(),
                entry.tx
            );
        }
        save(csv.as_bytes(), "history.csv");
    };
    view! {
        <section class="stack" aria-label="History">
            <div class="row between"><h2>"History"</h2><div class="row">
                <label class="field"><span class="visually-hidden">"Kind"</span><select prop:value=move || filter.get() on:change:target=move |event| filter.set(event.target().value())><option value="">"All kinds"</option>{move || kinds().into_iter().map(|kind| view! { <option value=kind.clone()>{kind.replace('_', " ")}</option> }).collect_view()}</select></label>
                <button class="button small" on:click=export>"Save CSV"</button></div></div>
            <MaybeProblem failure />
            {move || match shown() {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(entries) if entries.is_empty() => view! { <Empty><p>"Nothing has happened yet. Deposits, payments, earnings and refunds appear here."</p></Empty> }.into_any(),
                Some(entries) => view! { <div class="scroll"><table class="stacked"><thead><tr><th>"When"</th><th>"What"</th><th>"For"</th><th class="num">"Balance"</th><th>"Transaction"</th></tr></thead><tbody>
                    {entries.into_iter().map(|entry| { let at = Some(entry.at); view! { <tr><td data-label="When"><crate::components::ui::Ago at /></td><td data-label="What">{entry.event.replace('_', " ")}</td><td data-label="For">{entry.purpose.clone().or_else(|| entry.escrow_id.map(|id| format!("escrow {id}")))}</td><td data-label="Balance" class="num">{change_words(entry.change)}</td><td data-label="Transaction"><crate::components::ui::Id text=entry.tx /></td></tr> }}).collect_view()}
                </tbody></table></div> }.into_any(),
            }}
        </section>
    }
}
