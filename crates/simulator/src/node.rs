//! A participant: trains, commits, reveals, judges, checks what the coordinator proposes, applies and signs it.

use std::{ops::Range, rc::Rc};

use starling_rounds::{OuterState, Previous, apply_round, artifact_hash};

use crate::{
    attack::craft,
    clock::Micros,
    scenario::{Behaviour, Participant},
    world::{Event, Made, SimulationError, ToHub, ToNode, World},
};

pub(crate) struct Node {
    pub(crate) participant: Participant,
    pub(crate) present: bool,
    pub(crate) away_since: Micros,
    /// Its own copy of what the run has reached.
    pub(crate) state: OuterState,
    previous: Previous,
    /// Whether a process of it runs, with a trainer in memory.
    started: bool,
    checkpoint: Option<(Vec<u8>, Vec<f32>)>,
    feedback: Vec<f32>,
    job: Option<Job>,
    /// The pseudo-gradient of the last share that it finished, by round.
    finished: Option<(u32, Vec<f32>)>,
    /// The update that it committed to last, by round.
    update: Option<(u32, Rc<Vec<u8>>)>,
    /// Ends of its jobs, and all the time that its inner steps took.
    ends: Vec<Micros>,
    trained_us: Micros,
}

/// A share of a round in work.
struct Job {
    number: u64,
    round: u32,
    steps: Range<u64>,
    /// When its present phase ends; judging others' work moves it on.
    until: Micros,
    /// It waits for the last round's record since then.
    waits: bool,
    merged: bool,
    /// The pseudo-gradient of the round's fragment, once the steps were made.
    delta: Option<Vec<f32>>,
}

impl Node {
    pub(crate) fn new(participant: Participant, state: OuterState, previous: Previous) -> Self {
        Self {
            participant,
            present: false,
            away_since: 0,
            feedback: vec![0.0; state.weights().len()],
            state,
            previous,
            started: false,
            checkpoint: None,
            job: None,
            finished: None,
            update: None,
            ends: Vec::new(),
            trained_us: 0,
        }
    }

    fn step_time(&self, steps: u64) -> Micros {
        self.participant.step_us * steps
    }

    /// Part of the time between its first and its last finished share that it spent on inner steps.
    pub(crate) fn computing(&self) -> f64 {
        let (Some(first), Some(last)) = (self.ends.first(), self.ends.last()) else { return 0.0 };
        let shares = self.ends.len() as u64;
        // The first share lies before the first end.
        let between = self.trained_us - self.trained_us / shares;
        if last > first { between as f64 / (last - first) as f64 } else { 0.0 }
    }
}

impl World<'_> {
    pub(crate) fn told(&mut self, node: usize, message: ToNode) -> Result<(), SimulationError> {
        match message {
            ToNode::Start { round, steps, state } => self.start(node, round, steps, state),
            ToNode::Reveal { round } => {
                if let Some((_, bytes)) = self.nodes[node].update.clone().filter(|(of, _)| *of == round) {
                    let length = bytes.len() as u64 + self.framing.request + self.framing.revealed;
                    self.say(node, 0, length, ToHub::Revealed { round, bytes });
                }
                Ok(())
            }
            ToNode::Score { round, skipped, updates } => {
                // Losses before the update on unseen windows; then three for each update. No loss needs a gradient.
                let plan = self.work.plan();
                let windows = (1 + 3 * updates.len() as u64) * u64::from(plan.probe_windows());
                let takes = self.nodes[node].step_time(windows) / (3 * u64::from(plan.windows_per_step()));
                if let Some(job) = &mut self.nodes[node].job {
                    job.until += takes;
                }
                let decoding = self.cost(self.scenario.costs.update_us, round) * updates.len() as u64;
                self.agenda.note(self.now + takes + decoding, Event::Judged { node, job: (round, skipped), updates });
                Ok(())
            }
            ToNode::Record(made) => self.apply(node, &made),
        }
    }

    fn start(&mut self, node: usize, round: u32, steps: u32, state: Option<(Rc<Vec<u8>>, Previous)>) -> Result<(), SimulationError> {
        let this = &mut self.nodes[node];
        if let Some((bytes, previous)) = state {
            this.state = OuterState::from_bytes(&bytes)?;
            this.previous = previous;
            if this.state.root() != previous.state_root {
                return Err(SimulationError::Diverged { node, round });
            }
        }
        if this.state.round() != round || this.job.as_ref().is_some_and(|job| job.round >= round) {
            return Ok(());
        }
        if !this.started {
            this.started = true;
            let checkpoint = this.checkpoint.as_ref().map(|(bytes, feedback)| {
                this.feedback.clone_from(feedback);
                bytes.as_slice()
            });
            self.work.start(node, checkpoint)?;
        }
        let first = self.nodes[node].state.next_inner_step();
        self.begin_job(node, round, first..first + u64::from(steps), true);
        let crashes = self.chance.unit("crash", &[node as u64, u64::from(round)]) < self.scenario.crash_chance;
        if crashes {
            let part = self.chance.unit("crash time", &[node as u64, u64::from(round)]);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a duration")]
            let after = (part * self.nodes[node].step_time(u64::from(steps)) as f64) as Micros;
            self.agenda.note(self.now + after, Event::Died(node, self.jobs));
        }
        Ok(())
    }

    /// `from_state`: the outer state's weights are loaded; else training goes on from where it is, up to the merge.
    fn begin_job(&mut self, node: usize, round: u32, steps: Range<u64>, from_state: bool) {
        self.jobs += 1;
        let merge_after = self.scenario.overlap.map_or(0, |overlap| u64::from(overlap.merge_after_steps));
        let this = &mut self.nodes[node];
        let phase = if from_state { steps.end - steps.start } else { merge_after.min(steps.end - steps.start) };
        let until = self.now + this.step_time(phase);
        this.job = Some(Job { number: self.jobs, round, steps, until, waits: false, merged: from_state, delta: None });
        let event = if from_state { Event::Trained(node, self.jobs) } else { Event::MergeDue(node, self.jobs) };
        self.agenda.note(until, event);
    }

    /// The job, if it is still the one that was meant; notes its event again where its end has moved on.
    fn job_at_end(&mut self, node: usize, number: u64, again: fn(usize, u64) -> Event) -> bool {
        match &self.nodes[node].job {
            Some(job) if job.number == number && job.until > self.now => {
                self.agenda.note(job.until, again(node, number));
                false
            }
            Some(job) => job.number == number,
            None => false,
        }
    }

    pub(crate) fn merge_due(&mut self, node: usize, number: u64) -> Result<(), SimulationError> {
        if !self.job_at_end(node, number, Event::MergeDue) {
            return Ok(());
        }
        let this = &mut self.nodes[node];
        let Some(job) = &mut this.job else { return Ok(()) };
        if this.state.round() < job.round {
            job.waits = true;
            return Ok(());
        }
        self.merge(node)
    }

    /// Trains up to the merge, mixes the fragment that the last round exchanged into the own weights, and goes on.
    fn merge(&mut self, node: usize) -> Result<(), SimulationError> {
        let Some(overlap) = self.scenario.overlap else { return Ok(()) };
        let Some(job) = &mut self.nodes[node].job else { return Ok(()) };
        (job.waits, job.merged) = (false, true);
        let (round, steps) = (job.round, job.steps.clone());
        let merge_at = (steps.start + u64::from(overlap.merge_after_steps)).min(steps.end);
        let mut weights = self.work.train(node, steps.start..merge_at)?;
        let fragment = self.fragments.of_round(round.saturating_sub(1));
        self.fragments.merge(fragment, overlap.own_share, self.nodes[node].state.weights(), &mut weights);
        self.work.load(node, &weights)?;
        let this = &mut self.nodes[node];
        let until = self.now + this.step_time(steps.end - merge_at);
        if let Some(job) = &mut this.job {
            job.until = until;
            self.agenda.note(until, Event::Trained(node, job.number));
        }
        Ok(())
    }

    /// Makes the steps of a job in truth, if that was not done yet.
    fn ensure_trained(&mut self, node: usize) -> Result<(), SimulationError> {
        let this = &self.nodes[node];
        let Some(job) = this.job.as_ref().filter(|job| job.delta.is_none()) else { return Ok(()) };
        let (round, mut steps) = (job.round, job.steps.clone());
        match self.scenario.overlap {
            Some(overlap) if round > 0 => steps.start = (steps.start + u64::from(overlap.merge_after_steps)).min(steps.end),
            _ => self.work.load(node, this.state.weights())?,
        }
        if this.participant.behaviour == Behaviour::Lazy {
            steps.end = steps.start + (steps.end - steps.start).div_ceil(2);
        }
        let local = self.work.train(node, steps)?;
        let fragment = self.fragments.of_round(round);
        let delta = self.fragments.pseudo_gradient(fragment, self.nodes[node].state.weights(), &local)?;
        if let Some(job) = &mut self.nodes[node].job {
            job.delta = Some(delta);
        }
        Ok(())
    }

    /// The last step is made: encodes, commits, and where rounds overlap goes on at once.
    pub(crate) fn trained(&mut self, node: usize, number: u64) -> Result<(), SimulationError> {
        if !self.job_at_end(node, number, Event::Trained) {
            return Ok(());
        }
        self.ensure_trained(node)?;
        let behaviour = self.nodes[node].participant.behaviour;
        let is_attack = !matches!(behaviour, Behaviour::Honest | Behaviour::InflatedTokens);
        if is_attack {
            self.attack(node, behaviour)?;
        }
        let Some(job) = self.nodes[node].job.take() else { return Ok(()) };
        let Some(delta) = job.delta else { return Ok(()) };
        let fragment = self.fragments.of_round(job.round);
        let this = &mut self.nodes[node];
        if is_attack {
            this.feedback.fill(0.0);
        }
        let bytes = Rc::new(self.fragments.encode(fragment, self.scenario.codec, &delta, &mut this.feedback)?);
        let steps = job.steps.end - job.steps.start;
        this.trained_us += this.step_time(steps);
        this.ends.push(self.now);
        let update = artifact_hash(&bytes);
        this.update = Some((job.round, bytes));
        if self.scenario.crash_chance > 0.0 {
            let feedback = this.feedback.clone();
            self.nodes[node].checkpoint = Some((self.work.checkpoint(node)?, feedback));
        }
        let claimed = if behaviour == Behaviour::InflatedTokens { 10 * steps } else { steps };
        let claimed_steps = u32::try_from(claimed).unwrap_or(u32::MAX);
        let encoding = self.cost(self.scenario.costs.encode_us, job.round);
        self.nodes[node].finished = Some((job.round, delta));
        let said = self.framing.committed + self.framing.progress * steps;
        self.say(node, encoding, said, ToHub::Committed { round: job.round, update, claimed_steps });
        if self.scenario.overlap.is_some() && job.round + 1 < self.scenario.rounds {
            self.begin_job(node, job.round + 1, job.steps.end..job.steps.end + steps, false);
        }
        Ok(())
    }

    /// Puts what an attacker sends in the place of its own pseudo-gradient.
    fn attack(&mut self, node: usize, behaviour: Behaviour) -> Result<(), SimulationError> {
        let Some(round) = self.nodes[node].job.as_ref().map(|job| job.round) else { return Ok(()) };
        let is_honest = |other: &usize| self.nodes[*other].present && self.nodes[*other].participant.behaviour == Behaviour::Honest;
        let honest: Vec<usize> = (0..self.nodes.len()).filter(is_honest).collect();
        for other in &honest {
            self.ensure_trained(*other)?;
        }
        // Those who are still at it, and those who have committed already.
        let delta = |node: usize| {
            let Node { job, finished, .. } = &self.nodes[node];
            let at_work = job.as_ref().filter(|job| job.round == round).and_then(|job| job.delta.as_deref());
            at_work.or_else(|| finished.as_ref().filter(|(of, _)| *of == round).map(|(_, delta)| delta.as_slice()))
        };
        let own = delta(node).unwrap_or_default();
        let deltas: Vec<&[f32]> = honest.iter().filter_map(|other| delta(*other)).collect();
        let made = craft(behaviour, own, &deltas, self.chance, &[node as u64, u64::from(round)]);
        if let Some(job) = &mut self.nodes[node].job {
            job.delta = Some(made);
        }
        Ok(())
    }

    pub(crate) fn judged(&mut self, node: usize, (round, skipped): (u32, u16), updates: Vec<u16>) -> Result<(), SimulationError> {
        if !self.nodes[node].present || !self.hub.is_scoring(round, skipped) {
            return Ok(());
        }
        let fragment = self.fragments.of_round(round);
        let before = self.nodes[node].state.weights().to_vec();
        let first = self.nodes[node].state.next_inner_step();
        let mut scores = std::collections::BTreeMap::new();
        let Some(seed) = self.hub.seed() else { return Ok(()) };
        let probe = self.work.probe(&before, &seed)?;
        for place in updates {
            let Some(update) = self.hub.to_score(place) else { continue };
            let after = self.fragments.probe_point(fragment, &before, &update)?;
            let steps = first..first + u64::from(self.hub.given(place));
            scores.insert(place, self.work.score(&before, &after, place, steps, &seed)?);
        }
        let bytes = self.framing.scored(scores.len());
        self.say(node, 0, bytes, ToHub::Scored { round, scores, probe });
        Ok(())
    }

    /// Checks a record as a participant does, applies it to the own state and signs.
    fn apply(&mut self, node: usize, made: &Rc<Made>) -> Result<(), SimulationError> {
        let round = made.record.round;
        let this = &mut self.nodes[node];
        if this.state.round() != round {
            return Ok(());
        }
        made.record.check(&this.previous, self.work.plan(), &made.updates).map_err(|error| SimulationError::Record { round, error })?;
        let root = apply_round(&mut this.state, self.hub.earlier.as_ref(), &self.fragments, &made.record, &made.updates)?;
        this.previous = Previous::after(&made.record, root, made.record.roster_size);
        let waits = this.job.as_ref().is_some_and(|job| job.waits);
        let whole = self.hub.state.weights().len() as u64;
        let takes =
            self.cost(self.scenario.costs.update_us, round) * made.updates.len() as u64 + self.scenario.costs.root_us * whole / 1_000_000;
        self.say(node, takes, self.framing.signed, ToHub::Signed { round, root });
        if waits {
            self.merge(node)?;
        }
        Ok(())
    }

    pub(crate) fn died(&mut self, node: usize, number: u64) {
        let this = &mut self.nodes[node];
        if !this.present || this.job.as_ref().is_none_or(|job| job.number != number) {
            return;
        }
        (this.present, this.started, this.job, this.away_since) = (false, false, None, self.now);
        self.agenda.note(self.now + self.scenario.restart_us, Event::Back(node));
        self.look_after_away();
    }
}
