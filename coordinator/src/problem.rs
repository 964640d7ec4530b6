//! Problems: every refusal as RFC 9457 JSON with a stable code. The one place where an error becomes an HTTP answer.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use starling_http_api::problem::Problem;
use std::fmt::Display;

/// A node's words at a length that fits a line.
pub fn one_line(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(300).collect()
}

/// A refusal on its way to an answer.
#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    passes: bool,
}

impl Fault {
    /// A refusal with its stable code, its kind in a few words, and what happened and what to do.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Display) -> Self {
        Self { status, code, title, detail: detail.to_string(), passes: false }
    }

    /// Nothing was done, and the same request will be taken in a moment: it may be sent again by itself.
    pub fn passing(code: &'static str, detail: impl Display) -> Self {
        Self { passes: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "Not at the moment", detail) }
    }

    /// The request is not understood.
    pub fn bad(code: &'static str, detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "The request is not understood", detail)
    }

    /// Nothing is there, or it is not for this caller: the two are not told apart.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", format_args!("There is no {what} here that you may see."))
    }

    /// Nobody is logged in.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "login_needed",
            "Sign in first",
            "This needs a session. Sign in with your wallet and try again.",
        )
    }

    /// Something here failed; what, stands in the log.
    pub fn internal(error: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something failed here", error)
    }

    /// The chain does not answer.
    pub fn chain(error: impl Display) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "chain_unreachable",
            "The chain does not answer",
            format_args!("{error}. No money has moved. Try again in a moment."),
        )
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let id = crate::secret::random_hex::<8>();
        let detail = if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(id, error = %self.detail, "a request failed");
            format!("Nothing was lost and no money has moved. Try again; if it stays, tell the operator this number: {id}.")
        } else {
            tracing::debug!(id, code = self.code, detail = %self.detail, "a request was refused");
            self.detail
        };
        let problem = Problem {
            kind: format!("about:starling/{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail,
            code: self.code.to_owned(),
            id,
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.passes {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<crate::db::DbError> for Fault {
    fn from(error: crate::db::DbError) -> Self {
        if error.is_passing() {
            tracing::warn!(%error, "a request found no database");
            return Self::passing("database_away", "The database of this service does not answer. Try again in a few seconds.");
        }
        Self::internal(error)
    }
}

impl From<starling_contract_api::rpc::RpcError> for Fault {
    fn from(error: starling_contract_api::rpc::RpcError) -> Self {
        Self::chain(error)
    }
}

impl From<crate::artifacts::ArtifactError> for Fault {
    fn from(error: crate::artifacts::ArtifactError) -> Self {
        use crate::artifacts::ArtifactError as E;
        match &error {
            E::WrongManifest(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "hash_mismatch", "The upload is not what its name says", error)
            }
            E::Damaged { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "chunk_damaged", "A chunk was damaged on its way", error),
            E::Incomplete(_) => Self::new(StatusCode::CONFLICT, "upload_incomplete", "The upload is not whole", error),
            E::NoUpload(_) => Self::new(StatusCode::CONFLICT, "upload_unknown", "No upload is under way", error),
            E::BeingRemoved(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "artifact_going", "Try again in a moment", error),
            E::TooManyUploads => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", "Too many uploads are open", error),
            E::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "artifact_too_large", "The upload is too large", error),
            E::Quota { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", "Your storage is full", error),
            E::Missing(_) => Self::not_found("artifact"),
            E::Db(_) => match error {
                E::Db(error) => error.into(),
                other => Self::internal(other),
            },
            E::HashMismatch { .. } | E::Settings(_) | E::Store(_) => Self::internal(error),
        }
    }
}
