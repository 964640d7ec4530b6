//! How a recipe trains: optimizers, schedule, adapters, columns of the data, evaluation.

use serde::{Deserialize, Serialize};

use super::ModelRecipe;
use crate::codec::Codec;
use crate::hash::Hash32;

/// The inner optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Which.
    #[serde(default, skip_serializing_if = "is_default")]
    pub method: OptimizerKind,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of matrices; vectors are left alone.
    pub weight_decay: f64,
}

/// Which inner optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// AdamW (arXiv:1711.05101).
    #[default]
    Adamw,
    /// Muon for the hidden layers' matrices, AdamW for the rest.
    Muon {
        /// Decay of the matrices' momentum, 0 to below 1.
        momentum: f64,
    },
}

/// A learning rate that follows accepted tokens: linear warm-up, then a decay to a floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// Learning rate after the warm-up.
    pub peak_learning_rate: f64,
    /// Learning rate of the last step.
    pub floor_learning_rate: f64,
    /// Accepted tokens of a participant until the peak.
    pub warmup_tokens: u64,
    /// What follows the warm-up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decay: DecayRecipe,
}

/// How the rate falls from its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayRecipe {
    /// Half a cosine from the end of the warm-up to the end of the run.
    #[default]
    Cosine,
    /// Stable at the peak, then in a straight line over so many last tokens (arXiv:2404.06395).
    LastTokens(u64),
}

/// Low-rank adapters (LoRA, arXiv:2106.09685) of a transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterRecipe {
    /// Rows of A.
    pub rank: u32,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// The last part of the adapted modules' names: `q_proj`, `c_attn`.
    pub targets: Vec<String>,
    /// Names of modules that are trained whole: `classifier`.
    #[serde(default)]
    pub whole: Vec<String>,
    /// Artifact hash of the model that stays as it is; set where a run over the network is made ready, so that all who take
    /// part adapt the same one. On one machine the file is given beside the recipe.
    #[serde(default, skip_serializing_if = "is_default")]
    pub base: Option<Hash32>,
}

/// Where in JSON lines and tables the text and its class stand, the other columns of a table being its features; and whose data is trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// The field of the text.
    #[serde(default = "text")]
    pub text: String,
    /// The field of the class.
    #[serde(default = "label")]
    pub label: String,
    /// Federated training (arXiv:1602.05629): each node trains on the data that its owner keeps under this name, which never leaves it.
    /// The run's own data then gives tokens, classes and scaling, and what updates are scored on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub federated: Option<String>,
}

/// When the model is measured on validation data, and when that ends the training, on one machine. A run over the network is
/// measured after each round; `starling train` stops it by the same patience, and the last weights are what it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRecipe {
    /// Inner steps between two measurements; 0 measures after each round only.
    #[serde(default)]
    pub every_steps: u32,
    /// Examples of a measurement; 0 takes all.
    #[serde(default)]
    pub examples: u32,
    /// Ends the training after so many measurements without a better one; 0 never does.
    #[serde(default)]
    pub patience: u32,
}

/// The Nesterov outer step of DiLoCo (arXiv:2311.08105), and how its updates are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterRecipe {
    /// Decay of the outer momentum, 0 to below 1.
    pub momentum: f64,
    /// The outer learning rate.
    pub learning_rate: f64,
    /// How participants write their pseudo-gradients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub codec: Codec,
    /// How many of a round's inner steps each participant makes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub inner_steps: InnerSteps,
    /// Whether participants train on while a part of the model is exchanged; nothing where each round begins with all that the last one reached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overlap: Option<OverlapRecipe>,
}

/// Fragments of the model that take turns, exchanged while the participants train on (streaming DiLoCo, arXiv:2501.18512).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlapRecipe {
    /// How many: each round exchanges one.
    pub fragments: u32,
    /// Inner steps of a round after which the fragment of the round before is merged; who has not got it then waits.
    pub merge_after_steps: u32,
    /// What of a participant's own weights stays in them then.
    pub own_share: f64,
}

/// How many inner steps each participant of a round is assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InnerSteps {
    /// All make `inner_steps_per_round`; who is slower is waited for or late.
    #[default]
    Equal,
    /// The fastest makes `inner_steps_per_round`, slower ones as many as let all end at once ([`crate::paced_steps`]; dynamic
    /// local updates, arXiv:2401.09135).
    Paced,
}

impl AdapterRecipe {
    /// Rank where nobody asks for another.
    pub const USUAL_RANK: u32 = 8;

    /// Adapters on a model's projections of queries and values (of a GPT: of all three, which are one matrix), scaled by two;
    /// nothing for what is no transformer.
    pub fn usual(model: &ModelRecipe, rank: u32) -> Option<Self> {
        let targets: &[&str] = match model {
            ModelRecipe::Gpt(_) => &["c_attn"],
            ModelRecipe::Llama(_) => &["q_proj", "v_proj"],
            ModelRecipe::Bert(_) => &["query", "value"],
            ModelRecipe::Perceptron(_) | ModelRecipe::Convolution(_) => return None,
        };
        let targets = targets.iter().map(|name| (*name).to_owned()).collect();
        Some(Self { rank, alpha: 2.0 * f64::from(rank), targets, whole: Vec::new(), base: None })
    }
}

impl OverlapRecipe {
    /// Four fragments, merged half-way and half: for half of a round nobody waits for what is under way.
    pub fn usual(inner_steps_per_round: u32) -> Self {
        Self { fragments: 4, merge_after_steps: inner_steps_per_round / 2, own_share: 0.5 }
    }
}

impl OuterRecipe {
    /// Federated averaging (arXiv:1602.05629): the weights become the mean of what the nodes reached.
    pub fn averaging(self) -> Self {
        Self { momentum: 0.0, learning_rate: 1.0, ..self }
    }
}

impl InnerSteps {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Equal, Self::Paced];

    /// The word that names it in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Paced => "paced",
        }
    }
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self { text: text(), label: label(), federated: None }
    }
}

/// Whether a field says what its absence says: then it is not written, and hashes of older recipes stay.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn text() -> String {
    "text".to_owned()
}

fn label() -> String {
    "label".to_owned()
}
