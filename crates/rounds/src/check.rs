//! What a node recomputes of a proposed record before it signs: everything but the losses themselves.

use starling_primitives::RunId;
use thiserror::Error;

use crate::aggregate::{CLIP_ONE, MAX_PARTICIPANTS, clip_factors, norm};
use crate::apply::Updates;
use crate::assignment::Plan;
use crate::codec::is_same;
use crate::draw::scorer_order;
use crate::gate::{Cohort, Nats, Verdict, gate};
use crate::hash::Hash32;
use crate::record::{Entry, Outcome, Refusal, RoundRecord, genesis_digest};
use crate::state::OuterState;

/// Where a run stands before a round: what a record must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The run's number on chain.
    pub run: RunId,
    /// Rounds completed, which is the number of the round to come.
    pub round: u32,
    /// Digest of the last record, or [`genesis_digest`].
    pub digest: Hash32,
    /// Root of the state after it.
    pub state_root: Hash32,
    /// Nodes in the roster of the round to come.
    pub roster_size: u16,
}

/// The first thing about a record that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A field is not what the round before and the plan say.
    #[error("the record's {0} does not continue the run")]
    NotContinuing(&'static str),
    /// A roster of none or of more than [`MAX_PARTICIPANTS`].
    #[error("a roster of {0} is out of bounds")]
    RosterSize(u16),
    /// A participant out of order, twice or outside of the roster.
    #[error("entry of participant {0} is out of order or outside of the roster")]
    BadParticipant(u16),
    /// The scorer is not the one that the draw names.
    #[error("the scorer was not drawn so")]
    WrongScorer,
    /// A probe that is no loss, or none although updates were scored.
    #[error("the loss on unseen windows before the round is missing or no loss")]
    WrongProbe,
    /// Tokens that are not those of whole steps, or of more than the plan's.
    #[error("participant {0} is credited with tokens that no plan of this run assigns")]
    WrongTokens(u16),
    /// The verdict does not follow from the scores, or a refusal lacks what it must show.
    #[error("participant {0}'s outcome does not follow from the scores")]
    WrongVerdict(u16),
    /// Two accepted updates are one.
    #[error("participants {0} and {1} are both accepted with one update")]
    CopyAccepted(u16, u16),
    /// An accepted update was not given to the check, or one was that is not accepted.
    #[error("the updates at hand are not those accepted: participant {0}")]
    WrongUpdates(u16),
    /// An update's bytes are not those of the record.
    #[error("participant {0}'s update has another hash")]
    WrongUpdateHash(u16),
    /// The clip factor is not what the norms give.
    #[error("participant {participant}'s clip factor is {got} where the norms give {expected}")]
    WrongClipFactor {
        /// Whose.
        participant: u16,
        /// In the record.
        got: u16,
        /// Recomputed.
        expected: u16,
    },
}

impl Previous {
    /// Before the first round of a run.
    pub fn genesis(run: RunId, initial: &OuterState, roster_size: u16) -> Self {
        let state_root = initial.root();
        Self { run, round: 0, digest: genesis_digest(run, state_root), state_root, roster_size }
    }

    /// After `record` was applied and gave `state_root`.
    pub fn after(record: &RoundRecord, state_root: Hash32, roster_size: u16) -> Self {
        let round = record.round.saturating_add(1);
        Self { run: record.run, round, digest: record.digest(), state_root, roster_size }
    }
}

impl RoundRecord {
    /// Checks all that is deterministic: place in the run, order, bounds, draw, verdicts, copies, clip factors.
    ///
    /// `updates` holds the decoded update of each accepted participant and no other. Not checked, because only the
    /// scorer or the coordinator could know it: the losses behind the scores, and who was late.
    pub fn check(&self, previous: &Previous, plan: Plan, updates: &Updates) -> Result<(), RecordError> {
        self.check_header(previous, plan)?;
        self.check_entries(plan)?;
        self.check_scorer()?;
        self.check_probe()?;
        self.check_verdicts(plan)?;
        self.check_updates(updates)
    }

    fn check_header(&self, previous: &Previous, plan: Plan) -> Result<(), RecordError> {
        for (what, holds) in [
            ("run", self.run == previous.run),
            ("round", self.round == previous.round),
            ("previous digest", self.previous_digest == previous.digest),
            ("previous state root", self.previous_state_root == previous.state_root),
            ("first inner step", self.first_inner_step == plan.first_inner_step(self.round)),
            ("number of inner steps", self.inner_steps == plan.inner_steps_per_round()),
            ("roster size", self.roster_size == previous.roster_size),
        ] {
            if !holds {
                return Err(RecordError::NotContinuing(what));
            }
        }
        Ok(())
    }

    fn check_entries(&self, plan: Plan) -> Result<(), RecordError> {
        if !(1..=MAX_PARTICIPANTS).contains(&usize::from(self.roster_size)) {
            return Err(RecordError::RosterSize(self.roster_size));
        }
        let mut next = 0;
        for entry in &self.entries {
            if entry.participant < next || entry.participant >= self.roster_size {
                return Err(RecordError::BadParticipant(entry.participant));
            }
            next = entry.participant + 1;
            if !plan.can_assign(entry.assigned_tokens) {
                return Err(RecordError::WrongTokens(entry.participant));
            }
        }
        Ok(())
    }

    fn check_scorer(&self) -> Result<(), RecordError> {
        let commitments = self.commitments();
        let drawn = self.scorer.map(|draw| {
            let order = scorer_order(&draw.seed, &commitments);
            order.get(usize::from(draw.skipped)) == Some(&draw.scorer)
        });
        // Nobody committed: nobody scores.
        let right = drawn.unwrap_or(commitments.is_empty());
        if right { Ok(()) } else { Err(RecordError::WrongScorer) }
    }

    fn check_probe(&self) -> Result<(), RecordError> {
        let scored = self.entries.iter().any(|entry| entry.score().is_some());
        let is_right = self.probe.map_or(!scored, |probe| probe.0.unsigned_abs() <= Nats::MOST.0.unsigned_abs());
        if is_right { Ok(()) } else { Err(RecordError::WrongProbe) }
    }

    fn check_verdicts(&self, plan: Plan) -> Result<(), RecordError> {
        let scored = |entry: &Entry| Some((entry.score()?, plan.share(entry.assigned_tokens)));
        let cohort = Cohort::of(&self.entries.iter().filter_map(scored).collect::<Vec<_>>());
        for entry in &self.entries {
            let share = plan.share(entry.assigned_tokens);
            let follows = match &entry.outcome {
                Outcome::Accepted { score, .. } => gate(*score, share, cohort) == Verdict::Pass,
                Outcome::Refused { update_hash, score, reason } => {
                    let shown = update_hash.is_some() || *reason == Refusal::Late;
                    let verdict = score.map(|score| gate(score, share, cohort));
                    shown && refusal_follows(*reason, verdict)
                }
            };
            if !follows {
                return Err(RecordError::WrongVerdict(entry.participant));
            }
        }
        Ok(())
    }

    fn check_updates(&self, updates: &Updates) -> Result<(), RecordError> {
        let missing = self.accepted().find(|participant| !updates.contains_key(participant));
        let foreign = updates.keys().copied().find(|participant| self.accepted().all(|accepted| accepted != *participant));
        if let Some(participant) = missing.or(foreign) {
            return Err(RecordError::WrongUpdates(participant));
        }
        let works: Vec<(u64, u32)> = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.outcome, Outcome::Accepted { .. }))
            .filter_map(|entry| Some((norm(updates.get(&entry.participant)?), entry.assigned_tokens)))
            .collect();
        let mut factors = clip_factors(&works).into_iter();
        for entry in &self.entries {
            let participant = entry.participant;
            let Outcome::Accepted { update_hash, clip_factor_256, .. } = &entry.outcome else {
                continue;
            };
            if updates.get(&participant).is_none_or(|update| update.hash() != *update_hash) {
                return Err(RecordError::WrongUpdateHash(participant));
            }
            let expected = factors.next().unwrap_or(CLIP_ONE);
            if *clip_factor_256 != expected {
                return Err(RecordError::WrongClipFactor { participant, got: *clip_factor_256, expected });
            }
        }
        for (i, (first, left)) in updates.iter().enumerate() {
            for (second, right) in updates.iter().skip(i + 1) {
                if is_same(left, right) {
                    return Err(RecordError::CopyAccepted(*first, *second));
                }
            }
        }
        Ok(())
    }
}

/// A refusal by the gate must be the gate's; one before it has no score. A copy is found either way.
fn refusal_follows(reason: Refusal, verdict: Option<Verdict>) -> bool {
    match (reason, verdict) {
        (Refusal::Late | Refusal::NotFinite | Refusal::WrongShape | Refusal::Copied | Refusal::TooLong, None) => true,
        (Refusal::Late | Refusal::NotFinite | Refusal::WrongShape | Refusal::TooLong, Some(_)) => false,
        (Refusal::GateRefused | Refusal::LossSpike, None) => false,
        (Refusal::GateRefused | Refusal::Copied | Refusal::LossSpike, Some(verdict)) => verdict == Verdict::Refuse(reason),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
