//! What a lease makes a node do, as an artifact in JSON.

use serde::{Deserialize, Serialize};
use starling_primitives::Hash32;

pub use starling_scripts::{Exit, ExitReason, MAX_REPORT_BYTES, Metric, OutputFile, Report, Resources, Script};

/// The most new tokens of one generation.
pub const MAX_NEW_TOKENS: u32 = 100_000;
/// The most texts of one classification.
pub const MAX_TEXTS: usize = 100;
/// The most bytes of all of them.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;
/// The most pictures of one classification.
pub const MAX_PICTURES: usize = 100;
/// The most bytes of a picture's file.
pub const MAX_PICTURE_BYTES: u64 = 8 << 20;
/// The most bytes of a picture's name.
const MAX_NAME_BYTES: usize = 200;

/// A metered job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JobSpec {
    /// Continues a prompt with a model.
    Generate(Generate),
    /// Sorts texts or pictures into a model's classes; the lease's output is a [`Classified`] in JSON.
    Classify(Classify),
    /// Runs a declarative research tool on a model.
    Tool {
        /// Artifact hash of a [`ToolSpec`] in JSON; the tenant must hold its licence.
        tool: Hash32,
        /// Artifact hash of the model's `model.safetensors`.
        model: Hash32,
    },
    /// Runs a tenant's script in the node's sandbox; the lease's output is a [`Report`] in JSON.
    Script(Script),
}

/// How to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Artifact hash of the model's `model.safetensors` (its metadata holds the recipe).
    pub model: Hash32,
    /// Text to continue; 8 KiB at most.
    pub prompt: String,
    /// How many tokens at most.
    pub max_new_tokens: u32,
    /// 0 takes the likeliest each time.
    pub temperature: f32,
    /// Only among this many likeliest; 0 for all.
    pub top_k: u32,
    /// Makes it repeatable.
    pub seed: u64,
}

/// What to sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classify {
    /// Artifact hash of a classifying model's `model.safetensors` (its metadata holds recipe, classes and tokenizer).
    pub model: Hash32,
    /// 1 to [`MAX_TEXTS`] texts or rows, none empty, of [`MAX_TEXT_BYTES`] together at most; none where pictures are sorted.
    #[serde(default)]
    pub texts: Vec<String>,
    /// 1 to [`MAX_PICTURES`] pictures in place of texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureFile>,
}

/// A picture to sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureFile {
    /// What its tenant calls it; 200 bytes at most.
    pub name: String,
    /// Artifact hash of the PNG, PGM or PPM; [`MAX_PICTURE_BYTES`] at most.
    pub file: Hash32,
}

impl Classify {
    /// Whether there are texts or pictures, not both, and their number and length are within the limits.
    pub fn is_within_limits(&self) -> bool {
        let bytes: usize = self.texts.iter().map(String::len).sum();
        let texts = (1..=MAX_TEXTS).contains(&self.texts.len()) && bytes <= MAX_TEXT_BYTES && !self.texts.iter().any(String::is_empty);
        let named = self.pictures.iter().all(|picture| (1..=MAX_NAME_BYTES).contains(&picture.name.len()));
        let pictures = (1..=MAX_PICTURES).contains(&self.pictures.len()) && named;
        if self.pictures.is_empty() { texts } else { pictures && self.texts.is_empty() }
    }

    /// What is sorted, in the order of the answer: texts or rows, or the pictures' names.
    pub fn asked(&self) -> Vec<String> {
        if self.pictures.is_empty() { self.texts.clone() } else { self.pictures.iter().map(|picture| picture.name.clone()).collect() }
    }
}

/// What a classification gave, as the lease's output in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classified {
    /// The model's classes.
    pub classes: Vec<String>,
    /// For each text or picture, in order, the probability of each class, in their order.
    pub probabilities: Vec<Vec<f64>>,
}

/// A research tool: prompts and an evaluation, never code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSpec {
    /// Format version: 1.
    pub version: u32,
    /// The probes; 1 to 64.
    pub probes: Vec<Probe>,
}

/// One probe of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Text given to the model; 4 KiB at most.
    pub prompt: String,
    /// What is measured.
    pub measure: Measure,
}

/// What a probe measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Measure {
    /// Mean bits per byte that the model needs for this continuation.
    BitsPerByte {
        /// The continuation.
        continuation: String,
    },
    /// Whether the model finds the first continuation likelier than each other.
    Prefers {
        /// The right one.
        right: String,
        /// Wrong ones; 1 to 8.
        wrong: Vec<String>,
    },
    /// A greedy continuation of this many tokens, for people to read.
    Sample {
        /// How many tokens.
        tokens: u32,
    },
}

/// What a tool's run gave, as the lease's output in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolReport {
    /// One answer for each probe, in order.
    pub answers: Vec<ProbeAnswer>,
    /// Mean of all bits-per-byte probes, if any.
    pub bits_per_byte: Option<f64>,
    /// Part of the preference probes that the model got right, if any.
    pub accuracy: Option<f64>,
}

/// What one probe gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeAnswer {
    /// Bits per byte.
    BitsPerByte(f64),
    /// Whether the right one was preferred.
    Preferred(bool),
    /// The continuation.
    Sample(String),
}
