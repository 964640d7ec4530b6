//! What came of a simulation: a row for each round, and what a person reads of them.

use std::fmt::Write as _;

use serde::Serialize;
use starling_primitives::Hash32;
use starling_rounds::Refusal;

use crate::clock::Micros;

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// From 0.
    pub round: u32,
    /// When it began.
    pub began_us: Micros,
    /// When it counted.
    pub ended_us: Micros,
    /// Participants that were there when it began.
    pub told: usize,
    /// Those that committed in time.
    pub committed: usize,
    /// Places whose work counts.
    pub accepted: Vec<u16>,
    /// Places whose work does not, and why.
    pub refused: Vec<(u16, Refusal)>,
    /// Accepted tokens.
    pub tokens: u64,
    /// Tokens that those who were there could have made in the round's time, had they done nothing but inner steps.
    pub could: f64,
    /// Nats per byte, where it was measured.
    pub held_out_loss: Option<f64>,
}

/// A whole simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The scenario's.
    pub name: String,
    /// Of the model.
    pub parameters: usize,
    /// At the end, in nats per byte.
    pub held_out_loss: f64,
    /// On text with a backdoor's trigger in it.
    pub trigger_loss: f64,
    /// Of all honest parties.
    pub state_root: Hash32,
    /// Virtual time.
    pub elapsed_us: Micros,
    /// By round.
    pub rows: Vec<Row>,
    /// Part of its time that each participant spent on inner steps.
    pub computing: Vec<f64>,
    /// Bytes that each participant sent and received.
    pub node_bytes: Vec<(u64, u64)>,
    /// Bytes that the coordinator sent and received.
    pub hub_bytes: (u64, u64),
}

impl Outcome {
    /// Accepted tokens.
    pub fn tokens(&self) -> u64 {
        self.rows.iter().map(|row| row.tokens).sum()
    }

    /// Accepted tokens as a part of what those who were there could have made.
    pub fn efficiency(&self) -> f64 {
        let could: f64 = self.rows.iter().map(|row| row.could).sum();
        if could > 0.0 { self.tokens() as f64 / could } else { 0.0 }
    }

    /// How often a place's work was accepted and refused.
    pub fn verdicts(&self, place: u16) -> (usize, usize) {
        let accepted = self.rows.iter().filter(|row| row.accepted.contains(&place)).count();
        let refused = self.rows.iter().filter(|row| row.refused.iter().any(|(who, _)| *who == place)).count();
        (accepted, refused)
    }

    /// Held-out loss after so many accepted tokens, on a straight line between the two nearest measurements.
    pub fn loss_at(&self, tokens: u64) -> Option<f64> {
        let mut sum = 0;
        let mut before: Option<(u64, f64)> = None;
        for row in &self.rows {
            sum += row.tokens;
            let Some(loss) = row.held_out_loss else { continue };
            if sum >= tokens {
                let Some((from, at_from)) = before.filter(|(from, _)| *from < sum) else { return Some(loss) };
                let part = (tokens.saturating_sub(from)) as f64 / (sum - from) as f64;
                return Some(at_from + (loss - at_from) * part);
            }
            before = Some((sum, loss));
        }
        None
    }

    /// Rounds as a table: what happened, and to whom.
    pub fn table(&self) -> String {
        let mut text = format!("{}: {} parameters\n", self.name, self.parameters);
        let _ = writeln!(
            text,
            "{:>6} {:>9} {:>6} {:>9} {:>8} {:>10} {:>8}  refused",
            "round", "until s", "there", "committed", "accepted", "tokens", "loss"
        );
        for row in &self.rows {
            let refused: Vec<String> = row.refused.iter().map(|(place, reason)| format!("{place} {reason:?}")).collect();
            let loss = row.held_out_loss.map_or_else(String::new, |loss| format!("{loss:.4}"));
            let _ = writeln!(
                text,
                "{:>6} {:>9.1} {:>6} {:>9} {:>8} {:>10} {:>8}  {}",
                row.round,
                row.ended_us as f64 / 1e6,
                row.told,
                row.committed,
                row.accepted.len(),
                row.tokens,
                loss,
                refused.join(", "),
            );
        }
        let computing = self.computing.iter().sum::<f64>() / self.computing.len().max(1) as f64;
        let sent: u64 = self.node_bytes.iter().map(|(sent, _)| sent).sum::<u64>() / self.node_bytes.len().max(1) as u64;
        let received: u64 = self.node_bytes.iter().map(|(_, received)| received).sum::<u64>() / self.node_bytes.len().max(1) as u64;
        let _ = writeln!(
            text,
            "held-out loss {:.4}, {} accepted tokens in {:.0} s of virtual time",
            self.held_out_loss,
            self.tokens(),
            self.elapsed_us as f64 / 1e6
        );
        let _ = writeln!(
            text,
            "computing {:.1} % of the time; a node sent {sent} and received {received} bytes, the coordinator sent {} and received {}",
            100.0 * computing,
            self.hub_bytes.0,
            self.hub_bytes.1
        );
        let _ = writeln!(text, "state root {}", self.state_root);
        text
    }
}
