//! The sponsor's two requests: an account for someone who has none, and a call for someone who holds no NEAR.

use super::{
    App,
    extract::{JsonBody, read_json},
};
use crate::{problem::Fault, sponsor::Sponsor};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, Method, header::ACCESS_CONTROL_ALLOW_ORIGIN},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use starling_contract_api::rpc::Delegated;
use starling_http_api::sponsor::{MadeAccount, NewAccount, RelayCall, Relayed};
use std::net::SocketAddr;

fn sponsor(app: &App) -> Result<&Sponsor, Fault> {
    app.sponsor.as_ref().ok_or_else(|| Fault::not_found("sponsor"))
}

/// Anyone may ask. The development wallet does so from its own origin, which may read the answer; it sends no header that a browser would ask about before.
pub(super) async fn account(State(app): State<App>, from: Option<Extension<ConnectInfo<SocketAddr>>>, body: Bytes) -> Response {
    let address = from.map_or_else(|| "unknown".to_owned(), |Extension(ConnectInfo(address))| address.ip().to_string());
    let made = async {
        let wanted: NewAccount = read_json(&body)?;
        sponsor(&app)?.create_account(&wanted, &address).await
    };
    let mut response = match made.await {
        Ok(account_id) => Json(MadeAccount { account_id }).into_response(),
        Err(fault) => fault.into_response(),
    };
    if let Some(origin) = app.config.dev_wallet_url.as_ref().and_then(|origin| HeaderValue::from_str(origin).ok()) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// Only for the account that is signed in.
pub(super) async fn call(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    JsonBody(request): JsonBody<RelayCall>,
) -> Result<Json<Relayed>, Fault> {
    let sponsor = sponsor(&app)?;
    let who = app.auth.account(&headers, &method).await?;
    let bytes = STANDARD.decode(&request.signed_delegate_action).map_err(|error| Fault::bad("delegate_malformed", error))?;
    let delegated = Delegated::read(&bytes).map_err(|error| Fault::bad("delegate_malformed", error))?;
    let outcome = sponsor.relay(delegated, &who).await?;
    Ok(Json(Relayed { hash: outcome.hash, signer: sponsor.info().account.clone() }))
}
