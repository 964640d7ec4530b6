//! The frame: routes, rail, top line, and what every screen shares.

use crate::{
    api::{
        Failure, Outcome, chain, coordinator,
        pay::now,
        session,
        tokens::{self, Tokens},
        wallet,
    },
    components::{
        icons::{Icon, Name},
        sign_in::SignIn,
        ui::{MaybeProblem, Problem},
    },
    pages, screens,
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    components::{A, Route, Router, Routes},
    hooks::use_location,
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
    /// What the account's wallet holds on the chain itself.
    pub(crate) in_wallet: RwSignal<Option<Amount>>,
    /// This browser's session key, if the account has one here.
    pub(crate) own_key: RwSignal<Option<session::Own>>,
    pub(crate) tokens: RwSignal<Tokens>,
    pub(crate) clock: RwSignal<TimestampMs>,
    pub(crate) signing_in: RwSignal<bool>,
    /// Whether the palette is open.
    pub(crate) searching: RwSignal<bool>,
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
            if let Ok(amount) = chain::wallet_balance(&network.rpc_url, &session.account_id).await {
                self.in_wallet.set(Some(amount));
            }
            let billing = Billing(network.deployment.billing.clone());
            if let Ok(account) = chain::view(&network.rpc_url, &billing.account(&session.account_id)).await {
                let own = session::own(&network, &session.account_id, account.as_ref());
                if self.own_key.get_untracked() != own {
                    self.own_key.set(own);
                }
                self.balance.set(Some(account.as_ref().map_or(Amount::ZERO, session::free_near)));
            }
        });
    }

    /// Signs out: ends this browser's session, or all of the account's, and takes all session keys out of this browser.
    pub(crate) async fn sign_out(self, everywhere: bool) -> Outcome<()> {
        let path = if everywhere { api_path::LOGOUT_EVERYWHERE } else { api_path::LOGOUT };
        let ended = coordinator::post_quietly(path, &serde_json::json!({})).await;
        let forgotten = session::forget_all().await;
        let _ = wallet::sign_out().await;
        self.session.set(None);
        self.balance.set(None);
        self.in_wallet.set(None);
        self.own_key.set(None);
        ended.and(forgotten)
    }

    /// Signs out of this browser, and says so where it fails.
    pub(crate) fn leave(self) {
        spawn_local(async move {
            if let Err(failure) = self.sign_out(false).await {
                self.away.set(Some(failure));
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
                        wallet::use_network(&network);
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
        in_wallet: RwSignal::new(None),
        own_key: RwSignal::new(None),
        tokens: RwSignal::new(Tokens::new()),
        clock: RwSignal::new(now()),
        signing_in: RwSignal::new(false),
        searching: RwSignal::new(false),
    };
    provide_context(shared);
    shared.load();
    set_interval(move || shared.clock.set(now()), std::time::Duration::from_secs(1));
    set_interval(move || shared.load(), std::time::Duration::from_secs(10));
    let keys = window_event_listener(leptos::ev::keydown, move |event| {
        if (event.ctrl_key() || event.meta_key()) && event.key() == "k" {
            event.prevent_default();
            shared.searching.update(|open| *open = !*open);
        }
    });
    on_cleanup(move || keys.remove());
    view! {
        <Router>
            <a class="visually-hidden" href="#content">"Skip to content"</a>
            <div class="shell">
                <Rail />
                <div>
                    <Top />
                    <main id="content" class="page">
                        {move || shared.away.get().map(|failure| view! { <Problem failure /> })}
                        <Poor />
                        <Routes fallback=|| view! { <pages::missing::Missing /> }>
                            <Route path=path!("/") view=pages::home::Home />
                            <Route path=path!("/models") view=screens::Models />
                            <Route path=path!("/models/publish") view=screens::Publish />
                            <Route path=path!("/models/:publisher/:slug") view=screens::Model />
                            <Route path=path!("/compute") view=screens::Compute />
                            <Route path=path!("/compute/rent/:offer") view=screens::Rent />
                            <Route path=path!("/provider") view=screens::Provider />
                            <Route path=path!("/leases/:id") view=screens::Lease />
                            <Route path=path!("/train") view=screens::Train />
                            <Route path=path!("/train/code") view=screens::RunCode />
                            <Route path=path!("/runs/:id") view=screens::Run />
                            <Route path=path!("/market") view=screens::Market />
                            <Route path=path!("/market/publish") view=screens::PublishTool />
                            <Route path=path!("/market/:publisher/:slug") view=screens::Item />
                            <Route path=path!("/billing") view=screens::Billing />
                            <Route path=path!("/network") view=screens::Network />
                        </Routes>
                    </main>
                </div>
            </div>
            <SignIn />
            // Its code comes when it is opened first; until then nothing of it shows.
            <div class="visually-hidden"><Show when=move || shared.searching.get()><screens::Palette /></Show></div>
        </Router>
    }
}

/// An account that holds less than this cannot pay for the gas of a payment.
const LITTLE: Amount = Amount::from_millinear(200);

/// What someone can do whose wallet holds next to nothing: play money where there is a faucet.
#[component]
fn Poor() -> impl IntoView {
    let shared = shared();
    let (failure, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(false));
    let poor = Memo::new(move |_| shared.in_wallet.get().is_some_and(|held| held < LITTLE));
    let fill = move |_| {
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            match shared.signed_in() {
                Ok((network, account)) => failure.set(chain::fill(&network.rpc_url, &account).await.err()),
                Err(nobody) => failure.set(Some(nobody)),
            }
            busy.set(false);
            shared.refresh_balance();
        });
    };
    let faucet = move || shared.network.get().is_some_and(|network| network.faucet);
    let sponsor = move || shared.network.get().is_some_and(|network| network.sponsor.is_some());
    view! {
        <Show when=move || poor.get()>
            <section class="note" aria-label="Empty wallet">
                <div class="row between">
                    <p>{move || shared.in_wallet.get().unwrap_or_default().display_near()}" in your wallet. "{move || if sponsor() { "A sponsor pays the gas for stopping, withdrawing, accepting results and paying from your balance; what a job costs is yours to bring." } else { "Add NEAR to it to pay for jobs." }}</p>
                    {move || faucet().then(|| view! { <button class="button" disabled=move || busy.get() on:click=fill>{move || if busy.get() { "Asking the faucet" } else { "Get play money" }}</button> })}
                </div>
                <MaybeProblem failure />
            </section>
        </Show>
    }
}

#[component]
fn Rail() -> impl IntoView {
    let path = use_location().pathname;
    // A page that lies elsewhere in the address belongs to the place from which one comes to it.
    let place = |href: &'static str, others: &'static [&'static str], name: Name, label: &'static str| {
        let inside = move || path.with(|path| others.iter().any(|other| path.starts_with(other)));
        view! { <A href=href attr:class=move || if inside() { "place inside" } else { "place" }><Icon name />{label}</A> }
    };
    view! {
        <nav class="rail" aria-label="Places">
            <A href="/" attr:class="brand"><img src="/favicon.svg" width="24" height="24" alt="" />"Starling"</A>
            {place("/", &[], Name::House, "Home")}
            {place("/models", &[], Name::Box, "Models")}
            {place("/compute", &["/leases/", "/provider"], Name::Cpu, "Compute")}
            {place("/train", &["/runs/"], Name::ChartLine, "Train")}
            {place("/market", &[], Name::Store, "Market")}
            {place("/billing", &[], Name::Wallet, "Billing")}
            {place("/network", &[], Name::Network, "Network")}
        </nav>
    }
}

#[component]
fn Top() -> impl IntoView {
    let shared = shared();
    let network = move || shared.network.get().map_or_else(|| "Connecting".to_owned(), |network| network.name);
    view! {
        <header class="top">
            <span class="chip plain" title="The network that this dashboard works on">{network}</span>
            <button class="button small search" title="Search and commands (Ctrl K)" aria-keyshortcuts="Control+K" on:click=move |_| shared.searching.set(true)><Icon name=Name::Search /><span class="word">"Search"</span><kbd class="word">"Ctrl K"</kbd></button>
            <span class="grow"></span>
            {move || match shared.account() {
                Some(account) => view! {
                    <A href="/billing" attr:class="num soft">{move || match shared.balance.get() { Some(amount) => view! { <span class="word">"Balance "</span>{amount.display_near()} }.into_any(), None => "Balance unread".into_any() }}</A>
                    <span class="mono">{account.to_string()}</span>
                    <button class="button small" on:click=move |_| shared.leave()>"Sign out"</button>
                }.into_any(),
                None => view! { <button class="button primary" on:click=move |_| shared.signing_in.set(true)>"Sign in"</button> }.into_any(),
            }}
        </header>
    }
}
