//! Events by NEP-297: one log line for each change of state.

use crate::{env, json};
use serde::Serialize;

/// The version of all our events; a changed format takes a new one.
const VERSION: &str = "1.0.0";

/// Logs an event. `event` writes itself as `{"event": NAME, "data": {...}}` (an adjacently tagged enum); `standard` is the contract's name, as `starling-billing`.
pub fn emit(standard: &str, event: &impl Serialize) {
    let event = json::text(event);
    let fields = event.strip_prefix('{').unwrap_or_default();
    env::log_str(&format!(r#"EVENT_JSON:{{"standard":"{standard}","version":"{VERSION}",{fields}"#));
}
