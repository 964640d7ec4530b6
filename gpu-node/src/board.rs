//! What the session shows to the owner: whether it is connected, and what is under way.

use starling_primitives::TimestampMs;
use std::sync::{Mutex, PoisonError};

/// Shared between the session, which writes, and those who show it.
#[derive(Debug)]
pub(crate) struct Board {
    /// When the program started.
    pub(crate) started_at: TimestampMs,
    now: Mutex<(bool, Vec<String>)>,
}

impl Board {
    pub(crate) fn new(started_at: TimestampMs) -> Self {
        Self { started_at, now: Mutex::default() }
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 = connected;
    }

    pub(crate) fn set_work(&self, work: Vec<String>) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1 = work;
    }

    /// Whether it is connected, and its tasks by name.
    pub(crate) fn shown(&self) -> (bool, Vec<String>) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
