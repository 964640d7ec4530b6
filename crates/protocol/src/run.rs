//! Run: one training undertaking. `Enrolling -> Training{round} -> Ended{Finished | Stopped | Failed}`.
//!
//! A round counts once at least two thirds of its roster and the meter have signed its statement. It pays each node its accepted tokens, never more than were assigned.

mod terms;

pub use terms::RunTerms;

use crate::{escrow::Posting, price::tokens_earned, signing::RoundStatement};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, AmountError, DurationMs, EscrowId, Hash32, NodeId, PublicKey, RunId, TimestampMs};

/// The most nodes of one run on chain.
pub const MAX_ROSTER: u16 = 64;
/// The most rounds of one run.
pub const MAX_ROUNDS: u32 = 100_000;
/// After so many rounds without a contribution or a signature a node is out.
pub const MAX_MISSED: u8 = 3;
/// The longest time a round may take.
pub const MAX_ROUND_TIME: DurationMs = DurationMs::from_hours(24);
/// The longest time for enrolling.
pub const MAX_ENROLL_TIME: DurationMs = DurationMs::from_hours(24);
/// How long after the last possible round a run's escrow still takes posts.
pub const RUN_MARGIN: DurationMs = DurationMs::from_hours(1);

/// A node's place in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Member {
    /// The node.
    pub node_id: NodeId,
    /// Who is paid, frozen at enrolling.
    pub payout: AccountId,
    /// The key that signs, frozen at enrolling.
    pub key: PublicKey,
    /// Accepted tokens so far.
    pub tokens: u64,
    /// Rounds in a row without contribution or signature.
    pub missed: u8,
    /// Whether it leaves when the round under way is over.
    pub leaving: bool,
    /// Whether it left, or was out after too many missed rounds.
    pub left: bool,
}

/// Why a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    /// Too few nodes enrolled in time.
    TooFewNodes,
    /// A round had no quorum in time.
    RoundTimedOut,
    /// Too many nodes left.
    RosterTooSmall,
    /// The tenant objected in `billing` to what the meter had signed.
    Objected,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All rounds are done.
    Finished,
    /// The tenant stopped it.
    Stopped,
    /// It could not go on.
    Failed(FailReason),
}

const OBJECTED: Ending = Ending::Failed(FailReason::Objected);

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RunState {
    /// The payment is held and `billing` has not said that the escrow is open.
    Pending,
    /// Nodes may join.
    Enrolling {
        /// Until then, or until the roster is full.
        until: TimestampMs,
    },
    /// A round is under way.
    Training {
        /// The round that is under way, counted from 0.
        round: u32,
        /// Without a quorum by then the run fails.
        deadline: TimestampMs,
    },
    /// It ended.
    Ended {
        /// How.
        ending: Ending,
        /// When.
        at: TimestampMs,
        /// Whether the last figures were posted and the escrow was closed.
        settled: bool,
    },
}

/// A run as `compute` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Who pays.
    pub tenant: AccountId,
    /// The escrow that pays.
    pub escrow_id: EscrowId,
    /// What was paid in.
    pub deposit: Amount,
    /// What is paid for.
    pub terms: RunTerms,
    /// The nodes, in order of enrolling; fixed when enrolling ends.
    pub roster: Vec<Member>,
    /// Rounds that counted.
    pub rounds_done: u32,
    /// Hash chain over all statements that counted; zeros before the first.
    pub chain: Hash32,
    /// State root after the last round that counted.
    pub state_root: Hash32,
    /// Number of the last post sent to `billing`.
    pub post_seq: u64,
    /// When the payment came in.
    pub created_at: TimestampMs,
    /// Where it stands.
    pub state: RunState,
}

/// What happens to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `billing` opened the escrow.
    Opened,
    /// A node joins.
    Enroll(Member),
    /// A node leaves by its own key.
    Leave(NodeId),
    /// A round's statement with the places in the roster whose signatures were checked; the meter's was checked too.
    Round {
        /// What was signed.
        statement: RoundStatement,
        /// Bit *i* is set when place *i* of the roster signed.
        signers: u64,
        /// The hash chain after it, [`RoundStatement::chain_hash`]: a chain has the hash function in its own machine.
        chain: Hash32,
    },
    /// The tenant stops the run.
    Stop,
    /// Anyone: what the time demands.
    Tick,
    /// The last figures are posted and the escrow is closed.
    Settled,
    /// The tenant objected in `billing`: nothing is posted any more.
    Objected,
}

/// Why an event was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The event is not taken in this state.
    #[error("the run is {0}, which does not take this")]
    WrongState(&'static str),
    /// A term is outside its limits.
    #[error("the run's terms: {0}")]
    Terms(&'static str),
    /// The deposit is less than the quote.
    #[error("the deposit is less than the quote of {0} yocto")]
    DepositTooSmall(Amount),
    /// The node is in the roster already.
    #[error("node {0} is in the roster already")]
    Twice(NodeId),
    /// The node is not invited, or not in the roster.
    #[error("node {0} is not in this run")]
    NotInRun(NodeId),
    /// The statement is for another round, run or escrow, or does not follow the last.
    #[error("the statement does not follow the last one: {0}")]
    DoesNotFollow(&'static str),
    /// Too few of the roster signed.
    #[error("{signed} of {needed} signatures that a quorum needs")]
    NoQuorum {
        /// How many signed.
        signed: u32,
        /// How many are needed.
        needed: u32,
    },
    /// Accepted tokens pass what was assigned, or go to a node that left.
    #[error("place {0} in the roster has more tokens than were assigned to it")]
    TooManyTokens(usize),
    /// The round's time is over; only a tick is taken.
    #[error("the round's deadline has passed")]
    RoundOver,
    /// It is too early for a tick to change anything.
    #[error("nothing is due before {0}")]
    NothingDue(TimestampMs),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Member {
    /// A node that joins.
    pub fn new(node_id: NodeId, payout: AccountId, key: PublicKey) -> Self {
        Self { node_id, payout, key, tokens: 0, missed: 0, leaving: false, left: false }
    }
}

impl Run {
    /// A run whose payment is held.
    pub fn new(
        id: RunId,
        tenant: AccountId,
        escrow_id: EscrowId,
        deposit: Amount,
        terms: RunTerms,
        now: TimestampMs,
    ) -> Result<Self, RunError> {
        terms.check()?;
        let needed = crate::price::quote_run(&terms, starling_primitives::BasisPoints::ZERO)?.at_most;
        if deposit < needed {
            return Err(RunError::DepositTooSmall(needed));
        }
        let (chain, state_root) = (Hash32::default(), terms.base_root);
        Ok(Self {
            id,
            tenant,
            escrow_id,
            deposit,
            terms,
            roster: Vec::new(),
            rounds_done: 0,
            chain,
            state_root,
            post_seq: 0,
            created_at: now,
            state: RunState::Pending,
        })
    }

    /// Applies an event.
    pub fn apply(&self, event: Event, now: TimestampMs) -> Result<Self, RunError> {
        let mut next = self.clone();
        match (event, self.state) {
            (Event::Opened, RunState::Pending) => next.state = RunState::Enrolling { until: now.after(self.terms.enroll_time) },
            (Event::Enroll(member), RunState::Enrolling { until }) if now < until => {
                next.enroll(member)?;
                if next.roster.len() == usize::from(self.terms.max_nodes) {
                    next.start_round(0, now);
                }
            }
            (Event::Leave(node_id), RunState::Enrolling { .. }) => {
                let before = next.roster.len();
                next.roster.retain(|member| member.node_id != node_id);
                if next.roster.len() == before {
                    return Err(RunError::NotInRun(node_id));
                }
            }
            (Event::Leave(node_id), RunState::Training { .. }) => {
                // It counts from the next round: what others have signed of this round stays good, the leaver's tokens in it too.
                let member = next.roster.iter_mut().find(|member| member.node_id == node_id && !member.left && !member.leaving);
                member.ok_or(RunError::NotInRun(node_id))?.leaving = true;
            }
            (Event::Round { statement, signers, chain }, RunState::Training { round, deadline }) => {
                if now > deadline {
                    return Err(RunError::RoundOver);
                }
                next.accept_round(&statement, signers, round)?;
                next.chain = chain;
                if next.rounds_done == self.terms.rounds {
                    next.end(Ending::Finished, now);
                } else {
                    next.start_round(round + 1, now);
                    next.fail_if_too_small(now);
                }
            }
            (Event::Stop, RunState::Enrolling { .. } | RunState::Training { .. }) => next.end(Ending::Stopped, now),
            (Event::Tick, RunState::Enrolling { until }) => {
                if now < until {
                    return Err(RunError::NothingDue(until));
                }
                if next.roster.len() >= usize::from(self.terms.min_nodes) {
                    // From when enrolling ended, not from when someone said so: every deadline stays within the escrow's life.
                    next.start_round(0, until);
                } else {
                    next.end(Ending::Failed(FailReason::TooFewNodes), now);
                }
            }
            (Event::Tick, RunState::Training { deadline, .. }) => {
                if now <= deadline {
                    return Err(RunError::NothingDue(deadline));
                }
                next.end(Ending::Failed(FailReason::RoundTimedOut), now);
            }
            (Event::Settled, RunState::Ended { ending, at, settled: false }) => next.state = RunState::Ended { ending, at, settled: true },
            (Event::Objected, state) if !matches!(state, RunState::Ended { ending: OBJECTED, .. }) => {
                let at = if let RunState::Ended { at, .. } = state { at } else { now };
                next.state = RunState::Ended { ending: OBJECTED, at, settled: true };
            }
            (_, state) => return Err(RunError::WrongState(state.name())),
        }
        Ok(next)
    }

    /// How many signatures of the roster a round needs: two thirds of those who have not left, rounded up.
    pub fn quorum(&self) -> u32 {
        let present = self.roster.iter().filter(|member| !member.left).count();
        u32::try_from((2 * present).div_ceil(3)).unwrap_or(u32::MAX)
    }

    /// What is posted now, cumulative, before the fee: what nodes have earned and the delegate's part of it besides, paid by the tenant. One entry a payee, ordered by name.
    pub fn postings(&self) -> Result<Vec<Posting>, RunError> {
        let mut earned = self.earned()?;
        if let Some(delegate) = &self.terms.delegate {
            let part = delegate.part(Amount::sum(earned.iter().map(|(_, amount)| *amount))?);
            add(&mut earned, &delegate.account, part)?;
        }
        earned.retain(|(_, amount)| !amount.is_zero());
        Ok(earned.into_iter().map(|(payee, total)| Posting { payee, total }).collect())
    }

    /// What each node's payee has earned so far, before the fee and without a delegate's part. One entry a payee, ordered by name.
    pub fn earned(&self) -> Result<Vec<(AccountId, Amount)>, RunError> {
        let mut earned = Vec::new();
        for member in self.roster.iter().filter(|member| member.tokens > 0) {
            add(&mut earned, &member.payout, tokens_earned(self.terms.price_per_million_tokens, member.tokens)?)?;
        }
        Ok(earned)
    }

    fn enroll(&mut self, member: Member) -> Result<(), RunError> {
        if self.roster.iter().any(|other| other.node_id == member.node_id) {
            return Err(RunError::Twice(member.node_id));
        }
        if !self.terms.invited.is_empty() && !self.terms.invited.contains(&member.node_id) {
            return Err(RunError::NotInRun(member.node_id));
        }
        self.roster.push(Member { tokens: 0, missed: 0, leaving: false, left: false, ..member });
        Ok(())
    }

    fn accept_round(&mut self, statement: &RoundStatement, signers: u64, round: u32) -> Result<(), RunError> {
        let refused = |what| Err(RunError::DoesNotFollow(what));
        match statement {
            statement if statement.run_id != self.id || statement.escrow_id != self.escrow_id => return refused("another run"),
            statement if statement.round != round => return refused("another round"),
            statement if statement.previous != self.chain => return refused("another history"),
            statement if statement.tokens.len() != self.roster.len() => return refused("another roster"),
            _ => {}
        }
        let present = self.roster.iter().enumerate().filter(|(_, member)| !member.left);
        let signed = u32::try_from(present.filter(|(place, _)| signers >> place & 1 == 1).count()).unwrap_or(u32::MAX);
        let needed = self.quorum();
        if signed < needed {
            return Err(RunError::NoQuorum { signed, needed });
        }
        for (place, (member, &tokens)) in self.roster.iter_mut().zip(&statement.tokens).enumerate() {
            if tokens > self.terms.tokens_per_round || (member.left && tokens > 0) {
                return Err(RunError::TooManyTokens(place));
            }
            member.tokens = member.tokens.checked_add(u64::from(tokens)).ok_or(AmountError::Overflow)?;
            let took_part = tokens > 0 || signers >> place & 1 == 1;
            member.missed = if took_part { 0 } else { member.missed.saturating_add(1) };
            member.left |= member.leaving || member.missed >= MAX_MISSED;
        }
        self.state_root = statement.state_root;
        self.rounds_done += 1;
        Ok(())
    }

    fn start_round(&mut self, round: u32, now: TimestampMs) {
        self.state = RunState::Training { round, deadline: now.after(self.terms.round_time) };
    }

    fn fail_if_too_small(&mut self, now: TimestampMs) {
        let present = self.roster.iter().filter(|member| !member.left).count();
        if present == 0 {
            self.end(Ending::Failed(FailReason::RosterTooSmall), now);
        }
    }

    fn end(&mut self, ending: Ending, at: TimestampMs) {
        self.state = RunState::Ended { ending, at, settled: false };
    }
}

/// Adds to a payee's figure in a list that is ordered by name.
fn add(earned: &mut Vec<(AccountId, Amount)>, payee: &AccountId, amount: Amount) -> Result<(), AmountError> {
    match earned.binary_search_by(|(other, _)| other.cmp(payee)) {
        Ok(place) => earned[place].1 = earned[place].1.checked_add(amount)?,
        Err(place) => earned.insert(place, (payee.clone(), amount)),
    }
    Ok(())
}

impl RunState {
    /// The state's name in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Enrolling { .. } => "enrolling",
            Self::Training { .. } => "training",
            Self::Ended { .. } => "ended",
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
