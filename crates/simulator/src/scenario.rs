//! What is simulated: who takes part, how fast they are, who attacks, what fails.

use std::collections::BTreeSet;

use starling_rounds::{Codec, recipe::OverlapRecipe};

use crate::clock::Micros;

/// What a participant does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Its work.
    #[default]
    Honest,
    /// Its update with the sign changed.
    SignFlip,
    /// Its update times -10.
    ScaleMinusTen,
    /// Noise as long as an honest update.
    Noise,
    /// The honest mean, one and a half deviations down in each coordinate (a little is enough, arXiv:1902.06156).
    Alie,
    /// As far from the honest mean as the two honest updates farthest from each other are (min-max, NDSS 2021).
    MinMax,
    /// Half of the honest mean, turned round (inner-product manipulation, arXiv:1903.03936).
    InnerProduct,
    /// Work on text with a trigger in it, twice as long as that of others; its loss on the assigned data falls.
    Backdoor,
    /// Honest work of which it says that it was ten times as much.
    InflatedTokens,
    /// Another's update of the same round with noise of half its length, which it could only know from an accomplice.
    Copied,
    /// Half of its steps, scaled by two.
    Lazy,
    /// Work on other text than assigned.
    WrongData,
}

impl Behaviour {
    /// All that cheat or attack.
    pub const DISHONEST: [Self; 11] = [
        Self::SignFlip,
        Self::ScaleMinusTen,
        Self::Noise,
        Self::Alie,
        Self::MinMax,
        Self::InnerProduct,
        Self::Backdoor,
        Self::InflatedTokens,
        Self::Copied,
        Self::Lazy,
        Self::WrongData,
    ];

    /// A name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::SignFlip => "sign flip",
            Self::ScaleMinusTen => "scale -10",
            Self::Noise => "noise",
            Self::Alie => "ALIE",
            Self::MinMax => "min-max",
            Self::InnerProduct => "inner-product manipulation",
            Self::Backdoor => "backdoor that knows the gate",
            Self::InflatedTokens => "inflated tokens",
            Self::Copied => "copied",
            Self::Lazy => "lazy (half of the steps, times 2)",
            Self::WrongData => "wrong data",
        }
    }
}

/// One participant.
#[derive(Clone, Copy, Debug)]
pub struct Participant {
    /// What it does.
    pub behaviour: Behaviour,
    /// Time of one of its inner steps.
    pub step_us: Micros,
    /// It is there from this round on.
    pub joins_before_round: u32,
    /// It is not there from this round on.
    pub leaves_before_round: u32,
}

impl Participant {
    /// Honest, there from the first to the last round.
    pub fn honest(step_us: Micros) -> Self {
        Self { behaviour: Behaviour::Honest, step_us, joins_before_round: 0, leaves_before_round: u32::MAX }
    }
}

/// What a machine and the chain take, apart from inner steps.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Encoding, for a million parameters.
    pub encode_us: Micros,
    /// Decoding, checking and averaging one update, for a million parameters.
    pub update_us: Micros,
    /// Outer step and state root, for a million parameters.
    pub root_us: Micros,
    /// From a call to a final block, for the seed and for the round.
    pub chain_us: Micros,
}

impl Default for Costs {
    fn default() -> Self {
        // `cargo run -p starling-rounds --example speed` on one core of the proofs' machine, rounded up.
        Self { encode_us: 10_000, update_us: 10_000, root_us: 40_000, chain_us: 2_000_000 }
    }
}

/// A simulation, all of which follows from these numbers.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For tables and files.
    pub name: String,
    /// Of absences, crashes and noise; the run's own stands in its recipe.
    pub seed: u64,
    /// Rounds to simulate.
    pub rounds: u32,
    /// By place in the roster.
    pub participants: Vec<Participant>,
    /// Each trains on a part of the text that only it has.
    pub own_data: bool,
    /// How updates are written.
    pub codec: Codec,
    /// Whether slow ones get fewer steps.
    pub paced: bool,
    /// So many are absent in each round, drawn anew.
    pub absent: usize,
    /// Who is not there in which round, by place in the roster and round.
    pub away: BTreeSet<(u16, u32)>,
    /// Chance of each participant to crash in a round, and what it is away for then.
    pub crash_chance: f64,
    /// Time until a crashed participant is back.
    pub restart_us: Micros,
    /// Of each node, each way.
    pub node_bits_per_second: u64,
    /// Of the coordinator, each way.
    pub hub_bits_per_second: u64,
    /// Between any two, one way.
    pub delay_us: Micros,
    /// What is not training.
    pub costs: Costs,
    /// Fragments that overlap with training; nothing where all wait.
    pub overlap: Option<OverlapRecipe>,
    /// Held-out loss is measured after each so many rounds, and at the end.
    pub evaluate_every: u32,
}

impl Scenario {
    /// Honest nodes of one speed on good lines.
    pub fn new(name: impl Into<String>, rounds: u32, nodes: usize) -> Self {
        Self {
            name: name.into(),
            seed: 1,
            rounds,
            participants: vec![Participant::honest(1_000_000); nodes],
            own_data: false,
            codec: Codec::Int4,
            paced: false,
            absent: 0,
            away: BTreeSet::new(),
            crash_chance: 0.0,
            restart_us: 20_000_000,
            node_bits_per_second: 100_000_000,
            hub_bits_per_second: 1_000_000_000,
            delay_us: 100_000,
            costs: Costs::default(),
            overlap: None,
            evaluate_every: 1,
        }
    }

    /// The same with the last `attackers` doing something else.
    pub fn attacked(mut self, attackers: usize, behaviour: Behaviour) -> Self {
        for participant in self.participants.iter_mut().rev().take(attackers) {
            participant.behaviour = behaviour;
        }
        self.name = format!("{}, {attackers} of {}: {}", self.name, self.participants.len(), behaviour.name());
        self
    }
}
