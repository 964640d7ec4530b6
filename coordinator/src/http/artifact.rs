//! Artifacts up and down. What a caller may not read looks like what is not there.

use super::{
    App,
    extract::{JsonBody, Path},
};
use crate::{
    artifacts::{ArtifactError, Who},
    chain::observe::read_listings,
    problem::Fault,
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt as _;
use starling_http_api::artifact::{CHUNK_BYTES, Manifest, Stored, UploadState};
use starling_primitives::Hash32;
use std::{ops::Range, time::Duration};

/// How long the bytes of one chunk may take to arrive.
const CHUNK_TIME: Duration = Duration::from_secs(120);

/// Who brings bytes, and how many they may keep here.
async fn bringer(app: &App, headers: &HeaderMap, method: &Method) -> Result<(String, u64), Fault> {
    let who = app.auth.who(headers, method).await?;
    let limits = &app.config.limits;
    let quota = if matches!(who, Who::Node(_)) { limits.node_bytes } else { limits.account_bytes };
    Ok((who.owner().ok_or_else(Fault::unauthorized)?, quota))
}

pub(super) async fn begin(
    State(app): State<App>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
    JsonBody(manifest): JsonBody<Manifest>,
) -> Result<Json<UploadState>, Fault> {
    let hash = parse(&hash)?;
    let (owner, quota) = bringer(&app, &headers, &method).await?;
    Ok(Json(app.tools.artifacts.begin(hash, &manifest, &owner, quota).await?))
}

pub(super) async fn put_chunk(
    State(app): State<App>,
    Path((hash, number)): Path<(String, u32)>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Fault> {
    let hash = parse(&hash)?;
    let (owner, _) = bringer(&app, &headers, &method).await?;
    let _permit = app.uploads.acquire().await.map_err(Fault::internal)?;
    let bytes = receive(&headers, body).await?;
    app.tools.artifacts.put_chunk(hash, number, bytes, &owner).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn finish(
    State(app): State<App>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Json<Stored>, Fault> {
    let hash = parse(&hash)?;
    let (owner, _) = bringer(&app, &headers, &method).await?;
    Ok(Json(app.tools.artifacts.finish(hash, &owner).await?))
}

pub(super) async fn put(
    State(app): State<App>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Fault> {
    let hash = parse(&hash)?;
    let (owner, quota) = bringer(&app, &headers, &method).await?;
    let _permit = app.uploads.acquire().await.map_err(Fault::internal)?;
    let bytes = receive(&headers, body).await?;
    Ok(Json(app.tools.artifacts.put_small(hash, bytes, &owner, quota).await?))
}

/// Gives up what the caller owns of an artifact; its bytes go when nothing else needs them.
pub(super) async fn disown(
    State(app): State<App>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    let hash = parse(&hash)?;
    let (owner, _) = bringer(&app, &headers, &method).await?;
    app.tools.db.end_upload(&owner, hash).await?;
    if app.tools.db.disown_artifact(hash, &owner).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Fault::not_found("artifact")) }
}

pub(super) async fn manifest(
    State(app): State<App>,
    Path(hash): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Json<Manifest>, Fault> {
    let hash = parse(&hash)?;
    let who = app.auth.who(&headers, &method).await?;
    if app.tools.artifacts.bytes(hash).await?.is_none() || !may_read(&app, &who, hash).await? {
        return Err(Fault::not_found("artifact"));
    }
    Ok(Json(app.tools.artifacts.manifest(hash).await?))
}

/// One request's bytes: a chunk at most, within a time.
async fn receive(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let limit = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    let broken = |error: &dyn std::fmt::Display| Fault::bad("upload_broken", format_args!("the upload broke off: {error}"));
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0_usize).min(limit));
    if announced.is_some_and(|announced| announced > limit) {
        return Err(ArtifactError::TooLarge.into());
    }
    let mut stream = body.into_data_stream();
    let receiving = async {
        while let Some(part) = stream.try_next().await.map_err(|error| broken(&error))? {
            if bytes.len().saturating_add(part.len()) > limit {
                return Err(ArtifactError::TooLarge.into());
            }
            bytes.extend_from_slice(&part);
        }
        Ok::<(), Fault>(())
    };
    tokio::time::timeout(CHUNK_TIME, receiving).await.map_err(|_| broken(&"its bytes came too slowly"))??;
    Ok(bytes.into())
}

pub(super) async fn get(State(app): State<App>, Path(hash): Path<String>, method: Method, headers: HeaderMap) -> Result<Response, Fault> {
    let hash = parse(&hash)?;
    let who = app.auth.who(&headers, &method).await?;
    let bytes = app.tools.artifacts.bytes(hash).await?.ok_or_else(|| Fault::not_found("artifact"))?;
    if !may_read(&app, &who, hash).await? {
        return Err(Fault::not_found("artifact"));
    }
    // The name is the strongest validator there is: a range of something else is of no use to the asker (RFC 9110, 13.1.5).
    let tag = format!("\"{hash}\"");
    let same = headers.get(header::IF_RANGE).is_none_or(|wanted| wanted.as_bytes() == tag.as_bytes());
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).filter(|_| same);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
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
        .header(header::ETAG, tag)
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
    /// Not bytes, several ranges, or of nothing: answered whole, as RFC 9110 allows.
    Other,
}

fn parse_range(text: &str, bytes: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").filter(|list| !list.contains(',')).and_then(|range| range.split_once('-')) else {
        return Asked::Other;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        _ if bytes == 0 => return Asked::Other,
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Ok(first), Err(_)) if last.is_empty() => first..bytes,
        (Err(_), Ok(suffix)) if first.is_empty() => bytes.saturating_sub(suffix)..bytes,
        _ => return Asked::Other,
    };
    if range.start >= range.end { Asked::Outside } else { Asked::Part(range) }
}
