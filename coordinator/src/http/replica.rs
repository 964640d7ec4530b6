//! Several programs on one database: what wants the leading one (runs, leases, nodes) is passed on to it, so that people and nodes may come to any.

use super::App;
use crate::{
    compute::{Answer, Task},
    lead::Leader,
    problem::Fault,
};
use axum::{
    Json,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch};

/// The leading program must take a connection within this.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// What the leading program's memory answers; beside it the database answers the same everywhere.
const LED: [&str; 5] = ["/api/v1/runs", "/api/v1/leases", "/api/v1/nodes", "/api/v1/offers", "/api/v1/sponsor"];
const ARTIFACTS: &str = "/api/v1/artifacts";
const FORWARDED: &str = "x-forwarded-for";

/// Marks a request that another program passed on: it goes no further.
#[derive(Clone, Copy)]
struct PassedOn;

/// Passes a request on where it wants the leading program and that is another.
pub(super) async fn pass_on(State(app): State<App>, request: Request, next: Next) -> Response {
    let leader = app.leader.borrow().to_owned();
    if leader == Leader::Here {
        return next.run(request).await;
    }
    // A request cannot be looked at while one waits.
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    match wants_leader(&app, &path, &headers).await {
        Ok(false) => next.run(request).await,
        Err(fault) => fault.into_response(),
        Ok(true) => match leader {
            Leader::At(address) if request.extensions().get::<PassedOn>().is_none() => {
                send_on(address, app.leader.clone(), request).await.unwrap_or_else(|error| no_leader(error).into_response())
            }
            _ => no_leader("no program leads at the moment").into_response(),
        },
    }
}

/// Computes for the leading program.
pub(super) async fn compute(State(app): State<App>, Json(task): Json<Task>) -> Result<Json<Answer>, Fault> {
    let run_id = task.run_id();
    let answer = app.tools.compute.here(task).await.map_err(Fault::internal)?;
    tracing::info!(run = %run_id, "computed a part of a round for the leading program");
    Ok(Json(answer))
}

/// Believes the other programs whose request it is.
pub(super) async fn take_passed_on(mut request: Request, next: Next) -> Response {
    let asker = request.headers().get(FORWARDED).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<IpAddr>().ok());
    if let Some(asker) = asker {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(asker, 0)));
    }
    request.extensions_mut().insert(PassedOn);
    next.run(request).await
}

async fn wants_leader(app: &App, path: &str, headers: &HeaderMap) -> Result<bool, Fault> {
    if path.starts_with(ARTIFACTS) {
        // A node moves bytes by the token of its connection, which the leading program has.
        let is_account = app.auth.session(headers, &Method::GET).await?.is_some();
        return Ok(!is_account && headers.contains_key(header::AUTHORIZATION));
    }
    let is_stored = path.ends_with("/metrics") || path.ends_with("/rounds");
    Ok(!is_stored && LED.iter().any(|led| path.starts_with(led)))
}

fn no_leader(error: impl std::fmt::Display) -> Fault {
    tracing::info!(%error, "a request cannot be passed on");
    let detail = "Another program is taking over the work of this service. Try again in a few seconds.";
    Fault::passing("taking_over", detail)
}

/// The answer of the leading program; what streams ends when it leads no longer.
async fn send_on(address: SocketAddr, mut leader: watch::Receiver<Leader>, mut request: Request) -> anyhow::Result<Response> {
    let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut still = leader.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = connection.with_upgrades() => {}
            _ = still.wait_for(|now| *now != Leader::At(address)) => {}
        }
    });
    let ours = request.extensions_mut().remove::<OnUpgrade>();
    let asker = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(asker)| asker.ip());
    if let Some(asker) = asker {
        request.headers_mut().insert(FORWARDED, HeaderValue::from_str(&asker.to_string())?);
    }
    if let Some(authority) = request.uri().authority().cloned() {
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
    }
    *request.uri_mut() = Uri::from(request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.version_mut() = Version::HTTP_11;
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(ours) = ours
    {
        let theirs = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else { return };
            let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs) => {}
                _ = leader.wait_for(|now| *now != Leader::At(address)) => {}
            }
        });
    }
    Ok(response.map(Body::new))
}
