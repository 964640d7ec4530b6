//! The coordinator: begins rounds, waits as long as it is worth, draws, asks for scores, proposes, collects signatures.

use std::{collections::BTreeMap, rc::Rc};

use starling_primitives::Hash32;
use starling_rounds::{
    Candidate, Committed, Judge, Nats, Outcome, OuterState, Pace, Previous, Refusal, Score, Update, Updates, Work, apply_round,
    artifact_hash, inspect, judges, late_after_ms, paced_steps, propose, scorer_order,
};

use crate::{
    clock::Micros,
    outcome::Row,
    world::{Event, Made, SimulationError, ToHub, ToNode, World},
};

/// A node that is away for so long is not waited for.
const AWAY_US: Micros = 6_000_000;
/// An update must be uploaded within the time that training took, or this.
const REVEAL_US: Micros = 20_000_000;
/// Others have so long to sign after the quorum.
const SIGN_GRACE_US: Micros = 1_500_000;
/// A round that nobody came to begins again after this.
const EMPTY_US: Micros = 1_000_000;

struct Commitment {
    update: Hash32,
    at: Micros,
    claimed_steps: u32,
}

#[derive(Default)]
enum Stage {
    #[default]
    Collecting,
    Revealing {
        frozen_at: Micros,
        seed: Option<Hash32>,
        revealed: BTreeMap<u16, Rc<Vec<u8>>>,
    },
    Scoring {
        seed: Hash32,
        skipped: u16,
        usable: Updates,
        sizes: BTreeMap<u16, u64>,
        refused: BTreeMap<u16, Refusal>,
        scores: BTreeMap<u16, Option<Score>>,
        probe: Option<Nats>,
    },
    Signing {
        made: Rc<Made>,
        after: Box<OuterState>,
        roots: BTreeMap<u16, Hash32>,
        quorum_at: Option<Micros>,
        posted: bool,
    },
}

pub(crate) struct Hub {
    pub(crate) state: OuterState,
    /// The state one round earlier, which all keep.
    pub(crate) earlier: Option<OuterState>,
    previous: Previous,
    began_at: Micros,
    /// Since when nodes train this round: where rounds overlap, since the last one's commitments closed.
    trained_since: Micros,
    stage: Stage,
    commitments: BTreeMap<u16, Commitment>,
    /// For the next round: its commitments may come before this one is posted, where rounds overlap.
    early: Vec<(u16, u32, Commitment)>,
    /// Steps that each place was told to make in this round; none where it was not told.
    told: Vec<Option<u32>>,
    paces: Vec<Option<Pace>>,
    /// Which updates a place has downloaded already, to judge them.
    holds: BTreeMap<u16, Vec<u16>>,
}

impl Hub {
    pub(crate) fn new(state: OuterState, previous: Previous, nodes: usize) -> Self {
        Self {
            state,
            earlier: None,
            previous,
            began_at: 0,
            trained_since: 0,
            stage: Stage::Collecting,
            commitments: BTreeMap::new(),
            early: Vec::new(),
            told: vec![None; nodes],
            paces: vec![None; nodes],
            holds: BTreeMap::new(),
        }
    }

    /// Steps that a place was told to make in this round.
    pub(crate) fn given(&self, place: u16) -> u32 {
        self.told.get(usize::from(place)).copied().flatten().unwrap_or(0)
    }

    pub(crate) fn is_scoring(&self, round: u32, asked: u16) -> bool {
        matches!(&self.stage, Stage::Scoring { skipped, .. } if *skipped == asked) && self.state.round() == round
    }

    /// The seed of the round that is scored.
    pub(crate) fn seed(&self) -> Option<Hash32> {
        let Stage::Scoring { seed, .. } = &self.stage else { return None };
        Some(*seed)
    }

    /// An update to be scored.
    pub(crate) fn to_score(&self, place: u16) -> Option<Update> {
        let Stage::Scoring { usable, .. } = &self.stage else { return None };
        usable.get(&place).cloned()
    }

    /// Everyone who committed, in drawn order. Steps stand for their tokens: the order is the record's.
    fn drawn_order(&self, seed: &Hash32) -> Vec<u16> {
        let commitments = self.commitments.iter().map(|(place, commitment)| Committed {
            participant: *place,
            update: commitment.update,
            assigned_tokens: self.given(*place),
        });
        scorer_order(seed, &commitments.collect::<Vec<_>>())
    }

    /// Those who are asked to score and have not answered.
    fn unanswered(&self) -> Vec<Judge> {
        let Stage::Scoring { seed, skipped, usable, scores, .. } = &self.stage else { return Vec::new() };
        let valid: Vec<u16> = usable.keys().copied().collect();
        let mut asked = judges(&self.drawn_order(seed), *skipped, &valid);
        asked.retain(|judge| !judge.updates.iter().all(|place| scores.contains_key(place)));
        asked
    }
}

fn place_of(node: usize) -> u16 {
    u16::try_from(node).unwrap_or(u16::MAX)
}

impl World<'_> {
    /// Two thirds of those who have not left, rounded up.
    fn quorum(&self) -> usize {
        let round = self.hub.state.round();
        let members = self.nodes.iter().filter(|node| node.participant.leaves_before_round > round).count();
        (2 * members).div_ceil(3)
    }

    pub(crate) fn begin_round(&mut self) -> Result<(), SimulationError> {
        let round = self.hub.state.round();
        let absent = self.absent(round);
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let member = (node.participant.joins_before_round..node.participant.leaves_before_round).contains(&round);
            let crashed = !node.present && node.away_since > 0 && self.now < node.away_since + self.scenario.restart_us;
            let away = absent.contains(&index) || self.scenario.away.contains(&(place_of(index), round));
            node.present = member && !away && !crashed;
        }
        let all = self.work.plan().inner_steps_per_round();
        let steps = if self.scenario.paced { paced_steps(all, &self.hub.paces) } else { vec![all; self.nodes.len()] };
        self.hub.began_at = self.now;
        if self.scenario.overlap.is_none() || round == 0 {
            self.hub.trained_since = self.now;
        }
        self.hub.stage = Stage::Collecting;
        self.hub.commitments.clear();
        self.hub.holds.clear();
        self.hub.told = steps.iter().zip(&self.nodes).map(|(steps, node)| node.present.then_some(*steps)).collect();
        if self.nodes.iter().all(|node| !node.present) {
            self.agenda.note(self.now + EMPTY_US, Event::Posted(round));
            return Ok(());
        }
        for node in 0..self.nodes.len() {
            self.tell_start(node);
        }
        for (place, _, commitment) in std::mem::take(&mut self.hub.early).into_iter().filter(|(_, of, _)| *of == round) {
            self.hub.commitments.insert(place, commitment);
        }
        self.look()
    }

    /// Who is absent in a round: as many as the scenario says, drawn anew.
    fn absent(&self, round: u32) -> Vec<usize> {
        let mut ranked: Vec<(u64, usize)> =
            (0..self.nodes.len()).map(|node| (self.chance.bits("absent", &[u64::from(round), node as u64]), node)).collect();
        ranked.sort_unstable();
        ranked.into_iter().take(self.scenario.absent).map(|(_, node)| node).collect()
    }

    fn tell_start(&mut self, node: usize) {
        let round = self.hub.state.round();
        let Some(steps) = self.hub.told[node].filter(|_| self.nodes[node].present) else { return };
        let behind = self.nodes[node].state.round() != round;
        let state = behind.then(|| (Rc::new(self.hub.state.to_bytes()), self.hub.previous));
        let bytes = state.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64 + self.framing.answer);
        self.tell(node, self.framing.start + bytes, ToNode::Start { round, steps, state });
    }

    /// A node is back: what it missed is said again.
    pub(crate) fn back(&mut self, node: usize) {
        self.nodes[node].present = true;
        match &self.hub.stage {
            Stage::Collecting => self.tell_start(node),
            Stage::Signing { made, .. } => {
                let made = made.clone();
                self.tell_record(node, &made);
            }
            Stage::Revealing { .. } => self.tell(node, self.framing.reveal, ToNode::Reveal { round: self.hub.state.round() }),
            Stage::Scoring { .. } => {}
        }
    }

    pub(crate) fn look_after_away(&mut self) {
        self.agenda.note(self.now + AWAY_US, Event::Look);
    }

    fn is_gone(&self, place: u16) -> bool {
        let node = &self.nodes[usize::from(place)];
        !node.present && self.now >= node.away_since + AWAY_US
    }

    pub(crate) fn heard(&mut self, node: usize, message: ToHub) -> Result<(), SimulationError> {
        let (place, current) = (place_of(node), self.hub.state.round());
        match message {
            ToHub::Committed { round, update, claimed_steps } => {
                let commitment = Commitment { update, at: self.now, claimed_steps };
                if round > current {
                    self.hub.early.push((place, round, commitment));
                } else if round == current && matches!(self.hub.stage, Stage::Collecting) {
                    let pace = Pace { steps: self.hub.given(place), took_ms: (self.now - self.hub.trained_since) / 1_000 };
                    self.hub.paces[node] = Some(pace);
                    self.hub.commitments.entry(place).or_insert(commitment);
                }
            }
            ToHub::Revealed { round, bytes } if round == current => {
                if let Stage::Revealing { revealed, .. } = &mut self.hub.stage
                    && self.hub.commitments.contains_key(&place)
                {
                    revealed.entry(place).or_insert(bytes);
                }
            }
            ToHub::Scored { round, scores: answer, probe: measured } if round == current => {
                let asked = self.hub.unanswered().into_iter().find(|judge| judge.place == place);
                if let Stage::Scoring { scores, probe, .. } = &mut self.hub.stage
                    && asked.is_some_and(|judge| judge.updates.iter().eq(answer.keys()))
                {
                    scores.extend(answer);
                    *probe = probe.map_or(Some(measured), |other| Some(other.min(measured)));
                }
            }
            ToHub::Signed { round, root } if round == current => {
                if let Stage::Signing { roots, made, .. } = &mut self.hub.stage {
                    if root != made.root {
                        return Err(SimulationError::Diverged { node, round });
                    }
                    roots.insert(place, root);
                }
            }
            ToHub::Revealed { .. } | ToHub::Scored { .. } | ToHub::Signed { .. } => {}
        }
        self.look()
    }

    /// Goes on where enough has come or enough time has passed.
    pub(crate) fn look(&mut self) -> Result<(), SimulationError> {
        if matches!(self.hub.stage, Stage::Collecting) && self.commitments_close() {
            self.freeze();
            return Ok(());
        }
        match &self.hub.stage {
            Stage::Revealing { frozen_at, seed: Some(seed), revealed } => {
                let mut missing = self.hub.commitments.keys().filter(|place| !revealed.contains_key(place));
                let over = self.now >= frozen_at + REVEAL_US.max(frozen_at.saturating_sub(self.hub.trained_since));
                if over || missing.all(|place| self.is_gone(*place)) {
                    let (seed, revealed) = (*seed, revealed.clone());
                    return self.inspect(seed, &revealed);
                }
                Ok(())
            }
            Stage::Scoring { .. } => self.look_at_scores(),
            Stage::Signing { .. } => {
                self.look_at_signatures();
                Ok(())
            }
            Stage::Collecting | Stage::Revealing { seed: None, .. } => Ok(()),
        }
    }

    /// As the coordinator's `closes`: all are in, or a quorum is and the rest is late or gone.
    fn commitments_close(&mut self) -> bool {
        let told = (0..self.nodes.len()).filter(|node| self.hub.told[*node].is_some()).map(place_of);
        let missing: Vec<u16> = told.filter(|place| !self.hub.commitments.contains_key(place)).collect();
        if self.hub.commitments.is_empty() {
            return false;
        }
        if missing.iter().all(|place| self.is_gone(*place)) {
            return true;
        }
        let times: Vec<u64> =
            self.hub.commitments.values().map(|commitment| commitment.at.saturating_sub(self.hub.trained_since) / 1_000).collect();
        let Some(late_ms) = late_after_ms(&times, self.quorum()) else { return false };
        let late_at = self.hub.trained_since + late_ms.saturating_mul(1_000);
        if self.now < late_at {
            self.agenda.note(late_at, Event::Look);
        }
        self.now >= late_at
    }

    fn freeze(&mut self) {
        let round = self.hub.state.round();
        self.hub.stage = Stage::Revealing { frozen_at: self.now, seed: None, revealed: BTreeMap::new() };
        self.agenda.note(self.now + self.scenario.costs.chain_us, Event::SeedKnown(round));
        let places: Vec<u16> = self.hub.commitments.keys().copied().collect();
        for place in places {
            self.tell(usize::from(place), self.framing.reveal, ToNode::Reveal { round });
        }
        let patience = REVEAL_US.max(self.now - self.hub.trained_since);
        if self.scenario.overlap.is_some() {
            self.hub.trained_since = self.now;
        }
        self.agenda.note(self.now + patience, Event::Look);
    }

    pub(crate) fn seed_known(&mut self, round: u32) -> Result<(), SimulationError> {
        if let Stage::Revealing { seed, .. } = &mut self.hub.stage {
            // In truth the hash of a block after the freeze.
            let block = [self.scenario.seed.to_le_bytes(), u64::from(round).to_le_bytes()].concat();
            *seed = Some(artifact_hash(&block));
        }
        self.look()
    }

    fn inspect(&mut self, seed: Hash32, revealed: &BTreeMap<u16, Rc<Vec<u8>>>) -> Result<(), SimulationError> {
        let mut order: Vec<(Micros, u16)> = self.hub.commitments.iter().map(|(place, commitment)| (commitment.at, *place)).collect();
        order.sort_unstable();
        let bytes_of = |place: u16| {
            let committed = self.hub.commitments.get(&place).map(|commitment| commitment.update);
            revealed.get(&place).map(|bytes| bytes.as_slice()).filter(|bytes| Some(artifact_hash(bytes)) == committed)
        };
        let in_order: Vec<(u16, Option<&[u8]>)> = order.iter().map(|(_, place)| (*place, bytes_of(*place))).collect();
        let (usable, mut refused) = inspect(self.scenario.codec, self.fragments.layout_of_round(self.hub.state.round()), &in_order);
        for (place, commitment) in &self.hub.commitments {
            // Fewer steps than it was given are not the round's work; more than that are nothing.
            if commitment.claimed_steps < self.hub.given(*place) {
                refused.insert(*place, Refusal::Late);
            }
        }
        let sizes = revealed.iter().map(|(place, bytes)| (*place, bytes.len() as u64)).collect();
        self.hub.stage = Stage::Scoring { seed, skipped: 0, usable, sizes, refused, scores: BTreeMap::new(), probe: None };
        self.ask_judges();
        self.look()
    }

    fn ask_judges(&mut self) {
        let round = self.hub.state.round();
        let Stage::Scoring { skipped, sizes, .. } = &self.hub.stage else { return };
        let (skipped, sizes) = (*skipped, sizes.clone());
        for Judge { place, updates } in self.hub.unanswered() {
            let bytes: u64 = updates.iter().map(|of| self.framing.answer + sizes.get(of).copied().unwrap_or(0)).sum();
            self.hub.holds.entry(place).or_default().extend(&updates);
            self.tell(usize::from(place), self.framing.score(updates.len()) + bytes, ToNode::Score { round, skipped, updates });
        }
    }

    fn look_at_scores(&mut self) -> Result<(), SimulationError> {
        let unanswered = self.hub.unanswered();
        if unanswered.is_empty() {
            return self.record();
        }
        if unanswered.iter().any(|judge| self.is_gone(judge.place)) {
            if let Stage::Scoring { skipped, scores, probe, .. } = &mut self.hub.stage {
                *skipped += 1;
                scores.clear();
                *probe = None;
            }
            self.ask_judges();
        }
        Ok(())
    }

    /// Proposes the round's record, checks it as all will and applies it.
    fn record(&mut self) -> Result<(), SimulationError> {
        let Stage::Scoring { seed, skipped, usable, sizes, refused, scores, probe } = std::mem::take(&mut self.hub.stage) else {
            return Ok(());
        };
        let plan = self.work.plan();
        let round = self.hub.state.round();
        let mut order: Vec<(Micros, u16)> = self.hub.commitments.iter().map(|(place, commitment)| (commitment.at, *place)).collect();
        order.sort_unstable();
        let candidate = |place: u16| {
            let work = match (refused.get(&place), usable.get(&place)) {
                (Some(reason), _) => Work::Unusable(*reason),
                (None, Some(update)) => Work::Scored { update, score: scores.get(&place).copied().flatten() },
                (None, None) => Work::Unusable(Refusal::Late),
            };
            let commitment = self.hub.commitments.get(&place).map(|commitment| commitment.update);
            Candidate { participant: place, assigned_tokens: self.hub.given(place) * plan.tokens_per_step(), commitment, work }
        };
        let candidates: Vec<Candidate<'_>> = order.iter().map(|(_, place)| candidate(*place)).collect();
        let record = propose(&self.hub.previous, plan, (seed, skipped), probe, &candidates);
        let updates: Updates = record.accepted().filter_map(|place| Some((place, usable.get(&place)?.clone()))).collect();
        record.check(&self.hub.previous, plan, &updates).map_err(|error| SimulationError::Record { round, error })?;
        let mut after = self.hub.state.clone();
        let root = apply_round(&mut after, self.hub.earlier.as_ref(), &self.fragments, &record, &updates)?;
        let sizes = sizes.into_iter().filter(|(place, _)| updates.contains_key(place)).collect();
        let made = Rc::new(Made { record, updates, sizes, root });
        let (roots, quorum_at, posted) = (BTreeMap::new(), None, false);
        self.hub.stage = Stage::Signing { made: made.clone(), after: Box::new(after), roots, quorum_at, posted };
        for node in 0..self.nodes.len() {
            self.tell_record(node, &made);
        }
        Ok(())
    }

    fn tell_record(&mut self, node: usize, made: &Rc<Made>) {
        if !self.nodes[node].present || self.hub.told[node].is_none() {
            return;
        }
        let place = place_of(node);
        let held = self.hub.holds.get(&place);
        let wanted = |of: &&u16| **of != place && held.is_none_or(|held| !held.contains(of));
        let updates: u64 = made.sizes.iter().filter(|(of, _)| wanted(of)).map(|(_, size)| size + self.framing.answer).sum();
        self.tell(node, self.framing.record(&made.record) + updates, ToNode::Record(made.clone()));
    }

    fn look_at_signatures(&mut self) {
        let quorum = self.quorum();
        let round = self.hub.state.round();
        let present: Vec<u16> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].present && self.hub.told[*node].is_some()).map(place_of).collect();
        let Stage::Signing { roots, quorum_at, posted, .. } = &mut self.hub.stage else { return };
        if *posted || roots.len() < quorum {
            return;
        }
        let since = *quorum_at.get_or_insert(self.now);
        if present.iter().all(|place| roots.contains_key(place)) || self.now >= since + SIGN_GRACE_US {
            *posted = true;
            self.agenda.note(self.now + self.scenario.costs.chain_us, Event::Posted(round));
        } else {
            self.agenda.note(since + SIGN_GRACE_US, Event::Look);
        }
    }

    /// The round counts on chain: the next begins.
    pub(crate) fn posted(&mut self, round: u32) -> Result<(), SimulationError> {
        if self.hub.state.round() != round {
            return Ok(());
        }
        if let Stage::Signing { made, after, .. } = std::mem::take(&mut self.hub.stage) {
            self.note_row(&made, &after)?;
            self.hub.previous = Previous::after(&made.record, made.root, made.record.roster_size);
            self.hub.earlier = Some(std::mem::replace(&mut self.hub.state, *after));
        }
        if self.hub.state.round() < self.scenario.rounds { self.begin_round() } else { Ok(()) }
    }

    fn note_row(&mut self, made: &Made, after: &OuterState) -> Result<(), SimulationError> {
        let done = made.record.round + 1;
        let wanted = done.is_multiple_of(self.scenario.evaluate_every) || done == self.scenario.rounds;
        let held_out_loss = if wanted { Some(self.work.held_out_loss(after.weights())?) } else { None };
        let refused = made.record.entries.iter().filter_map(|entry| match entry.outcome {
            Outcome::Refused { reason, .. } => Some((entry.participant, reason)),
            Outcome::Accepted { .. } => None,
        });
        let tokens_per_step = f64::from(self.work.plan().tokens_per_step());
        let took = (self.now - self.hub.began_at) as f64;
        let told = self.nodes.iter().zip(&self.hub.told).filter(|(_, told)| told.is_some());
        let could = told.map(|(node, _)| took / node.participant.step_us as f64 * tokens_per_step).sum();
        self.rows.push(Row {
            round: made.record.round,
            began_us: self.hub.began_at,
            ended_us: self.now,
            told: self.hub.told.iter().flatten().count(),
            committed: self.hub.commitments.len(),
            accepted: made.record.accepted().collect(),
            refused: refused.collect(),
            tokens: made.record.tokens_by_place().iter().map(|tokens| u64::from(*tokens)).sum(),
            could,
            held_out_loss,
        });
        Ok(())
    }
}
