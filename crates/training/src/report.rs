//! What came out of a training: figures with their uncertainty, and curves, as JSON and as one page that needs nothing else.

mod figures;
mod page;

use serde_json::{Value, json};

pub(crate) use figures::bootstrap;
pub use figures::{Calibration, Classification, Interval, classification};

/// One point of a curve.
pub(crate) type Point = (f64, f64);

/// A finished training.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The recipe's name.
    pub name: String,
    /// What the model is, in a sentence.
    pub model: String,
    /// Whether the data was generated: figures on it say nothing about the world.
    pub synthetic: bool,
    /// What the data is, in a sentence.
    pub data: String,
    /// Inner steps made, and how many of them were withdrawn.
    pub steps: (u64, u64),
    /// Whether it ended before its last step, because measurements got no better.
    pub stopped_early: bool,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Peak memory by the estimate, in bytes.
    pub memory_needed: u64,
    /// Loss of each step by its number, in nats.
    pub losses: Vec<(f64, f64)>,
    /// Loss on the validation data by step, in nats.
    pub validation: Vec<(f64, f64)>,
    /// On the hidden data, once, at the end.
    pub outcome: Outcome,
}

/// What the hidden data says.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A model of text.
    Text {
        /// Bits per byte, with the interval of a bootstrap over windows.
        bits_per_byte: Interval,
        /// Of a Kneser-Ney model of one byte before, on the same bytes.
        bigram: f64,
        /// Of one of two bytes before.
        trigram: f64,
        /// A text that the model wrote.
        sample: String,
    },
    /// A model that fills in masked tokens.
    Masked {
        /// Bits per masked token, with the interval of a bootstrap over windows.
        bits_per_token: Interval,
    },
    /// A classifier.
    Classes(Classification),
}

impl Report {
    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let outcome = match &self.outcome {
            Outcome::Text { bits_per_byte, bigram, trigram, sample } => {
                json!({ "kind": "text", "bits_per_byte": bits_per_byte.to_json(), "bigram": bigram, "trigram": trigram, "sample": sample })
            }
            Outcome::Masked { bits_per_token } => json!({ "kind": "masked", "bits_per_token": bits_per_token.to_json() }),
            Outcome::Classes(classes) => classes.to_json(),
        };
        json!({
            "report": 1,
            "name": self.name,
            "model": self.model,
            "synthetic": self.synthetic,
            "data": self.data,
            "steps": self.steps.0,
            "withdrawn_steps": self.steps.1,
            "stopped_early": self.stopped_early,
            "seconds": self.seconds,
            "memory_needed_bytes": self.memory_needed,
            "losses": self.losses,
            "validation": self.validation,
            "outcome": outcome,
        })
    }

    /// The report as one HTML page with its curves as SVG: no script, no font, no file besides.
    #[must_use]
    pub fn to_html(&self) -> String {
        page::page(self)
    }

    /// The outcome in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.outcome {
            Outcome::Text { bits_per_byte, bigram, trigram, .. } => {
                format!("{bits_per_byte} bits a byte on hidden text (Kneser-Ney bigram {bigram:.3}, trigram {trigram:.3})")
            }
            Outcome::Masked { bits_per_token } => format!("{bits_per_token} bits a masked token of hidden text"),
            Outcome::Classes(classes) => format!(
                "macro-F1 {}, AUROC {}, calibration error {} on {} hidden examples",
                classes.macro_f1, classes.auroc, classes.calibration.error, classes.examples
            ),
        }
    }
}
