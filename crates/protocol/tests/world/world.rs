//! One world: people, their money, and all four contracts with messages between them that come late, twice, in another order or never.

use crate::{
    coverage::Coverage,
    draws::{any_terms, lease_terms, run_price, run_terms},
    ledger::Ledger,
    random::Random,
    targets::{Purpose, Targets, Wish, asset},
};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, PublicKey, TimestampMs};
use starling_protocol::{
    bond::{self, Cover},
    escrow::{Authority, Bounds, Escrow, Event, Holdback, OpenTerms, Opened, Posting, State},
    lease::{self, Lease},
    price::quote_lease,
    run,
    session_key::SessionKey,
};

/// More records than this, and the oldest is settled by its payer alone.
const MAX_RECORDS: usize = 24;

/// What is under way between two contracts.
enum Message {
    Question { id: u64, wish: Wish },
    Answer { id: u64, terms: Option<OpenTerms> },
    Notice { id: u64 },
    Post { id: u64, by: Authority, seq: u64, postings: Vec<Posting>, close: bool },
    Transfer { account: AccountId, asset: Asset, amount: u128 },
}

pub(crate) struct World<'a> {
    pub(crate) coverage: &'a mut Coverage,
    random: Random,
    now: TimestampMs,
    people: Vec<AccountId>,
    ledger: Ledger,
    targets: Targets,
    messages: Vec<Message>,
    /// The first person's session key.
    key: SessionKey,
}

impl<'a> World<'a> {
    pub(crate) fn new(seed: u64, coverage: &'a mut Coverage) -> Self {
        let people: Vec<AccountId> = ["ann", "ben", "cid", "dan", "eve", "fay"]
            .iter()
            .map(|name| AccountId::new(format!("{name}.starling")).expect("a name"))
            .collect();
        let now = TimestampMs(1_800_000_000_000);
        let key = SessionKey {
            cap: Amount(u128::MAX / 2),
            spent: Amount::ZERO,
            expires_at: now.after(DurationMs::from_days(9)),
            targets: people.clone(),
        };
        let targets = Targets::new(people[2..].to_vec());
        Self { coverage, random: Random::new(seed), now, people, ledger: Ledger::default(), targets, messages: Vec::new(), key }
    }

    /// One operation of anyone; whether it was taken.
    pub(crate) fn operate(&mut self) {
        let pause_ms = match self.random.below(10_000) {
            0..5 => self.random.below(400_000_000),
            5..100 => self.random.below(3_600_000),
            100..600 => self.random.below(30_000),
            _ => self.random.below(500),
        };
        self.now = self.now.after(DurationMs(pause_ms));
        let taken = match self.random.below(100) {
            0..5 => self.deposit(),
            5..8 => self.withdraw(),
            8..9 => self.gift(),
            9..15 => self.pay(),
            15..40 => self.deliver(),
            40..64 => self.work(),
            64..75 => self.decide(),
            75..82 => self.settle(),
            82..88 => self.redeem(),
            88..91 => self.register(),
            91..94 => self.publish(),
            94..98 => self.targets.change_listing(&mut self.random, self.coverage),
            _ => self.forge(),
        };
        self.coverage.operations += 1;
        self.coverage.taken += u64::from(taken);
        if self.ledger.escrows.len() > MAX_RECORDS {
            self.retire();
        }
        if self.coverage.operations.is_multiple_of(50) {
            self.ledger.check();
        }
    }

    /// Everyone but the payers is gone and nothing is posted any more: all that was not earned comes back, and everything leaves.
    pub(crate) fn end(mut self) {
        self.messages.retain(|message| matches!(message, Message::Transfer { .. }));
        while let Some(id) = self.ledger.escrows.keys().next().copied() {
            self.free(id);
        }
        while !self.messages.is_empty() {
            self.deliver();
        }
        self.ledger.check();
        for (asset, books) in &self.ledger.books {
            let balances: u128 = books.balances.values().sum();
            assert_eq!(books.holdings, balances + books.fees + books.surplus, "{asset}: a coin is stuck");
        }
    }

    fn person(&mut self) -> AccountId {
        self.random.pick(&self.people).expect("there are people").clone()
    }

    fn asset(&mut self) -> Asset {
        asset(&mut self.random)
    }

    fn escrow_id(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.ledger.escrows.keys().copied().collect();
        // The younger half is where most happens.
        let from = if self.random.percent(60) { ids.len() / 2 } else { 0 };
        self.random.pick(&ids[from..]).copied()
    }

    fn deposit(&mut self) -> bool {
        let (account, asset, amount) = (self.person(), self.asset(), u128::from(self.random.next()));
        self.ledger.registered.insert(account.clone());
        let books = self.ledger.of(&asset);
        books.holdings += amount;
        *books.balance(&account) += amount;
        true
    }

    fn withdraw(&mut self) -> bool {
        let (account, asset) = (self.person(), self.asset());
        let books = self.ledger.of(&asset);
        let balance = books.balance(&account);
        if *balance == 0 {
            return false;
        }
        let amount = 1 + u128::from(self.random.next()) % *balance;
        *balance -= amount;
        books.in_flight += amount;
        self.messages.push(Message::Transfer { account, asset, amount });
        true
    }

    /// A stranger sends something that belongs to nobody.
    fn gift(&mut self) -> bool {
        let (asset, amount) = (self.asset(), u128::from(self.random.below(1_000)));
        let books = self.ledger.of(&asset);
        books.holdings += amount;
        books.surplus += amount;
        true
    }

    fn pay(&mut self) -> bool {
        let (payer, mut asset) = (self.person(), self.asset());
        let longest_hours = if self.random.percent(3) { 20_000 } else { 800 };
        let life = DurationMs::from_hours(1 + self.random.below(longest_hours));
        let mut bounds = Bounds {
            expires_by: self.now.after(life),
            post_at_once: Amount::ZERO,
            fee: BasisPoints::new(250).expect("a part"),
            holdback: BasisPoints::ZERO,
            voucher: None,
            objection_window: DurationMs(0),
        };
        let (wish, amount) = match self.random.below(11) {
            0..4 => {
                let terms = run_terms(&mut self.random);
                bounds.expires_by = self.now.after(DurationMs::from_days(300));
                let amount = run_price(&terms, &mut self.random);
                (Wish::Run(terms), amount)
            }
            4..7 => {
                let (terms, price) = (lease_terms(&mut self.random), Amount(u128::from(self.random.below(1_000_000_000_000))));
                bounds.expires_by = self.now.after(DurationMs::from_days(30));
                let amount = quote_lease(price, terms.duration, terms.delegate.as_ref(), BasisPoints::ZERO).expect("small").at_most;
                let sla = self.targets.sla(&mut self.random);
                (Wish::Lease(terms, price, sla), amount)
            }
            7..9 => {
                let Some(listing) = self.random.pick(&self.targets.listings) else { return false };
                let (name, amount) = (listing.name.clone(), Amount(listing.price.0 + u128::from(self.random.percent(10))));
                bounds.post_at_once = amount;
                if self.random.percent(90) {
                    asset = listing.asset.clone();
                }
                (Wish::Licence(name), amount)
            }
            9 => {
                let amount = Amount(u128::from(self.random.next()));
                bounds.post_at_once = Amount(amount.0 / 2);
                bounds.voucher = self.random.percent(60).then_some(PublicKey([5; 32]));
                (Wish::Deal(any_terms(&bounds, amount, &self.people, &mut self.random, self.now)), amount)
            }
            _ => {
                bounds.expires_by = self.now.after(DurationMs::from_days(5 + self.random.below(40)));
                (Wish::Bond, Amount(1 + u128::from(self.random.below(1_000_000_000_000))))
            }
        };
        self.pay_for(payer, asset, wish, amount, bounds)
    }

    fn pay_for(&mut self, payer: AccountId, asset: Asset, wish: Wish, amount: Amount, bounds: Bounds) -> bool {
        if !self.ledger.registered.contains(&payer) || *self.ledger.of(&asset).balance(&payer) < amount.0 {
            return false;
        }
        let fee = BasisPoints::new(u16::try_from(self.random.below(260)).unwrap_or_default()).expect("a part");
        let target = self.people[1].clone();
        let Ok(escrow) = Escrow::hold(payer.clone(), target.clone(), asset.clone(), amount, bounds, fee, self.now) else { return false };
        if payer == self.people[0] && asset == Asset::Near && self.random.percent(50) {
            let Ok(key) = self.key.spend(amount, &target, self.now) else { return false };
            assert!(key.spent <= key.cap && key.spent.0 == self.key.spent.0 + amount.0, "a session key spends within its cap");
            self.key = key;
        }
        let id = self.ledger.hold(escrow);
        self.messages.push(Message::Question { id, wish });
        true
    }

    /// A message arrives, in any order; one in twelve is lost, some posts and notices come twice.
    fn deliver(&mut self) -> bool {
        if self.messages.is_empty() {
            return self.confirm();
        }
        let last = self.messages.len() - 1;
        let index = if self.random.percent(60) { last } else { usize::try_from(self.random.below(last as u64 + 1)).unwrap_or(last) };
        if self.random.percent(6) {
            let copy = match &self.messages[index] {
                Message::Notice { id } => Some(Message::Notice { id: *id }),
                Message::Post { id, by, seq, postings, close } => {
                    Some(Message::Post { id: *id, by: *by, seq: *seq, postings: postings.clone(), close: *close })
                }
                _ => None,
            };
            self.messages.extend(copy);
        }
        let lost = self.random.percent(8);
        match self.messages.swap_remove(index) {
            Message::Transfer { account, asset, amount } => self.arrive(&account, &asset, amount, lost),
            _ if lost => true,
            Message::Question { id, wish } => {
                let Some(escrow) = self.ledger.escrows.get(&id) else { return false };
                let terms = self.targets.ask(id, escrow, wish, self.now, self.coverage);
                let taken = terms.is_some();
                self.messages.push(Message::Answer { id, terms });
                taken
            }
            Message::Answer { id, terms } => self.answer(id, terms),
            Message::Notice { id } => self.targets.opened(id, self.now, self.coverage),
            Message::Post { id, by, seq, postings, close } => {
                if !self.ledger.escrows.contains_key(&id) {
                    return false;
                }
                let posted = self.ledger.apply(id, Event::Post { by, seq, postings, close }, self.now, self.coverage);
                let total = self.ledger.escrows[&id].state.opened().map_or(Amount::ZERO, Opened::total);
                assert!(self.targets.owed(id).is_none_or(|owed| total <= owed), "a breach is paid once");
                if posted.is_ok() && close && by == Authority::Arbiter {
                    self.targets.settled(id, self.now, self.coverage);
                }
                posted.is_ok_and(|effects| effects.changed)
            }
        }
    }

    fn arrive(&mut self, account: &AccountId, asset: &Asset, amount: u128, failed: bool) -> bool {
        let books = self.ledger.of(asset);
        books.in_flight -= amount;
        if failed {
            *books.balance(account) += amount;
        } else {
            books.holdings -= amount;
        }
        true
    }

    /// `billing`'s callback: it only opens or returns.
    fn answer(&mut self, id: u64, terms: Option<OpenTerms>) -> bool {
        if !matches!(self.ledger.escrows.get(&id), Some(Escrow { state: State::Held { .. }, .. })) {
            return false;
        }
        if let Some(terms) = terms
            && self.ledger.apply(id, Event::Open(terms), self.now, self.coverage).is_ok()
        {
            self.messages.push(Message::Notice { id });
            return true;
        }
        self.ledger.apply(id, Event::Refuse, self.now, self.coverage).is_ok()
    }

    /// Anyone, where a callback or a notice was lost.
    fn confirm(&mut self) -> bool {
        let Some(id) = self.escrow_id() else { return false };
        let Some(payment) = self.targets.payments.get(&id) else { return false };
        if payment.opened {
            return false;
        }
        match self.ledger.escrows[&id].state {
            State::Held { .. } => {
                let terms = payment.answer.clone();
                self.answer(id, Some(terms))
            }
            State::Voided => false,
            _ => self.targets.opened(id, self.now, self.coverage),
        }
    }

    fn work(&mut self) -> bool {
        if self.random.percent(4)
            && let Some(id) = self.random.pick(&self.targets.bonds.keys().copied().collect::<Vec<_>>()).copied()
        {
            let event = self.targets.bond_event(id, &mut self.random, self.now);
            return self.targets.step_bond(id, event, self.now, self.coverage);
        }
        let ids: Vec<u64> = self.targets.runs.keys().chain(self.targets.leases.keys()).copied().collect();
        let Some(id) = self.random.pick(&ids).copied() else { return self.confirm() };
        if let Some(event) = self.targets.run_event(id, &mut self.random) {
            return self.targets.step_run(id, event, self.now, self.coverage);
        }
        let event = self.targets.lease_event(id, self.now, &mut self.random);
        event.is_some_and(|event| self.targets.step_lease(id, event, self.now, self.coverage))
    }

    /// The payer, a payee or anyone does something to an escrow that needs no other contract.
    fn decide(&mut self) -> bool {
        let Some(id) = self.escrow_id() else { return false };
        let event = match self.random.below(13) {
            0..2 => Event::Acknowledge,
            2 => Event::RefuseHoldback,
            3 => Event::AskClosing,
            4..6 => Event::Extend(self.now.after(DurationMs::from_hours(self.random.below(9_000)))),
            6 => Event::Close,
            7..9 => Event::Vest,
            9 => Event::Void,
            10 => Event::Object,
            _ => Event::Claim(self.person()),
        };
        let (objects, asks) = (event == Event::Object, event == Event::AskClosing);
        let taken = self.ledger.apply(id, event, self.now, self.coverage).is_ok_and(|effects| effects.changed);
        if taken && objects {
            self.targets.step_lease(id, lease::Event::Objected, self.now, self.coverage);
            self.targets.step_run(id, run::Event::Objected, self.now, self.coverage);
        }
        if taken && asks {
            // `compute` reads it before a lease becomes active.
            self.targets.step_bond(id, bond::Event::ClosingAsked, self.now, self.coverage);
        }
        taken
    }

    fn settle(&mut self) -> bool {
        let ids: Vec<u64> = self.targets.runs.keys().chain(self.targets.leases.keys()).chain(self.targets.bonds.keys()).copied().collect();
        let Some(id) = self.random.pick(&ids).copied() else { return self.confirm() };
        let Some(settlement) = self.targets.settle(id, self.now, self.coverage) else { return false };
        let (seq, postings, close) = (settlement.seq, settlement.postings, settlement.close);
        self.messages.push(Message::Post { id, by: Authority::Arbiter, seq, postings, close });
        true
    }

    /// Somebody brings a voucher, or the strangers' contract posts: totals that mostly rise.
    fn redeem(&mut self) -> bool {
        let ids: Vec<u64> =
            self.targets.payments.iter().filter(|(_, payment)| payment.purpose == Purpose::Deal).map(|(id, _)| *id).collect();
        let Some((id, escrow)) = self.random.pick(&ids).and_then(|id| Some((*id, self.ledger.escrows.get(id)?))) else { return false };
        let by = if self.random.percent(95) { escrow.bounds.authority() } else { Authority::Arbiter };
        let Some(opened) = escrow.state.opened() else { return false };
        let payee = match self.random.pick(&opened.payees) {
            // Where parts are fixed a post names who gets the rest, with the whole.
            Some(_) if !opened.parts.is_empty() && self.random.percent(90) => opened.payees[opened.parts.len()].account.clone(),
            Some(payee) if self.random.percent(60) => payee.account.clone(),
            _ => self.people[usize::try_from(self.random.below(6)).unwrap_or_default()].clone(),
        };
        let so_far = match opened.payees.iter().find(|other| other.account == payee) {
            Some(_) if !opened.parts.is_empty() => opened.total().0,
            payee => payee.map_or(0, |payee| payee.total.0),
        };
        let more = u128::from(self.random.next()) % (escrow.available().0 / 3 + 2);
        let total = Amount(if self.random.percent(95) { so_far + more } else { so_far / 2 });
        let seq = opened.seq + 1 - u64::from(self.random.percent(5));
        self.messages.push(Message::Post { id, by, seq, postings: vec![Posting { payee, total }], close: false });
        true
    }

    fn register(&mut self) -> bool {
        let account = self.person();
        if self.ledger.registered.insert(account.clone()) {
            return true;
        }
        let owns = self.ledger.books.values().any(|books| books.balances.get(&account).is_some_and(|balance| *balance > 0));
        let pays = self.ledger.escrows.values().any(|escrow| escrow.payer == account && !escrow.is_spent());
        let waits = self.messages.iter().any(|message| matches!(message, Message::Transfer { account: other, .. } if *other == account));
        if owns || pays || waits {
            return false;
        }
        self.ledger.registered.remove(&account)
    }

    fn publish(&mut self) -> bool {
        if self.targets.listings.len() > 30 {
            self.targets.listings.drain(..10);
        }
        let publisher = self.person();
        self.targets.publish(&publisher, &mut self.random, self.now, self.coverage)
    }

    /// An impostor hands an escrow what only another may send. It must change nothing that the impostor is not entitled to.
    fn forge(&mut self) -> bool {
        let Some(id) = self.escrow_id() else { return false };
        let escrow = self.ledger.escrows[&id].clone();
        let thief = self.people[5].clone();
        let wrong = match escrow.bounds.authority() {
            Authority::Arbiter => Authority::Voucher(PublicKey([1; 32])),
            Authority::Voucher(_) => Authority::Voucher(PublicKey([2; 32])),
        };
        let event = match self.random.below(4) {
            0 if !matches!(escrow.state, State::Held { .. }) => {
                Event::Open(any_terms(&escrow.bounds, escrow.deposited, &[thief], &mut self.random, self.now))
            }
            1 if !matches!(escrow.state, State::Held { .. }) => Event::Refuse,
            _ => Event::Post { by: wrong, seq: u64::MAX, postings: vec![Posting { payee: thief, total: escrow.deposited }], close: true },
        };
        let forged = self.ledger.apply(id, event, self.now, self.coverage);
        assert!(forged.is_err(), "a forged event was taken");
        false
    }

    /// The oldest record goes: what is spent is removed, what is not its payer frees alone.
    fn retire(&mut self) {
        if let Some(id) = self.ledger.escrows.keys().next().copied() {
            self.free(id);
        }
    }

    /// The payer alone, with everyone else gone: within seven days, or expiry and grace, all that is not earned is back.
    fn free(&mut self, id: u64) {
        let start = self.now;
        // What vested by the clock is earned, whether or not anyone has called since.
        let _ = self.ledger.apply(id, Event::Vest, start, self.coverage);
        let earned = self.ledger.escrows[&id].posted();
        let mut at = start;
        loop {
            let escrow = &self.ledger.escrows[&id];
            let (event, possible_at) = match &escrow.state {
                State::Held { hold_deadline } => (Event::Void, *hold_deadline),
                State::Open(opened) if opened.objection_window > DurationMs(0) => (Event::Object, at),
                State::Open(opened) if opened.closing_asked_at.is_none() => (Event::AskClosing, at),
                State::Open(opened) => (Event::Close, opened.closable_at()),
                State::Settling { opened, .. } if opened.holdback_state == Holdback::Waiting => (Event::RefuseHoldback, at),
                State::Settling { .. } => (Event::Object, at),
                State::Closed(_) | State::Voided => break,
            };
            at = at.max(possible_at);
            self.ledger.apply(id, event, at, self.coverage).expect("the payer's own road is never closed");
        }
        let escrow = &self.ledger.escrows[&id];
        assert!(at <= start.after(DurationMs::from_days(7)), "within seven days");
        assert_eq!(
            (escrow.posted(), escrow.refunded.0),
            (earned, escrow.deposited.0 - earned.0),
            "all that is not earned is back, and no more"
        );
        // Whoever earned and was not registered registers, and claims.
        let waiting: Vec<AccountId> = escrow.state.opened().map_or(Vec::new(), |opened| {
            opened.payees.iter().filter(|payee| !payee.unclaimed.is_zero()).map(|payee| payee.account.clone()).collect()
        });
        for account in waiting {
            self.ledger.registered.insert(account.clone());
            self.ledger.apply(id, Event::Claim(account), at, self.coverage).expect("what is earned can be claimed");
        }
        assert!(self.ledger.escrows[&id].is_spent());
        self.ledger.escrows.remove(&id);
        self.targets.payments.remove(&id);
        self.targets.runs.remove(&id);
        if let Some(lease) = self.targets.leases.get(&id).cloned() {
            let over = Lease { cover: lease.cover.as_ref().map(Cover::keep), ..lease.clone() };
            self.targets.follow(&lease, &over, self.now, self.coverage);
        }
        self.targets.leases.remove(&id);
        self.targets.bonds.remove(&id);
    }
}
