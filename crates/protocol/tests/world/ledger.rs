//! `billing` without its storage: balances, escrows, fees and what is leaving, in NEAR and in one token.

use crate::coverage::Coverage;
use starling_primitives::{AccountId, Amount, Asset, TimestampMs};
use starling_protocol::escrow::{Effects, Escrow, EscrowError, Event};
use std::collections::{BTreeMap, BTreeSet};

/// The books of one asset.
#[derive(Clone, Default)]
pub(crate) struct Books {
    /// What the contract really has.
    pub(crate) holdings: u128,
    pub(crate) balances: BTreeMap<AccountId, u128>,
    pub(crate) fees: u128,
    /// Leaving; the outcome is not known yet.
    pub(crate) in_flight: u128,
    /// What strangers sent to nobody.
    pub(crate) surplus: u128,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) books: BTreeMap<Asset, Books>,
    pub(crate) escrows: BTreeMap<u64, Escrow>,
    pub(crate) registered: BTreeSet<AccountId>,
    last: u64,
}

impl Books {
    pub(crate) fn balance(&mut self, account: &AccountId) -> &mut u128 {
        self.balances.entry(account.clone()).or_default()
    }
}

impl Ledger {
    pub(crate) fn of(&mut self, asset: &Asset) -> &mut Books {
        self.books.entry(asset.clone()).or_default()
    }

    /// Stores a payment that was taken from its payer's balance.
    pub(crate) fn hold(&mut self, escrow: Escrow) -> u64 {
        self.last += 1;
        *self.of(&escrow.asset).balance(&escrow.payer) -= escrow.deposited.0;
        self.escrows.insert(self.last, escrow);
        self.last
    }

    /// Applies an event to an escrow and moves what follows from it.
    pub(crate) fn apply(&mut self, id: u64, event: Event, now: TimestampMs, coverage: &mut Coverage) -> Result<Effects, EscrowError> {
        let before = self.escrows[&id].clone();
        let (state, name) = (before.state.name(), name_of(&event));
        let registered = &self.registered;
        let applied = before.apply(event, now, |account| registered.contains(account));
        coverage.note("escrow", state, name, applied.is_ok());
        let (after, effects) = applied?;
        check(&before, &after, &effects);
        let books = self.of(&before.asset);
        for (account, amount) in &effects.credits {
            *books.balance(account) += amount.0;
        }
        books.fees += effects.fee.0;
        *books.balance(&before.payer) += effects.refund.0;
        for (account, _) in &effects.credits {
            assert!(self.registered.contains(account), "{account} was credited without a record");
        }
        self.escrows.insert(id, after);
        Ok(effects)
    }

    /// Holdings are the sum of all that somebody owns and of what strangers sent: in each asset, to the last unit.
    pub(crate) fn check(&self) {
        for (asset, books) in &self.books {
            let locked: u128 = self.escrows.values().filter(|escrow| escrow.asset == *asset).map(|escrow| escrow.locked().0).sum();
            let balances: u128 = books.balances.values().sum();
            assert_eq!(books.holdings, balances + locked + books.fees + books.in_flight + books.surplus, "{asset}");
        }
    }
}

/// What must hold of each change of an escrow.
fn check(before: &Escrow, after: &Escrow, effects: &Effects) {
    let parts = Amount::sum([after.available(), after.pending(), after.posted(), after.refunded]);
    assert_eq!(parts, Ok(after.deposited), "deposited = available + pending + posted + refunded: {after:?}");
    assert!(after.posted() >= before.posted() && after.refunded >= before.refunded, "what is earned or returned stays so");
    let credits: u128 = effects.credits.iter().map(|(_, amount)| amount.0).sum();
    assert_eq!(before.locked().0, after.locked().0 + credits + effects.fee.0 + effects.refund.0, "what leaves arrives");
    if !effects.changed {
        assert_eq!(before, after);
    }
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Open(_) => "open",
        Event::Refuse => "refuse",
        Event::Void => "void",
        Event::Post { .. } => "post",
        Event::Acknowledge => "acknowledge",
        Event::RefuseHoldback => "refuse_holdback",
        Event::Object => "object",
        Event::AskClosing => "ask_closing",
        Event::Extend(_) => "extend",
        Event::Close => "close",
        Event::Vest => "vest",
        Event::Claim(_) => "claim",
    }
}
