//! History of an account's money, filtered by status, asset and kind in the address; CSV of what is shown, and a checked receipt of each payment.

use super::Held;
use crate::{
    api::{Failure, coordinator, receipt::receipt, tokens},
    app::{Shared, shared},
    components::ui::{Ago, Empty, Id, MaybeProblem, save},
    pages::polled,
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    NavigateOptions,
    components::A,
    hooks::{use_navigate, use_query_map},
};
use starling_contract_api::settlement::Settlement;
use starling_http_api::{
    network::{BalanceChange, Change, HistoryEntry},
    path,
};
use starling_primitives::{Asset, EscrowId};
use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

/// Lines that are asked for at once.
const PAGE: usize = 100;
/// Lines that are shown before someone wants more.
const SHOWN: usize = 20;

/// What kind of thing an event is, as the filter and the file name it, and for people.
const KINDS: [(&str, &str, &[&str]); 6] = [
    ("moves", "Deposits and withdrawals", &["deposited", "withdrawn", "transfer_failed"]),
    ("payments", "Payments", &["payment_held", "escrow_opened", "escrow_refused", "escrow_voided", "forwarded_returned"]),
    ("earnings", "Earnings", &["escrow_posted", "voucher_redeemed", "holdback_decided", "posts_vested", "earnings_claimed"]),
    ("ends", "Closings and objections", &["escrow_closed", "escrow_objected", "closing_asked", "escrow_extended"]),
    ("keys", "Session keys", &["session_key_added", "session_key_removed"]),
    ("storage", "Storage and account", &["account_registered", "account_unregistered", "storage_deposited", "storage_withdrawn"]),
];

/// Where a line's money stands, as the filter and the file name it, and for people.
const STATUSES: [(&str, &str); 3] = [("open", "Under way"), ("settled", "Done"), ("failed", "Failed, returned")];

fn kind_of(event: &str) -> &'static str {
    KINDS.iter().find(|(.., events)| events.contains(&event)).map_or("other", |(key, ..)| key)
}

/// Empty while it is not read which escrows are open.
fn status_of(entry: &HistoryEntry, open: Option<&BTreeSet<EscrowId>>) -> &'static str {
    match entry.event.as_str() {
        "transfer_failed" | "escrow_refused" | "escrow_voided" => "failed",
        _ => match entry.escrow_id.map(|id| Some(open?.contains(&id))) {
            Some(None) => "",
            Some(Some(true)) => "open",
            Some(Some(false)) | None => "settled",
        },
    }
}

/// What happened, in plain words, for who pays the escrow (if that is known) or for who earns by it.
fn event_words(event: &str, pays: Option<bool>) -> String {
    let words = match event {
        "escrow_opened" if pays == Some(false) => "Earned by a sale",
        "deposited" => "Deposited",
        "withdrawn" => "Withdrawn",
        "transfer_failed" => "Transfer failed, back on the balance",
        "payment_held" => "Paid in",
        "escrow_opened" => "Payment accepted",
        "escrow_refused" => "Payment refused, all returned",
        "escrow_voided" => "Never answered, all returned",
        "forwarded_returned" => "Storage deposit returned",
        "escrow_posted" => "Work posted",
        "voucher_redeemed" => "Voucher brought",
        "holdback_decided" => "Held-back part decided",
        "posts_vested" => "Posts became final",
        "earnings_claimed" => "Earnings claimed",
        "escrow_closed" => "Escrow closed",
        "escrow_objected" => "Objected, returned",
        "closing_asked" => "Closing asked",
        "escrow_extended" => "Escrow extended",
        "session_key_added" => "Session key added",
        "session_key_removed" => "Session key ended",
        "account_registered" => "Account registered",
        "account_unregistered" => "Account left",
        "storage_deposited" => "Storage deposit",
        "storage_withdrawn" => "Storage deposit returned",
        other => return other.replace('_', " "),
    };
    words.to_owned()
}

fn change_words(shared: Shared, BalanceChange { asset, change }: &BalanceChange) -> String {
    match change {
        Change::Plus(amount) => format!("+{}", shared.words(asset, *amount)),
        Change::Minus(amount) => format!("-{}", shared.words(asset, *amount)),
    }
}

/// A field of a CSV file by RFC 4180; a leading sign of a formula is disarmed.
fn field(text: &str) -> String {
    let disarmed = if text.starts_with(['=', '+', '@', '\t']) { format!("'{text}") } else { text.to_owned() };
    if disarmed.contains([',', '"', '\n', '\r']) { format!("\"{}\"", disarmed.replace('"', "\"\"")) } else { disarmed }
}

/// A line for each change of a balance, and one for an event without any. Amounts are in smallest units, signed.
fn csv(entries: &[HistoryEntry], open: Option<&BTreeSet<EscrowId>>) -> String {
    let mut csv = "time,event,kind,status,asset,change_units,escrow,purpose,transaction,signer\r\n".to_owned();
    for entry in entries {
        let time = js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(entry.at.0 as f64)).to_iso_string();
        let head = format!("{},{},{},{}", String::from(time), entry.event, kind_of(&entry.event), status_of(entry, open));
        let tail = format!(
            "{},{},{},{}",
            entry.escrow_id.map(|id| id.to_string()).unwrap_or_default(),
            field(entry.purpose.as_deref().unwrap_or_default()),
            entry.tx,
            entry.signer.as_ref().map(ToString::to_string).unwrap_or_default()
        );
        if entry.changes.is_empty() {
            let _ = write!(csv, "{head},,,{tail}\r\n");
        }
        for BalanceChange { asset, change } in &entry.changes {
            let units = match change {
                Change::Plus(amount) => amount.to_string(),
                Change::Minus(amount) => format!("-{amount}"),
            };
            let _ = write!(csv, "{head},{asset},{units},{tail}\r\n");
        }
    }
    csv
}

/// The newest lines of the account that is signed in, kept current.
pub(super) fn newest() -> (RwSignal<Option<Vec<HistoryEntry>>>, RwSignal<Option<Failure>>) {
    let shared = shared();
    polled(Duration::from_secs(5), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<HistoryEntry>>(&format!("{}?account={account}&limit={PAGE}", path::HISTORY)).await
        }
    })
}

#[component]
pub(super) fn History(
    held: Memo<Option<Held>>,
    newest: RwSignal<Option<Vec<HistoryEntry>>>,
    failure: RwSignal<Option<Failure>>,
) -> impl IntoView {
    let shared = shared();
    let query = use_query_map();
    let value = move |name: &'static str| query.with(|query| query.get(name).unwrap_or_default());
    let limit = RwSignal::new(SHOWN);
    let older = RwSignal::new(Vec::<HistoryEntry>::new());
    let complete = RwSignal::new(false);
    let entries = Memo::new(move |_| {
        let newest = newest.get()?;
        let last = newest.last().map_or(0, |entry: &HistoryEntry| entry.seq);
        Some(newest.into_iter().chain(older.get().into_iter().filter(move |entry| entry.seq < last)).collect::<Vec<_>>())
    });
    let open = Memo::new(move |_| held.get().map(|held| held.escrows.iter().map(|view| view.id).collect::<BTreeSet<_>>()));
    let shown = Memo::new(move |_| {
        let (kind, asset, status) = (value("kind"), value("asset"), value("status"));
        let open = open.get();
        let fits = |entry: &HistoryEntry| {
            (kind.is_empty() || kind_of(&entry.event) == kind)
                && (asset.is_empty() || entry.changes.iter().any(|change| change.asset.to_string() == asset))
                && (status.is_empty() || status_of(entry, open.as_ref()) == status)
        };
        entries.get().map(|entries| entries.into_iter().filter(fits).collect::<Vec<_>>())
    });
    let assets = move || {
        let moved: BTreeSet<Asset> =
            entries.get().unwrap_or_default().into_iter().flat_map(|entry| entry.changes).map(|change| change.asset).collect();
        shared.tokens.with(|tokens| moved.iter().map(|asset| (asset.to_string(), tokens::name(tokens, asset))).collect::<Vec<_>>())
    };
    let more = move |_| {
        let (Some(session), Some(last)) =
            (shared.session.get_untracked(), entries.get_untracked().and_then(|entries| entries.last().map(|entry| entry.seq)))
        else {
            return;
        };
        spawn_local(async move {
            let asked = format!("{}?account={}&limit={PAGE}&before={last}", path::HISTORY, session.account_id);
            match coordinator::get::<Vec<HistoryEntry>>(&asked).await {
                Ok(page) => {
                    complete.set(page.len() < PAGE);
                    older.update(|older| older.extend(page));
                }
                Err(error) => failure.set(Some(error)),
            }
        });
    };
    let has_more = move || !complete.get() && entries.get().is_some_and(|entries| entries.len() >= PAGE);
    let hidden = move || shown.with(|shown| shown.as_ref().map_or(0, |shown| shown.len().saturating_sub(limit.get())));
    let export = move |_| {
        let _ = save(csv(&shown.get_untracked().unwrap_or_default(), open.get_untracked().as_ref()).as_bytes(), "starling-history.csv");
    };
    view! {
        <section class="stack" aria-label="History">
            <div class="row between"><h2>"History"</h2><button class="button small" disabled=move || shown.get().is_none_or(|shown| shown.is_empty()) on:click=export>"Save CSV of all that fits"</button></div>
            <div class="row filters">
                <Filter name="kind" label="Kind" all="All kinds" choices=Signal::derive(|| KINDS.map(|(key, word, _)| (key.to_owned(), word.to_owned())).to_vec()) />
                <Filter name="status" label="Status" all="Any status" choices=Signal::derive(|| STATUSES.map(|(key, word)| (key.to_owned(), word.to_owned())).to_vec()) />
                <Filter name="asset" label="Asset" all="All assets" choices=Signal::derive(assets) />
            </div>
            <MaybeProblem failure />
            {move || match shown.get() {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(shown) if shown.is_empty() && entries.get().is_some_and(|entries| !entries.is_empty()) => view! { <Empty><p>"Nothing that was read so far fits these filters."</p><A href="/billing" attr:class="button">"Show everything"</A></Empty> }.into_any(),
                Some(shown) if shown.is_empty() => view! { <Empty><p>"Nothing has happened yet. Deposits, payments, earnings and refunds appear here."</p><A href="/compute" attr:class="button">"Find a machine"</A></Empty> }.into_any(),
                Some(shown) => view! { <div class="scroll"><table class="stacked history"><thead><tr><th>"What"</th><th>"When"</th><th class="num">"Change of balance"</th><th>"Transaction"</th></tr></thead><tbody>
                    {shown.into_iter().take(limit.get()).map(|entry| view! { <Line entry open /> }).collect_view()}
                </tbody></table></div> }.into_any(),
            }}
            {move || match hidden() {
                0 => has_more().then(|| view! { <div class="row"><button class="button" on:click=more>"Read older lines"</button></div> }.into_any()),
                hidden => Some(view! { <div class="row"><button class="button" on:click=move |_| limit.update(|limit| *limit += SHOWN)>{format!("Show {} more", hidden.min(SHOWN))}</button></div> }.into_any()),
            }}
        </section>
    }
}

/// One filter, whose choice stands in the address beside the others.
#[component]
fn Filter(name: &'static str, label: &'static str, all: &'static str, choices: Signal<Vec<(String, String)>>) -> impl IntoView {
    let query = use_query_map();
    let navigate = use_navigate();
    let value = move || query.with(|query| query.get(name).unwrap_or_default());
    let choose = move |chosen: String| {
        let value_of =
            |key: &'static str| if key == name { chosen.clone() } else { query.with_untracked(|query| query.get(key).unwrap_or_default()) };
        let pairs = ["kind", "status", "asset"].map(|key| (key, value_of(key))).into_iter().filter(|(_, value)| !value.is_empty());
        let query =
            pairs.map(|(key, value)| format!("{key}={}", String::from(js_sys::encode_uri_component(&value)))).collect::<Vec<_>>().join("&");
        navigate(&format!("/billing?{query}"), NavigateOptions { replace: true, scroll: false, ..Default::default() });
    };
    view! {
        <label class="field"><span>{label}</span><select prop:value=value on:change:target=move |event| choose(event.target().value())>
            <option value="">{all}</option>
            {move || choices.get().into_iter().map(|(key, word)| { let own = key.clone(); view! { <option value=key selected=move || value() == own>{word}</option> }}).collect_view()}
        </select></label>
    }
}

/// Whether the person pays the escrow that a line is about, if that is known.
fn pays(shared: Shared, entry: &HistoryEntry) -> Option<bool> {
    entry.payer.as_ref().map(|payer| shared.account().as_ref() == Some(payer))
}

/// What a line changed, and where that came from.
fn changes(shared: Shared, entry: &HistoryEntry) -> Vec<(BalanceChange, &'static str)> {
    // What comes to the payer of an escrow is no income.
    let source = match (pays(shared, entry), entry.escrow_id) {
        (Some(true), _) => "returned",
        (Some(false), Some(_)) => "earned",
        _ => "",
    };
    let on_balance =
        entry.changes.iter().map(|change| (change.clone(), if matches!(change.change, Change::Plus(_)) { source } else { "" }));
    on_balance.chain(entry.from_wallet.iter().map(|change| (change.clone(), "from your wallet"))).collect()
}

#[component]
fn Changes(changes: Vec<(BalanceChange, &'static str)>) -> impl IntoView {
    let shared = shared();
    view! {
        <div>{changes.into_iter().map(|(change, source)| view! { <div>{move || change_words(shared, &change)}{(!source.is_empty()).then(|| view! { " "<span class="faint">{source}</span> })}</div> }).collect_view()}</div>
    }
}

#[component]
fn Transaction(tx: String) -> impl IntoView {
    let explorer = shared().network_now().and_then(|network| network.explorer_url).map(|url| url.replace("{tx}", &tx));
    view! { <Id text=tx />{explorer.map(|url| view! { <a href=url rel="noreferrer" target="_blank">"Explorer"</a> })} }
}

/// What happened to one payment so far, the first step first, each with its transaction: for those whose money it moved.
#[component]
pub(crate) fn Timeline(escrow: EscrowId) -> impl IntoView {
    let shared = shared();
    let (entries, _) = polled(Duration::from_secs(5), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<HistoryEntry>>(&format!("{}?account={account}&escrow={escrow}&limit=200", path::HISTORY)).await
        }
    });
    let steps = Memo::new(move |_| entries.with(|entries| entries.iter().flatten().rev().cloned().collect::<Vec<_>>()));
    view! {
        <Show when=move || !steps.with(Vec::is_empty)>
            <section class="card" aria-label="Payment, step by step">
                <h2>"Payment, step by step"</h2>
                <ol class="timeline">
                    {move || steps.get().into_iter().map(|entry| { let (pays, changes) = (pays(shared, &entry), changes(shared, &entry)); view! {
                        <li>
                            <div class="row between"><span>{event_words(&entry.event, pays)}</span><Ago at=Some(entry.at) /></div>
                            <div class="row between"><Changes changes /><Transaction tx=entry.tx /></div>
                        </li>
                    }}).collect_view()}
                </ol>
                <p class="faint">"Besides the cost a payment puts down the storage of its records on the chain. What they do not need has come back; the rest stays with them."</p>
            </section>
        </Show>
    }
}

#[component]
fn Line(entry: HistoryEntry, open: Memo<Option<BTreeSet<EscrowId>>>) -> impl IntoView {
    let shared = shared();
    let shown = entry.clone();
    let status = move || {
        let status = open.with(|open| status_of(&shown, open.as_ref()));
        let class = match status {
            "open" => "chip alive",
            "failed" => "chip warn",
            _ => "chip good",
        };
        let word = STATUSES.iter().find(|(key, _)| *key == status).map_or("", |(_, word)| word);
        (!status.is_empty()).then(|| view! { <span class=class>{word}</span> })
    };
    let purpose = match (entry.purpose.clone(), entry.escrow_id) {
        (Some(purpose), Some(id)) => format!("{purpose}, escrow {id}"),
        (Some(purpose), None) => purpose,
        (None, Some(id)) => format!("escrow {id}"),
        (None, None) => String::new(),
    };
    let (pays, changes) = (pays(shared, &entry), changes(shared, &entry));
    let paid = (entry.event == "payment_held").then_some(entry.escrow_id).flatten();
    let change_class = if changes.is_empty() { "num nothing" } else { "num" };
    view! {
        <tr>
            <th scope="row">{event_words(&entry.event, pays)}{(!purpose.is_empty()).then(|| view! { <br /><span class="faint">{purpose}</span> })}</th>
            <td data-label="When"><div class="row"><Ago at=Some(entry.at) />{status}</div></td>
            <td data-label="Change" class=change_class><Changes changes /></td>
            <td data-label="Transaction"><div class="row"><Transaction tx=entry.tx />{paid.map(|id| view! { <ReceiptButton id label="Receipt" /> })}</div></td>
        </tr>
    }
}

fn sums(shared: Shared, settlement: &Settlement) -> String {
    let words = |amount| shared.words(&settlement.asset, amount);
    let paid = settlement.paid.iter().map(|(account, amount)| format!("{} to {account}", words(*amount))).collect::<Vec<_>>();
    let paid = if paid.is_empty() { "nothing paid".to_owned() } else { paid.join(", ") };
    let locked = if settlement.locked.is_zero() { String::new() } else { format!(", {} still in it", words(settlement.locked)) };
    format!(
        "Saved and checked by the contract's rules: {} paid in = {paid}, fee {}, returned {}{locked}.",
        words(settlement.deposited),
        words(settlement.fee),
        words(settlement.refunded)
    )
}

/// Reads all that billing told of an escrow, checks it, and saves it as a file that `starling verify --receipt` checks without a network.
#[component]
pub(super) fn ReceiptButton(id: EscrowId, label: &'static str) -> impl IntoView {
    let shared = shared();
    let (failure, done, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(None::<Settlement>), RwSignal::new(false));
    let make = move |_| {
        busy.set(true);
        failure.set(None);
        done.set(None);
        spawn_local(async move {
            let made = async {
                let (network, account) = shared.signed_in()?;
                let (receipt, settlement) = receipt(&network, &account, id).await?;
                let bytes = serde_json::to_vec_pretty(&receipt).map_err(|error| Failure::new("receipt", error.to_string()))?;
                save(&bytes, &format!("starling-receipt-{}-{id}.json", network.deployment.chain_id)).ok_or_else(|| {
                    Failure::new("save", "The browser did not save the file. Allow downloads for this site and try again.")
                })?;
                Ok(settlement)
            };
            match made.await {
                Ok(settlement) => drop(done.try_set(Some(settlement))),
                Err(error) => drop(failure.try_set(Some(error))),
            }
            busy.try_set(false);
        });
    };
    view! {
        <div class="stack">
            <button class="button small" disabled=move || busy.get() title="A file that `starling verify --receipt FILE` checks offline" aria-label=format!("{label} of escrow {id}") on:click=make>{move || if busy.get() { "Reading the chain" } else { label }}</button>
            {move || done.get().map(|settlement| view! { <p class="faint" role="status">{sums(shared, &settlement)}</p> })}
            <MaybeProblem failure />
        </div>
    }
}
