//! The event loop: what happens to whom in which order. The coordinator's side is in `hub`, a participant's in `node`.

use std::{collections::BTreeMap, rc::Rc};

use starling_primitives::{Hash32, RunId};
use starling_rounds::{
    ApplyError, CodecError, FragmentError, Fragments, Nats, Previous, RecordError, RoundRecord, Score, StateError, Updates,
};
use starling_training::TrainingError;

use crate::{
    chance::Chance,
    clock::{Agenda, Micros, Network},
    framing::Framing,
    hub::Hub,
    node::Node,
    outcome::{Outcome, Row},
    scenario::Scenario,
    work::Work,
};

pub(crate) const RUN: RunId = RunId(1);
/// More events than any sensible scenario has: a defect must not run for ever.
const MAX_EVENTS: u64 = 20_000_000;

/// Why a simulation ended early. All of these are defects of the protocol or of the simulator.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Training failed.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// An honest update could not be encoded.
    #[error("an honest update could not be encoded: {0}")]
    Codec(#[from] CodecError),
    /// The model cannot be cut so.
    #[error(transparent)]
    Fragments(#[from] FragmentError),
    /// A record does not pass the check that every participant makes.
    #[error("round {round}: the record does not pass the check: {error}")]
    Record {
        /// The round.
        round: u32,
        /// What is wrong.
        error: RecordError,
    },
    /// The outer step failed.
    #[error("the outer step failed: {0}")]
    Apply(#[from] ApplyError),
    /// A checkpoint was damaged.
    #[error("a checkpoint was damaged: {0}")]
    State(#[from] StateError),
    /// Two parties reached different roots.
    #[error("participant {node} reached another root in round {round}")]
    Diverged {
        /// Who.
        node: usize,
        /// When.
        round: u32,
    },
    /// Nothing is left to happen, but the run is not over.
    #[error("the run stands still in round {0}")]
    Stalled(u32),
}

/// A round that is ready to be signed.
pub(crate) struct Made {
    pub(crate) record: RoundRecord,
    /// Accepted ones.
    pub(crate) updates: Updates,
    /// Bytes of each accepted update.
    pub(crate) sizes: BTreeMap<u16, u64>,
    pub(crate) root: Hash32,
}

/// From coordinator to node.
pub(crate) enum ToNode {
    /// Train; with the state's bytes and what it continues where the node lacks them.
    Start {
        round: u32,
        steps: u32,
        state: Option<(Rc<Vec<u8>>, Previous)>,
    },
    Reveal {
        round: u32,
    },
    Score {
        round: u32,
        skipped: u16,
        updates: Vec<u16>,
    },
    Record(Rc<Made>),
}

/// From node to coordinator.
pub(crate) enum ToHub {
    Committed { round: u32, update: Hash32, claimed_steps: u32 },
    Revealed { round: u32, bytes: Rc<Vec<u8>> },
    Scored { round: u32, scores: BTreeMap<u16, Option<Score>>, probe: Nats },
    Signed { round: u32, root: Hash32 },
}

pub(crate) enum Event {
    Told(usize, ToNode),
    Heard(usize, ToHub),
    /// A job has come to the step before which the last round's fragment is merged.
    MergeDue(usize, u64),
    Trained(usize, u64),
    Judged {
        node: usize,
        job: (u32, u16),
        updates: Vec<u16>,
    },
    Died(usize, u64),
    Back(usize),
    /// The coordinator looks whether it has waited long enough.
    Look,
    SeedKnown(u32),
    Posted(u32),
}

/// Everything there is.
pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) work: &'a mut dyn Work,
    pub(crate) fragments: Fragments,
    pub(crate) chance: Chance,
    pub(crate) framing: Framing,
    pub(crate) network: Network,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) now: Micros,
    pub(crate) hub: Hub,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rows: Vec<Row>,
    pub(crate) jobs: u64,
}

/// Runs a scenario to its end.
///
/// # Errors
/// Anything that honest parties must never see: a record that does not check, roots that differ, a run that stands still.
pub fn simulate(scenario: &Scenario, work: &mut dyn Work) -> Result<Outcome, SimulationError> {
    let state = work.first_state();
    let count = scenario.overlap.map_or(1, |overlap| usize::try_from(overlap.fragments).unwrap_or(usize::MAX));
    let fragments = Fragments::new(work.layout(), count)?;
    let roster = u16::try_from(scenario.participants.len()).unwrap_or(u16::MAX);
    let previous = Previous::genesis(RUN, &state, roster);
    let count = scenario.participants.len();
    let mut world = World {
        nodes: scenario.participants.iter().map(|participant| Node::new(*participant, state.clone(), previous)).collect(),
        hub: Hub::new(state, previous, count),
        fragments,
        chance: Chance::new(scenario.seed),
        framing: Framing::new(),
        network: Network::new(count, scenario.node_bits_per_second, scenario.hub_bits_per_second, scenario.delay_us),
        agenda: Agenda::default(),
        now: 0,
        rows: Vec::new(),
        jobs: 0,
        scenario,
        work,
    };
    world.begin_round()?;
    for _ in 0..MAX_EVENTS {
        if world.hub.state.round() == scenario.rounds {
            return world.outcome();
        }
        let Some((at, event)) = world.agenda.next() else { break };
        world.now = at;
        world.happen(event)?;
    }
    Err(SimulationError::Stalled(world.hub.state.round()))
}

impl World<'_> {
    fn happen(&mut self, event: Event) -> Result<(), SimulationError> {
        match event {
            Event::Told(node, message) if self.nodes[node].present => self.told(node, message),
            Event::Told(..) => Ok(()),
            Event::Heard(node, message) => self.heard(node, message),
            Event::MergeDue(node, job) => self.merge_due(node, job),
            Event::Trained(node, job) => self.trained(node, job),
            Event::Judged { node, job, updates } => self.judged(node, job, updates),
            Event::Died(node, job) => {
                self.died(node, job);
                Ok(())
            }
            Event::Back(node) => {
                self.back(node);
                Ok(())
            }
            Event::Look => self.look(),
            Event::SeedKnown(round) => self.seed_known(round),
            Event::Posted(round) => self.posted(round),
        }
    }

    pub(crate) fn tell(&mut self, node: usize, bytes: u64, message: ToNode) {
        let at = self.network.hub_sends(self.now, node, bytes);
        self.agenda.note(at, Event::Told(node, message));
    }

    /// Says something once `after` has passed.
    pub(crate) fn say(&mut self, node: usize, after: Micros, bytes: u64, message: ToHub) {
        let at = self.network.node_sends(self.now + after, node, bytes);
        self.agenda.note(at, Event::Heard(node, message));
    }

    /// A cost for a million parameters, for those of a round's fragment.
    pub(crate) fn cost(&self, for_a_million: Micros, round: u32) -> Micros {
        let parameters = self.fragments.layout_of_round(round).parameters() as u64;
        for_a_million * parameters / 1_000_000
    }

    fn outcome(&mut self) -> Result<Outcome, SimulationError> {
        let weights = self.hub.state.weights().to_vec();
        Ok(Outcome {
            name: self.scenario.name.clone(),
            parameters: weights.len(),
            held_out_loss: self.work.held_out_loss(&weights)?,
            trigger_loss: self.work.trigger_loss(&weights)?,
            state_root: self.hub.state.root(),
            elapsed_us: self.now,
            rows: std::mem::take(&mut self.rows),
            computing: self.nodes.iter().map(Node::computing).collect(),
            node_bytes: (0..self.nodes.len()).map(|node| self.network.of_node(node)).collect(),
            hub_bytes: self.network.of_hub(),
        })
    }
}
