//! Bonds behind leases: set aside when a lease is paid, owed after a breach, free after any other end.

use crate::{
    coverage::Coverage,
    random::Random,
    targets::{Settlement, Targets},
};
use starling_primitives::{Amount, DurationMs, EscrowId, TimestampMs};
use starling_protocol::{
    bond::{Bond, BondState, Event, MIN_ANSWER_TIME, Sla},
    lease::{self, Lease},
};

impl Targets {
    /// What an offer promises: now and then nothing, or more than there is.
    pub(crate) fn sla(&self, random: &mut Random) -> Option<Sla> {
        let bonds: Vec<u64> = self.bonds.keys().copied().collect();
        let id = random.pick(&bonds).filter(|_| random.percent(70)).copied()?;
        let part = 1 + u128::from(random.below(12));
        let answer_time = DurationMs(MIN_ANSWER_TIME.0 + random.below(600_000));
        let units_per_hour = if random.percent(50) { 0 } else { random.below(40_000) };
        Some(Sla { bond: EscrowId(id), pays: Amount(self.bonds[&id].deposit.0 / part), units_per_hour, answer_time })
    }

    /// Whether the bond took the event.
    pub(crate) fn step_bond(&mut self, id: u64, event: Event, now: TimestampMs, coverage: &mut Coverage) -> bool {
        let Some(bond) = self.bonds.get(&id) else { return false };
        let applied = bond.apply(event.clone(), now);
        coverage.note("bond", bond.state.name(), name_of(&event), applied.is_ok());
        let Ok(next) = applied else { return false };
        let owed = |bond: &Bond| Amount::sum(bond.owed.iter().map(|posting| posting.total)).expect("small");
        assert!(owed(&next) >= owed(bond), "what is owed stays owed");
        assert_eq!(next.free().expect("never less than nothing").0, next.deposit.0 - owed(&next).0 - next.set_aside.0);
        self.bonds.insert(id, next);
        true
    }

    /// Moves a lease's bond with its promise.
    pub(crate) fn follow(&mut self, before: &Lease, after: &Lease, now: TimestampMs, coverage: &mut Coverage) {
        let (Some(was), Some(is)) = (&before.cover, &after.cover) else { return };
        if let Some(event) = is.follows(was, &after.tenant) {
            let id = is.sla.bond.0;
            // Whoever settled the bond's escrow alone took it away.
            let there = self.bonds.contains_key(&id);
            assert_eq!(self.step_bond(id, event, now, coverage), there, "what was set aside can be given");
        }
    }

    /// Notes what a lease's event does to its promise.
    pub(crate) fn note_cover(before: &Lease, event: &lease::Event, taken: bool, now: TimestampMs, coverage: &mut Coverage) {
        let Some(cover) = before.at(now).cover else { return };
        let name = match event {
            lease::Event::Ping => "ping",
            lease::Event::Pong => "pong",
            lease::Event::Statement(_) | lease::Event::FormerStatement(_) => "worked",
            lease::Event::CloseByTenant | lease::Event::CloseByProvider => "end",
            _ => return,
        };
        coverage.note("cover", cover.state.name(), name, taken);
    }

    /// An event for a bond that the rules must decide: what comes of leases comes from them alone.
    pub(crate) fn bond_event(&self, id: u64, random: &mut Random, now: TimestampMs) -> Event {
        let pays = Amount(1);
        match (self.bonds[&id].state, random.below(12)) {
            (BondState::Unpaid, 0..3) => Event::Free { pays },
            (BondState::Unpaid, 3..6) => Event::Break { tenant: self.bonds[&id].provider.clone(), pays },
            (BondState::Unpaid, 6..9) => Event::ClosingAsked,
            (BondState::Unpaid | BondState::Closing, 9) => Event::SetAside { pays, until: now },
            (BondState::Open | BondState::Closing, 0..2) => Event::Opened,
            (BondState::Closing, 2..4) => Event::ClosingAsked,
            _ => Event::Post,
        }
    }

    /// `claim_bond`: what is sent to `billing`.
    pub(crate) fn post_bond(&mut self, id: u64, now: TimestampMs, coverage: &mut Coverage) -> Option<Settlement> {
        if !self.step_bond(id, Event::Post, now, coverage) {
            return None;
        }
        let bond = &self.bonds[&id];
        Some(Settlement { seq: bond.seq, postings: bond.owed.clone(), close: false })
    }

    /// All that a bond owes.
    pub(crate) fn owed(&self, id: u64) -> Option<Amount> {
        self.bonds.get(&id).map(|bond| Amount::sum(bond.owed.iter().map(|posting| posting.total)).expect("small"))
    }
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Opened => "opened",
        Event::ClosingAsked => "closing_asked",
        Event::SetAside { .. } => "set_aside",
        Event::Free { .. } => "free",
        Event::Break { .. } => "break",
        Event::Post => "post",
    }
}
