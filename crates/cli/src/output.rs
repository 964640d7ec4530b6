//! What a person or a program sees: lines and bars on a terminal, JSON lines with `--json`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// One line for people; with `--json` an object with `event` and the given fields.
    pub(crate) fn say(self, event: &str, fields: &Value, line: &str) {
        let line = if self.json {
            let mut object = json!({ "event": event });
            if let (Some(object), Some(fields)) = (object.as_object_mut(), fields.as_object()) {
                object.extend(fields.clone());
            }
            object.to_string()
        } else {
            line.to_owned()
        };
        // A closed pipe ends nobody's run.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// A line for people only.
    pub(crate) fn note(self, line: &str) {
        if !self.json {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    /// A bar over `length` steps; silent with `--json` or without a terminal.
    pub(crate) fn bar(self, length: u64, template: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), self.target());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar
    }

    /// A spinner for a wait of unknown length.
    pub(crate) fn spinner(self, message: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, self.target());
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn target(self) -> ProgressDrawTarget {
        if self.json || !std::io::stderr().is_terminal() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
    }
}
