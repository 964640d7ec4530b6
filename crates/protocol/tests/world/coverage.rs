//! Which pairs of state and event a walk has tried, and how many of its operations were taken.

use std::collections::{BTreeMap, BTreeSet};

/// A state machine with the names of its states and events.
struct Machine {
    name: &'static str,
    states: &'static [&'static str],
    events: &'static [&'static str],
}

const MACHINES: [Machine; 6] = [
    Machine {
        name: "escrow",
        states: &["held", "open", "settling", "closed", "voided"],
        events: &[
            "open",
            "refuse",
            "void",
            "post",
            "acknowledge",
            "refuse_holdback",
            "object",
            "ask_closing",
            "extend",
            "close",
            "vest",
            "claim",
        ],
    },
    Machine {
        name: "run",
        states: &["pending", "enrolling", "training", "ended"],
        events: &["opened", "enroll", "leave", "round", "stop", "tick", "settled", "objected"],
    },
    Machine {
        name: "lease",
        states: &["unpaid", "pending", "active", "closing", "closed"],
        events: &[
            "opened",
            "accept",
            "statement",
            "former_statement",
            "replace_meter",
            "close_by_tenant",
            "close_by_provider",
            "ping",
            "pong",
            "tick",
            "settled",
            "objected",
            "escrow_closed",
        ],
    },
    Machine {
        name: "bond",
        states: &["unpaid", "open", "closing"],
        events: &["opened", "closing_asked", "set_aside", "free", "break", "post"],
    },
    Machine { name: "cover", states: &["standing", "pinged", "broken", "kept"], events: &["ping", "pong", "worked", "end"] },
    Machine { name: "listing", states: &["listed", "delisted"], events: &["buy", "split", "flatten"] },
];

/// Of one pair.
#[derive(Clone, Copy, Default)]
struct Tried {
    taken: u64,
    refused: u64,
}

#[derive(Default)]
pub(crate) struct Coverage {
    pairs: BTreeMap<(&'static str, &'static str, &'static str), Tried>,
    pub(crate) operations: u64,
    pub(crate) taken: u64,
}

impl Coverage {
    /// Notes that a machine in `state` was given `event`.
    pub(crate) fn note(&mut self, machine: &'static str, state: &'static str, event: &'static str, taken: bool) {
        let tried = self.pairs.entry((machine, state, event)).or_default();
        if taken { tried.taken += 1 } else { tried.refused += 1 }
    }

    /// The pairs that were never tried, and what was tried and is no pair.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let wanted: BTreeSet<_> = MACHINES
            .iter()
            .flat_map(|machine| machine.states.iter().map(move |state| (machine, state)))
            .flat_map(|(machine, state)| machine.events.iter().map(move |event| (machine.name, *state, *event)))
            .collect();
        let tried: BTreeSet<_> = self.pairs.keys().copied().collect();
        wanted.symmetric_difference(&tried).map(|(machine, state, event)| format!("{machine}: {event} when {state}")).collect()
    }

    /// A line for each pair: how often it was taken and refused.
    pub(crate) fn table(&self) -> String {
        let line = |((machine, state, event), tried): (&(&str, &str, &str), &Tried)| {
            format!("{machine:8} {state:10} {event:18} {:>9} taken {:>9} refused\n", tried.taken, tried.refused)
        };
        self.pairs.iter().map(line).collect()
    }
}
