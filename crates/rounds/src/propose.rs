//! Makes the record of a round from what came in: the coordinator's side of what [`RoundRecord::check`] checks.

use crate::aggregate::{CLIP_ONE, clip_factors, norm};
use crate::assignment::Plan;
use crate::check::{COPY_OVERLAP, Previous};
use crate::codec::{CodecError, Update, overlap};
use crate::draw::scorer_order;
use crate::gate::{Cohort, Score, Verdict, gate};
use crate::hash::Hash32;
use crate::record::{Entry, Outcome, Refusal, RoundRecord, ScorerDraw};

/// One participant's work as it reached the coordinator.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Index in the roster.
    pub participant: u16,
    /// What was committed before the freeze, if anything was.
    pub commitment: Option<Hash32>,
    /// What was delivered.
    pub work: Work<'a>,
}

/// What a participant delivered.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// Nothing that could be scored: [`Refusal::Late`], or what [`Refusal::from`] a [`CodecError`] says.
    Unusable(Refusal),
    /// An update, and what the scorer measured; no score if a loss was not finite.
    Scored {
        /// Decoded from the bytes committed to.
        update: &'a Update,
        /// From [`Score::from_losses`].
        score: Option<Score>,
    },
}

impl From<&CodecError> for Refusal {
    fn from(error: &CodecError) -> Self {
        match error {
            CodecError::NotFinite { .. } => Self::NotFinite,
            _ => Self::WrongShape,
        }
    }
}

/// Proposes the record that continues `previous`: finds copies, applies the gate, computes clip factors, draws.
///
/// `candidates` come in the order in which they committed: of two that share their update the later is the copy. Each
/// participant appears once. Accepted work counts for all tokens that the plan assigns. `seed` and `skipped` are those
/// of [`ScorerDraw`].
pub fn propose(previous: &Previous, plan: Plan, seed: Hash32, skipped: u16, candidates: &[Candidate<'_>]) -> RoundRecord {
    let mut judged: Vec<(&Candidate<'_>, Judgement<'_>)> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let copies = |update| judged.iter().any(|(_, other)| other.update().is_some_and(|one| overlap(one, update) >= COPY_OVERLAP));
        let judgement = match candidate.work {
            _ if candidate.commitment.is_none() => Judgement::Refused(None, Refusal::Late),
            Work::Unusable(reason) => Judgement::Refused(None, reason),
            Work::Scored { score: None, .. } => Judgement::Refused(None, Refusal::NotFinite),
            // What was committed to never came.
            Work::Scored { update, .. } if candidate.commitment != Some(update.hash()) => {
                Judgement::Refused(None, Refusal::Late)
            }
            Work::Scored { update, .. } if copies(update) => Judgement::Refused(None, Refusal::Copied),
            Work::Scored { update, score: Some(score) } => Judgement::Usable(update, score),
        };
        judged.push((candidate, judgement));
    }
    judged.sort_by_key(|(candidate, _)| candidate.participant);
    apply_gate(&mut judged);
    let norms: Vec<u64> = judged.iter().filter_map(|(_, judgement)| judgement.update()).map(norm).collect();
    let mut factors = clip_factors(&norms).into_iter();
    let entries = judged.into_iter().map(|(candidate, judgement)| {
        let outcome = match judgement {
            Judgement::Usable(update, score) => Outcome::Accepted {
                update_hash: update.hash(),
                tokens: plan.assigned_tokens(),
                clip_factor_256: factors.next().unwrap_or(CLIP_ONE),
                score,
            },
            Judgement::Refused(score, reason) => Outcome::Refused { update_hash: candidate.commitment, score, reason },
        };
        Entry { participant: candidate.participant, outcome }
    });
    let mut record = RoundRecord {
        run: previous.run,
        round: previous.round,
        previous_digest: previous.digest,
        previous_state_root: previous.state_root,
        first_inner_step: plan.first_inner_step(previous.round),
        inner_steps: plan.inner_steps_per_round(),
        roster_size: previous.roster_size,
        scorer: None,
        entries: entries.collect(),
    };
    let commitments = record.commitments();
    let committed: Vec<u16> = commitments.iter().map(|(participant, _)| *participant).collect();
    let scorer = scorer_order(&seed, &commitments, &committed).get(usize::from(skipped)).copied();
    record.scorer = scorer.map(|scorer| ScorerDraw { seed, skipped, scorer });
    record
}

enum Judgement<'a> {
    Usable(&'a Update, Score),
    Refused(Option<Score>, Refusal),
}

impl<'a> Judgement<'a> {
    fn update(&self) -> Option<&'a Update> {
        match self {
            Self::Usable(update, _) => Some(update),
            Self::Refused(..) => None,
        }
    }
}

fn apply_gate(judged: &mut [(&Candidate<'_>, Judgement<'_>)]) {
    let scores: Vec<Score> = judged
        .iter()
        .filter_map(|(_, judgement)| match judgement {
            Judgement::Usable(_, score) => Some(*score),
            Judgement::Refused(..) => None,
        })
        .collect();
    let cohort = Cohort::of(&scores);
    for (_, judgement) in judged {
        if let Judgement::Usable(_, score) = *judgement
            && let Verdict::Refuse(reason) = gate(score, cohort)
        {
            *judgement = Judgement::Refused(Some(score), reason);
        }
    }
}
