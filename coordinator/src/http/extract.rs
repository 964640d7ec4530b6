//! Extractors whose refusals are problems like all others.

use crate::problem::Fault;
use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
};
use serde::de::DeserializeOwned;
use std::fmt::Display;

/// A JSON body, whose records are objects as the API's document says, and not lists of their fields.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let named = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !named.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Fault::bad("body_malformed", "Send the body as `Content-Type: application/json`."));
        }
        let bytes = Bytes::from_request(request, state).await?;
        read_json(&bytes).map(Self)
    }
}

/// Reads a body as [`JsonBody`] does.
pub(super) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let read: Result<T, Malformed> = starling_json::read(bytes);
    read.map_err(|error| Fault::bad("body_malformed", format!("The body is not what was expected: {error}.")))
}

/// What is wrong with a body, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Malformed(String);

impl starling_json::Fault for Malformed {
    fn at(wanted: &'static str, position: usize) -> Self {
        Self(format!("{wanted} is missing at byte {position}"))
    }
}

impl serde::de::Error for Malformed {
    fn custom<T: Display>(words: T) -> Self {
        Self(words.to_string())
    }
}

impl serde::ser::Error for Malformed {
    fn custom<T: Display>(words: T) -> Self {
        Self(words.to_string())
    }
}

/// Values in the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Fault))]
pub(super) struct Path<T>(pub(super) T);

/// Values in the query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Fault))]
pub(super) struct Query<T>(pub(super) T);

impl From<BytesRejection> for Fault {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request is too large", rejection.body_text())
            }
            _ => Self::bad("body_malformed", rejection.body_text()),
        }
    }
}

impl From<PathRejection> for Fault {
    fn from(rejection: PathRejection) -> Self {
        Self::bad("path_malformed", rejection.body_text())
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad("query_malformed", rejection.body_text())
    }
}
