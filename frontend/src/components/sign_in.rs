//! The sign-in dialog: a wallet, or on the embedded chain a new account from its faucet.

use crate::{
    api::{Failure, Outcome, coordinator, wallet},
    app::shared,
    components::ui::MaybeProblem,
};
use leptos::{html, prelude::*, task::spawn_local};
use starling_http_api::{
    login::{Challenge, ChallengeRequest, LoginRequest, Session, SessionInfo},
    path,
};

async fn sign_in() -> Outcome<SessionInfo> {
    let challenge: Challenge = coordinator::post(path::LOGIN_CHALLENGE, &ChallengeRequest { account_id: None }).await?;
    let signed = wallet::sign_in(&challenge).await?;
    let login =
        LoginRequest { account_id: signed.account_id, public_key: signed.public_key, signature: signed.signature, nonce: challenge.nonce };
    let session: Session = coordinator::post(path::LOGIN, &login).await?;
    Ok(SessionInfo { account_id: session.account_id, expires_at: session.expires_at })
}

#[component]
pub(crate) fn SignIn() -> impl IntoView {
    let shared = shared();
    let dialog = NodeRef::<html::Dialog>::new();
    let failure = RwSignal::new(None::<Failure>);
    let busy = RwSignal::new(false);
    let name = RwSignal::new(String::new());
    Effect::new(move |_| {
        let Some(dialog) = dialog.get() else { return };
        if shared.signing_in.get() && !dialog.open() {
            failure.set(None);
            let _ = dialog.show_modal();
        } else if !shared.signing_in.get() && dialog.open() {
            dialog.close();
        }
    });
    let run = move |new_account: Option<bool>| {
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            let outcome = async {
                if let Some(sponsored) = new_account {
                    wallet::new_account(&name.get_untracked(), sponsored).await?;
                }
                sign_in().await
            };
            match outcome.await {
                Ok(session) => {
                    shared.session.set(Some(session));
                    shared.signing_in.set(false);
                    shared.refresh_balance();
                }
                Err(problem) => failure.set(Some(problem)),
            }
            busy.set(false);
        });
    };
    let sponsor = move || shared.network.get().is_some_and(|network| network.sponsor.is_some());
    let faucet = move || shared.network.get().is_some_and(|network| network.faucet);
    view! {
        <dialog class="sheet" node_ref=dialog aria-labelledby="sign-in-title" on:close=move |_| shared.signing_in.set(false)>
            <div class="stack" style="gap: 16px">
                <h2 id="sign-in-title">"Sign in"</h2>
                <p class="soft">"Your wallet shows a message that names this site and this network. Signing it moves no money."</p>
                <MaybeProblem failure />
                <button class="button primary" disabled=move || busy.get() on:click=move |_| run(None)>{move || if busy.get() { "Waiting for your wallet" } else { "Sign in with a wallet" }}</button>
                {move || faucet().then(|| view! {
                    <form class="stack" on:submit=move |event| { event.prevent_default(); run(Some(false)) }>
                        <label class="field">"New account on the embedded chain"
                            <input name="account" autocomplete="off" required minlength="2" maxlength="40" pattern="[a-z0-9]([a-z0-9_\\-]*[a-z0-9])?" placeholder="ada" prop:value=move || name.get() on:input:target=move |event| name.set(event.target().value()) />
                            <span class="hint">"Small letters, digits and dashes. The chain's faucet gives it play money: it is worth nothing elsewhere."</span>
                        </label>
                        <button class="button" disabled=move || busy.get()>"Create account and sign in"</button>
                        {move || sponsor().then(|| view! {
                            <button type="button" class="button" disabled=move || busy.get() || name.get().len() < 2 on:click=move |_| run(Some(true))>"Start with nothing: a sponsor makes the account"</button>
                            <span class="faint">"It then holds 0 NEAR. The sponsor pays for making it and for the gas of small steps; never for a job."</span>
                        })}
                    </form>
                })}
                <button class="button" on:click=move |_| shared.signing_in.set(false)>"Close"</button>
            </div>
        </dialog>
    }
}
