//! The frame: routes, rail, top line, and what every screen shares.

use crate::{
    api::{
        Failure, Outcome, chain, coordinator,
        pay::now,
        tokens::{self, Tokens},
        wallet,
    },
    components::{
        icons::{Icon, Name},
        sign_in::SignIn,
        ui::Problem,
    },
    pages,
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    components::{A, Route, Router, Routes},
    path,
};
use starling_contract_api::billing::Billing;
use starling_http_api::{login::SessionInfo, network::NetworkInfo, path as api_path};
use starling_primitives::{AccountId, Amount, Asset, TimestampMs};

/// What every screen shares. Cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) network: RwSignal<Option<NetworkInfo>>,
    pub(crate) away: RwSignal<Option<Failure>>,
    pub(crate) session: RwSignal<Option<SessionInfo>>,
    pub(crate) balance: RwSignal<Option<Amount>>,
    pub(crate) tokens: RwSignal<Tokens>,
    pub(crate) clock: RwSignal<TimestampMs>,
    pub(crate) signing_in: RwSignal<bool>,
}

impl Shared {
    /// The account that is logged in.
    pub(crate) fn account(self) -> Option<AccountId> {
        self.session.get().map(|session| session.account_id)
    }

    pub(crate) fn network_now(self) -> Option<NetworkInfo> {
        self.network.get_untracked()
    }

    /// The network and the account in whose name something is about to be paid or published.
    pub(crate) fn signed_in(self) -> Outcome<(NetworkInfo, AccountId)> {
        let account = self.session.get_untracked().map(|session| session.account_id);
        self.network_now().zip(account).ok_or_else(|| Failure::new("signed_out", "Sign in first."))
    }

    /// Reads the balance in billing again.
    pub(crate) fn refresh_balance(self) {
        let (Some(network), Some(session)) = (self.network.get_untracked(), self.session.get_untracked()) else { return };
        spawn_local(async move {
            let billing = Billing(network.deployment.billing);
            if let Ok(account) = chain::view(&network.rpc_url, &billing.account(&session.account_id)).await {
                let free = account
                    .and_then(|account| account.balances.into_iter().find(|(asset, _)| *asset == Asset::Near))
                    .map_or(Amount::ZERO, |(_, amount)| amount);
                self.balance.set(Some(free));
            }
        });
    }

    /// Reads which tokens billing takes.
    fn refresh_tokens(self) {
        let Some(network) = self.network.get_untracked() else { return };
        spawn_local(async move {
            let known = self.tokens.get_untracked();
            if let Ok(tokens) = tokens::read(&network, &known).await
                && tokens != known
            {
                self.tokens.set(tokens);
            }
        });
    }

    /// An amount of any asset in words, kept current as tokens become known.
    pub(crate) fn words(self, asset: &Asset, amount: Amount) -> String {
        self.tokens.with(|tokens| tokens::words(tokens, asset, amount))
    }

    fn load(self) {
        spawn_local(async move {
            match coordinator::get::<NetworkInfo>(api_path::NETWORK).await {
                Ok(network) => {
                    if self.network.get_untracked().as_ref() != Some(&network) {
                        let _ = wallet::init(&network).await;
                        self.network.set(Some(network));
                    }
                    self.away.set(None);
                    self.refresh_tokens();
                }
                Err(failure) => self.away.set(Some(failure)),
            }
            if self.session.get_untracked().is_none()
                && let Ok(Some(session)) = coordinator::find::<Option<SessionInfo>>(api_path::SESSION).await
            {
                self.session.set(session);
            }
            self.refresh_balance();
        });
    }
}

/// What the screens share, from the context.
pub(crate) fn shared() -> Shared {
    expect_context::<Shared>()
}

#[component]
pub(crate) fn App() -> impl IntoView {
    let shared = Shared {
        network: RwSignal::new(None),
        away: RwSignal::new(None),
        session: RwSignal::new(None),
        balance: RwSignal::new(None),
        tokens: RwSignal::new(Tokens::new()),
        clock: RwSignal::new(now()),
        signing_in: RwSignal::new(false),
    };
    provide_context(shared);
    shared.load();
    set_interval(move || shared.clock.set(now()), std::time::Duration::from_secs(1));
    set_interval(move || shared.load(), std::time::Duration::from_secs(10));
    view! {
        <Router>
            <a class="visually-hidden" href="#content">"Skip to content"</a>
            <div class="shell">
                <Rail />
                <div>
                    <Top />
                    <main id="content" class="page">
                        {move || shared.away.get().map(|failure| view! { <Problem failure /> })}
                        <Routes fallback=|| view! { <pages::missing::Missing /> }>
                            <Route path=path!("/") view=pages::home::Home />
                            <Route path=path!("/models") view=pages::models::Models />
                            <Route path=path!("/models/publish") view=pages::publish::Publish />
                            <Route path=path!("/models/:publisher/:slug") view=pages::models::Model />
                            <Route path=path!("/compute") view=pages::compute::Compute />
                            <Route path=path!("/compute/rent/:offer") view=pages::rent::Rent />
                            <Route path=path!("/provider") view=pages::provider::Provider />
                            <Route path=path!("/leases/:id") view=pages::lease::Lease />
                            <Route path=path!("/train") view=pages::train::Train />
                            <Route path=path!("/runs/:id") view=pages::run::Run />
                            <Route path=path!("/market") view=pages::market::Market />
                            <Route path=path!("/market/publish") view=pages::market::PublishTool />
                            <Route path=path!("/market/:publisher/:slug") view=pages::market::Item />
                            <Route path=path!("/billing") view=pages::billing::Billing />
                            <Route path=path!("/network") view=pages::network::Network />
                        </Routes>
                    </main>
                </div>
            </div>
            <SignIn />
        </Router>
    }
}

#[component]
fn Rail() -> impl IntoView {
    let place = |href: &'static str, name: Name, label: &'static str| view! { <A href=href attr:class="place"><Icon name />{label}</A> };
    view! {
        <nav class="rail" aria-label="Places">
            <A href="/" attr:class="brand"><img src="/favicon.svg" width="24" height="24" alt="" />"Starling"</A>
            {place("/", Name::House, "Home")}
            {place("/models", Name::Box, "Models")}
            {place("/compute", Name::Cpu, "Compute")}
            {place("/train", Name::ChartLine, "Train")}
            {place("/market", Name::Store, "Market")}
            {place("/billing", Name::Wallet, "Billing")}
            {place("/network", Name::Network, "Network")}
        </nav>
    }
}

#[component]
fn Top() -> impl IntoView {
    let shared = shared();
    let network = move || shared.network.get().map_or_else(|| "Connecting".to_owned(), |network| network.name);
    let sign_out = move |_| {
        spawn_local(async move {
            let _ = coordinator::post_quietly(api_path::LOGOUT, &serde_json::json!({})).await;
            let _ = wallet::sign_out().await;
            shared.session.set(None);
            shared.balance.set(None);
        });
    };
    view! {
        <header class="top">
            <span class="chip plain" title="The network that this dashboard works on">{network}</span>
            <span class="grow"></span>
            {move || match shared.account() {
                Some(account) => view! {
                    <A href="/billing" attr:class="num soft">{move || shared.balance.get().map_or_else(|| "Balance unread".to_owned(), |amount| format!("Balance {}", amount.display_near()))}</A>
                    <span class="mono">{account.to_string()}</span>
                    <button class="button small" on:click=sign_out>"Sign out"</button>
                }.into_any(),
                None => view! { <button class="button primary" on:click=move |_| shared.signing_in.set(true)>"Sign in"</button> }.into_any(),
            }}
        </header>
    }
}
