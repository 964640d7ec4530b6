//! Events by NEP-297: one log line for each change of state.

use near_sdk::env;
use serde::Serialize;

/// The version of all our events; a changed format takes a new one.
const VERSION: &str = "1.0.0";

#[derive(Serialize)]
struct Log<'a, E: Serialize> {
    standard: &'a str,
    version: &'a str,
    #[serde(flatten)]
    event: &'a E,
}

/// Logs an event. `event` writes itself as `{"event": NAME, "data": {...}}` (an adjacently tagged enum); `standard` is the contract's name, as `starling-billing`.
pub fn emit(standard: &str, event: &impl Serialize) {
    // Our events are plain records of strings and numbers, which JSON always takes.
    if let Ok(json) = serde_json::to_string(&Log { standard, version: VERSION, event }) {
        env::log_str(&format!("EVENT_JSON:{json}"));
    }
}
