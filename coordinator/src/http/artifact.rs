//! Artifacts up and down. What a caller may not read looks like what is not there.

use super::{App, extract::Path};
use crate::{artifacts::Who, chain::observe::read_listings, problem::Fault};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use starling_http_api::artifact::{MAX_BYTES, Stored};
use starling_primitives::Hash32;
use std::ops::Range;

pub(super) async fn put(
    State(app): State<App>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Fault> {
    let hash = parse(&hash)?;
    let who = app.auth.who(&headers, &method).await?;
    let (Some(owner), limits) = (who.owner(), &app.config.limits) else { return Err(Fault::unauthorized()) };
    let quota = if matches!(who, Who::Node(_)) { limits.node_bytes } else { limits.account_bytes };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_BYTES) {
        return Err(crate::artifacts::ArtifactError::TooLarge.into());
    }
    let _permit = app.uploads.acquire().await.map_err(Fault::internal)?;
    Ok(Json(app.tools.artifacts.put_stream(hash, body.into_data_stream(), &owner, quota).await?))
}

pub(super) async fn get(State(app): State<App>, Path(hash): Path<String>, method: Method, headers: HeaderMap) -> Result<Response, Fault> {
    let hash = parse(&hash)?;
    let who = app.auth.who(&headers, &method).await?;
    let bytes = app.tools.artifacts.bytes(hash).await?.ok_or_else(|| Fault::not_found("artifact"))?;
    if !may_read(&app, &who, hash).await? {
        return Err(Fault::not_found("artifact"));
    }
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, range) = match asked.map(|range| parse_range(range, bytes)) {
        None | Some(Asked::Other) => (StatusCode::OK, 0..bytes),
        Some(Asked::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Asked::Outside) => {
            let refused = Fault::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_outside",
                "Outside of the artifact",
                format_args!("The artifact has {bytes} bytes."),
            );
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{bytes}"))], refused).into_response());
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, range.end - range.start)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, format!("\"{hash}\""))
        .header(header::CACHE_CONTROL, "private, immutable, max-age=31536000")
        .header(header::CONTENT_DISPOSITION, "attachment");
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(header::CONTENT_RANGE, format!("bytes {}-{}/{bytes}", range.start, range.end - 1));
    }
    let body = if method == Method::HEAD { Body::empty() } else { Body::from_stream(app.tools.artifacts.stream(hash, range).await?) };
    response.body(body).map_err(Fault::internal)
}

/// A listing that was published or bought a moment ago may not have been read yet: look once more before saying no.
async fn may_read(app: &App, who: &Who, hash: Hash32) -> Result<bool, Fault> {
    let access = &app.tools.access;
    if access.may_read(who, hash).await? {
        return Ok(true);
    }
    if !matches!(who, Who::Account(_)) {
        return Ok(false);
    }
    let contracts = [app.config.deployment.hub.clone(), app.config.deployment.market.clone()];
    read_listings(&*app.tools.chain, &app.tools.db, &contracts).await.map_err(Fault::chain)?;
    Ok(access.may_read(who, hash).await?)
}

fn parse(hash: &str) -> Result<Hash32, Fault> {
    hash.parse().map_err(|error| Fault::bad("hash_malformed", error))
}

enum Asked {
    Part(Range<u64>),
    Outside,
    /// Not bytes, or several ranges: answered whole, as RFC 9110 allows.
    Other,
}

fn parse_range(text: &str, bytes: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").filter(|list| !list.contains(',')).and_then(|range| range.split_once('-')) else {
        return Asked::Other;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Ok(first), Err(_)) if last.is_empty() => first..bytes,
        (Err(_), Ok(suffix)) if first.is_empty() => bytes.saturating_sub(suffix)..bytes,
        _ => return Asked::Other,
    };
    if range.start >= range.end { Asked::Outside } else { Asked::Part(range) }
}
