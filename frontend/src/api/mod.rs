//! What the dashboard talks to: the chain by its RPC, the coordinator by fetch, the wallet by its bundle.

pub(crate) mod chain;
pub(crate) mod coordinator;
pub(crate) mod meter;
pub(crate) mod pay;
pub(crate) mod receipt;
pub(crate) mod session;
pub(crate) mod tokens;
pub(crate) mod wallet;

use starling_http_api::problem::Problem;

/// What went wrong, in words a person can act on, with a code to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) code: String,
}

impl Failure {
    pub(crate) fn new(code: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), code: code.to_owned() }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            what: format!("{}. {}", problem.title.trim_end_matches('.'), problem.detail),
            code: format!("{} {}", problem.code, problem.id),
        }
    }
}

pub(crate) type Outcome<T> = Result<T, Failure>;

/// Reads JSON. All that comes from outside goes this one way: the code that reads a record is then in the module once.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}
