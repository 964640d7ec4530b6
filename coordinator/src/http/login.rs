//! Login, logout, session.

use super::{App, extract::JsonBody};
use crate::problem::Fault;
use axum::{
    Extension, Json,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::IntoResponse,
};
use starling_http_api::login::{Challenge, ChallengeRequest, LoginRequest, SessionInfo};
use std::net::SocketAddr;

pub(super) async fn challenge(
    State(app): State<App>,
    from: Option<Extension<ConnectInfo<SocketAddr>>>,
    JsonBody(request): JsonBody<ChallengeRequest>,
) -> Result<Json<Challenge>, Fault> {
    let from = from.map(|Extension(ConnectInfo(address))| address.ip());
    Ok(Json(app.auth.challenge(request.account_id.as_ref(), from).await?))
}

pub(super) async fn login(State(app): State<App>, JsonBody(request): JsonBody<LoginRequest>) -> Result<impl IntoResponse, Fault> {
    let session = app.auth.login(&request).await?;
    Ok(([(header::SET_COOKIE, app.auth.cookie(Some(&session)))], Json(session)))
}

pub(super) async fn logout(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<(StatusCode, [(HeaderName, String); 1]), Fault> {
    app.auth.logout(&headers, &method).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, app.auth.cookie(None))]))
}

pub(super) async fn logout_everywhere(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
) -> Result<(StatusCode, [(HeaderName, String); 1]), Fault> {
    app.auth.logout_everywhere(&headers, &method).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, app.auth.cookie(None))]))
}

pub(super) async fn session(State(app): State<App>, method: Method, headers: HeaderMap) -> Result<Json<SessionInfo>, Fault> {
    let (account_id, expires_at) = app.auth.session(&headers, &method).await?.ok_or_else(Fault::unauthorized)?;
    Ok(Json(SessionInfo { account_id, expires_at }))
}
