//! Runs as the coordinator prepares and shows them.

use serde::{Deserialize, Serialize};
use starling_primitives::{Amount, Asset, AssetName, DurationMs, Hash32, NodeId, Signature, TimestampMs};
use starling_protocol::{
    price::Quote,
    run::{Run, RunTerms},
    signing::{RoundStatement, SignedCommitment},
};

/// A ready recipe with what a person needs to choose it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipePreset {
    /// Its name, such as `rust-small`.
    pub name: String,
    /// What it is for.
    pub title: String,
    /// The recipe itself, in TOML.
    pub recipe: String,
    /// The same with adapters, for a run that leaves the model it starts from as it is; nothing for what is no transformer.
    pub adapting: Option<String>,
    /// What it trains on.
    pub data: DataKind,
    /// Parameters of the model.
    pub parameters: u64,
    /// Rounds.
    pub rounds: u32,
    /// Tokens that each node is assigned in a round.
    pub tokens_per_round: u32,
    /// Fields with their values and what they mean, for people.
    pub explained: Vec<ExplainedField>,
}

/// What a model trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// Running text: any file, of which the last tenth is held out.
    Text,
    /// Texts with classes: CSV or JSON lines.
    LabelledTexts,
    /// Numbers with classes: CSV.
    Table,
    /// Images in a zip or tar whose folders name their classes.
    Images,
}

/// One field of a recipe in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedField {
    /// Dotted name, such as `optimizer.learning_rate`.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What it does.
    pub meaning: String,
}

/// What training starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Base {
    /// Fresh weights by the recipe's seed.
    Fresh,
    /// The weights of an artifact in safetensors that the tenant may read.
    Model {
        /// Its hash.
        model: Hash32,
        /// The listing it comes from, for the lineage.
        name: Option<AssetName>,
    },
}

/// Asks to have a run made ready: recipe checked, data read, base state made by a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareRun {
    /// The recipe in TOML; 64 KiB at most.
    pub recipe: String,
    /// Whether columns, channels and classes of its model are made those of the data; else other data is refused.
    #[serde(default)]
    pub fit: bool,
    /// Training data, an uploaded artifact.
    pub data: Hash32,
    /// Held-out data, an uploaded artifact; when left out the last tenth of the data is split off.
    pub held_out: Option<Hash32>,
    /// What training starts from.
    pub base: Base,
    /// At most so many nodes.
    pub max_nodes: u16,
    /// At least so many.
    pub min_nodes: u16,
    /// The most that a million accepted tokens may cost; offers above are left out.
    pub price_per_million_tokens: Amount,
    /// The key that will co-sign rounds.
    pub meter: starling_primitives::PublicKey,
    /// Federated averaging: each node trains on the data that its owner keeps under this name, and `data` is a sample that updates are scored on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federated: Option<String>,
    /// Nodes train on while a fragment of the model is exchanged; the recipe may say so itself, and how.
    #[serde(default)]
    pub overlap: bool,
}

/// A run that is ready to be paid: pass `terms` to `billing.pay` unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedRun {
    /// The terms to pay for.
    pub terms: RunTerms,
    /// What it costs at most, by the code the contract runs.
    pub quote: Quote,
    /// Trainable parameters.
    pub parameters: u64,
    /// Memory that a node needs, as the node computed it.
    pub memory_bytes: u64,
    /// Connected nodes whose offers take this price.
    pub willing_nodes: Vec<NodeId>,
    /// How long it will take by the measured rates, if any were measured.
    pub expected_duration: Option<DurationMs>,
}

impl PreparedRun {
    /// What of the terms is not as it was asked for, if anything: whoever prepared the run chose all of them, and they are paid
    /// as they stand. Recipe and base were made of the request; who has the recipe compares them too.
    #[must_use]
    pub fn deviation(&self, asked: &PrepareRun) -> Option<&'static str> {
        let terms = &self.terms;
        let kept = [
            ("price", terms.price_per_million_tokens <= asked.price_per_million_tokens && terms.asset == Asset::Near),
            ("number of nodes", terms.min_nodes == asked.min_nodes && terms.max_nodes <= asked.max_nodes),
            ("choice of nodes", terms.invited.is_empty()),
            ("key that signs", terms.meter == asked.meter && terms.delegate.is_none()),
            ("data", asked.held_out.is_none_or(|held_out| (terms.data, terms.held_out) == (asked.data, held_out))),
        ];
        kept.into_iter().find(|(_, kept)| !kept).map(|(what, _)| what)
    }
}

/// A run: what the chain says, and what the nodes send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The chain's record.
    pub run: Run,
    /// Earned so far, before the fee.
    pub earned: Amount,
    /// Nodes by place in the roster.
    pub members: Vec<MemberView>,
    /// On held-out data: before training, and the last figure.
    pub held_out: Option<(HeldOut, HeldOut)>,
    /// Accepted tokens a second over the last round.
    pub tokens_per_second: Option<f64>,
    /// Bytes of updates that went through the coordinator so far.
    pub bytes_exchanged: u64,
    /// What came out, once it ended.
    pub result: Option<RunResult>,
    /// Checkpoint of the last paid state root: an artifact that the tenant may read.
    pub checkpoint: Option<Hash32>,
    /// Plain words on what happens now or why it ended.
    pub sentence: String,
    /// When this was put together.
    pub at: TimestampMs,
}

/// A member of the roster as seen by the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    /// The node.
    pub node_id: NodeId,
    /// What it does: `training`, `committed`, `scoring`, `signing`, `waiting`, `lost`.
    pub activity: String,
    /// Inner step within the round.
    pub step: u32,
    /// Its last training loss, in nats a token or example.
    pub loss: Option<f64>,
    /// Tokens a second, by its own count of the last steps.
    pub tokens_per_second: Option<f64>,
    /// Accepted tokens so far, by the chain.
    pub accepted_tokens: u64,
    /// The last sign of life.
    pub heard_at: Option<TimestampMs>,
}

/// The loss of a model on data that it is not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The mean of -log2 of the chance that the model gives to what is right.
    pub bits: f64,
    /// What that is the mean over.
    pub per: LossUnit,
}

impl HeldOut {
    /// With three decimals and its unit.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{:.3} {}", self.bits, self.per.words())
    }
}

/// What a held-out loss counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossUnit {
    /// A byte of text, whatever the tokens are.
    Byte,
    /// A token that the model fills in.
    Token,
    /// A text, row or image whose class the model tells.
    Example,
}

impl LossUnit {
    /// The unit of a loss in bits.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Byte => "bits a byte",
            Self::Token => "bits a token",
            Self::Example => "bits an example",
        }
    }
}

/// A point of the curves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "curve")]
pub enum MetricPoint {
    /// A node's training loss.
    Train {
        /// Which node.
        node_id: NodeId,
        /// Inner step since the start of the run.
        step: u64,
        /// Nats a token or example.
        loss: f64,
        /// The learning rate that the node made the step with; nothing where it was recorded before nodes' rates were.
        #[serde(default)]
        learning_rate: Option<f64>,
        /// When.
        at: TimestampMs,
    },
    /// Held-out loss after a round.
    HeldOut {
        /// After which round.
        round: u32,
        /// Inner step since the start of the run.
        step: u64,
        /// Of the whole model.
        loss: HeldOut,
        /// When.
        at: TimestampMs,
    },
}

/// How many losses came since the least: what says that a run has nothing left to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SinceLeast {
    least: f64,
    count: u32,
}

impl Default for SinceLeast {
    fn default() -> Self {
        Self { least: f64::INFINITY, count: 0 }
    }
}

impl SinceLeast {
    /// Takes a loss.
    #[must_use]
    pub fn after(self, loss: f64) -> Self {
        if loss < self.least { Self { least: loss, count: 0 } } else { Self { count: self.count.saturating_add(1), ..self } }
    }

    /// Losses since the least.
    pub fn count(self) -> u32 {
        self.count
    }
}

/// What is new on a run's curves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// In the order in which they came; of many the last 50,000.
    pub points: Vec<MetricPoint>,
    /// Asked with `?after=` this, the next answer holds only what came since.
    pub last: u64,
}

/// A round that counted, or the one under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundView {
    /// Counted from 0.
    pub round: u32,
    /// What was signed, once it was.
    pub statement: Option<RoundStatement>,
    /// Artifact hash of the round record.
    pub record: Option<Hash32>,
    /// Artifact hash of each place's update, where one was accepted.
    pub updates: Vec<Option<Hash32>>,
    /// What each place's update was refused for, where it was.
    pub refused: Vec<Option<String>>,
    /// What the drawn node measured of each place's update, where it could be.
    #[serde(default)]
    pub scores: Vec<Option<ScoreView>>,
    /// What each place committed to before anyone's update was seen, where it did in time.
    #[serde(default)]
    pub commitments: Vec<Option<SignedCommitment>>,
    /// Whether it took back the step of the round before it, which had raised the loss out of line.
    #[serde(default)]
    pub rolled_back: bool,
    /// Bytes of updates in this round.
    pub bytes: u64,
    /// Hash of the transaction that made it count.
    pub tx: Option<String>,
    /// When it counted.
    pub at: Option<TimestampMs>,
}

/// How much the loss falls at a fifth of an update, in nats a token or example. An update that does no work lowers neither.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreView {
    /// On the data that its node was assigned in this round.
    pub own: f64,
    /// On data that nobody was assigned in this round.
    pub unseen: f64,
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// `model.safetensors`, with recipe and state root in its metadata.
    pub model: Hash32,
    /// Its size.
    pub model_bytes: u64,
    /// `config.json`.
    pub config: Hash32,
    /// Where the run trained adapters: those alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Adapters>,
    /// State root that it was made from.
    pub state_root: Hash32,
    /// On held-out data, before and after.
    pub held_out: (HeldOut, HeldOut),
    /// What else the held-out data says, by the kind of the model.
    pub findings: Findings,
    /// Which node made this.
    pub node_id: NodeId,
}

/// What a run of adapters trained, in PEFT's file layout; the model is the one that they are for, with these merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapters {
    /// `adapter_model.safetensors`.
    pub weights: Hash32,
    /// `adapter_config.json`.
    pub config: Hash32,
    /// The `model.safetensors` that they are for.
    pub base: Hash32,
}

/// What held-out data says of a finished model besides its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Findings {
    /// A model that writes text.
    Text {
        /// Bits per byte of simple models on the same text.
        baselines: Baselines,
        /// The beginning of the held-out text and what the model writes after it.
        sample: String,
    },
    /// A model that fills in masked tokens.
    Masked,
    /// A model that tells classes apart.
    Classes(ClassFigures),
}

/// What a classifier does on held-out examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// What the examples are.
    pub of: DataKind,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Examples.
    pub examples: u64,
    /// Share that is right.
    pub accuracy: Interval,
    /// The mean over classes of the harmonic mean of precision and recall.
    pub macro_f1: Interval,
    /// The chance that an example of a class is ranked above one that is not; nothing where a class has no example.
    pub auroc: Option<Interval>,
    /// Expected calibration error: how far stated chances are from what happens.
    pub calibration_error: Interval,
    /// `confusion[truth][said]` examples.
    pub confusion: Vec<Vec<u64>>,
}

impl ClassFigures {
    /// Macro-F1, AUROC and calibration error in a line.
    #[must_use]
    pub fn words(&self) -> String {
        let auroc = self.auroc.map_or_else(String::new, |auroc| format!("AUROC {}, ", auroc.words()));
        format!("macro-F1 {}, {auroc}calibration error {}", self.macro_f1.words(), self.calibration_error.words())
    }
}

/// A figure and the middle 95 % of its bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// On all examples.
    pub value: f64,
    /// 2.5 % of resamplings are below.
    pub low: f64,
    /// 2.5 % of resamplings are above.
    pub high: f64,
}

impl Interval {
    /// With three decimals.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{:.3} ({:.3} to {:.3})", self.value, self.low, self.high)
    }
}

/// Bits per byte of the uniform model and of interpolated Kneser-Ney models over bytes, on the same held-out text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// 8.
    pub uniform: f64,
    /// Kneser-Ney over pairs.
    pub bigram: f64,
    /// Kneser-Ney over triples.
    pub trigram: f64,
}

/// A round's statement that enough nodes signed and the meter has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingStatement {
    /// What to sign, in the role of meter.
    pub statement: RoundStatement,
    /// Artifact hash of the round record whose digest the statement names.
    pub record: Hash32,
    /// Artifact hashes of the accepted updates by place.
    pub updates: Vec<Option<Hash32>>,
    /// Artifact of the outer state before this round.
    pub before: Hash32,
}

/// The meter's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterSignature {
    /// The round.
    pub round: u32,
    /// By the meter's key.
    pub signature: Signature,
}

/// News of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// The run changed; also sent first.
    Changed {
        /// The run now.
        view: Box<RunView>,
    },
    /// A new point of a curve.
    Metric {
        /// The point.
        point: MetricPoint,
    },
    /// A round changed.
    Round {
        /// The round now.
        round: Box<RoundView>,
    },
    /// The meter is asked to sign.
    StatementReady {
        /// What to sign.
        pending: Box<PendingStatement>,
    },
    /// A line of log for people.
    Log {
        /// When.
        at: TimestampMs,
        /// Which node, if one is concerned.
        node_id: Option<NodeId>,
        /// What happened.
        line: String,
    },
}
