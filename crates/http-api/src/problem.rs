//! Problems as RFC 9457 describes them, each with a stable code.

use serde::{Deserialize, Serialize};

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:starling/CODE`: names the kind of problem for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, whether money is safe, and what to do next.
    pub detail: String,
    /// Stable code in snake case, such as `login_expired`.
    pub code: String,
    /// Names this one occurrence in the logs.
    pub id: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.title, self.detail, self.code)
    }
}

impl std::error::Error for Problem {}
