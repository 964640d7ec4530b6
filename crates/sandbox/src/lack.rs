//! What a machine cannot give, and how to mend it.

/// One thing that this machine cannot give to a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {what}; {mend}")]
pub struct Lack {
    /// Which part of the sandbox.
    pub subject: &'static str,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub mend: String,
}
