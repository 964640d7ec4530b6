//! Escrow: money locked for one purpose. `deposited = available + pending + posted + refunded`, in every state.
//!
//! `Held` until its arbiter accepted, then `Open`, then `Settling` while the holdback is undecided or the last posts have not vested, then `Closed`.

mod event;
mod record;
mod shares;
mod vesting;

pub use event::{Effects, EscrowError, Event};
pub use record::{Authority, Bounds, Escrow, Holdback, OpenTerms, Opened, Payee, Posting, State};
pub use shares::{MAX_PARTS, Share, divide};
pub use vesting::{Batch, MAX_BATCHES, MAX_OBJECTION_WINDOW, MAX_VESTING_PAYEES};

pub(crate) use shares::cut;
use shares::{are_parts, divided};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, PublicKey, TimestampMs};

/// How long an answer of the arbiter is waited for before anyone may void.
pub const HOLD_PERIOD: DurationMs = DurationMs::from_secs(600);
/// After the payer asked for closing, how long until anyone may close.
pub const CLOSING_PERIOD: DurationMs = DurationMs::from_days(7);
/// The longest grace after expiry.
pub const MAX_GRACE: DurationMs = DurationMs::from_hours(24);
/// The longest life of an escrow.
pub const MAX_LIFE: DurationMs = DurationMs::from_days(366);
/// The longest time that a result must be served before the holdback vests.
pub const MAX_AVAILABILITY: DurationMs = DurationMs::from_days(30);
/// The most payees of one escrow.
pub const MAX_PAYEES: u16 = 64;
/// The fee's hard ceiling, whatever is configured.
pub const MAX_FEE: BasisPoints = match BasisPoints::new(500) {
    Ok(fee) => fee,
    Err(_) => BasisPoints::ZERO,
};

impl Escrow {
    /// A payment that came in: `Held` for the arbiter.
    pub fn hold(
        payer: AccountId,
        arbiter: AccountId,
        asset: Asset,
        deposited: Amount,
        bounds: Bounds,
        fee: BasisPoints,
        now: TimestampMs,
    ) -> Result<Self, EscrowError> {
        if fee > MAX_FEE || fee > bounds.fee {
            return Err(EscrowError::OutOfBounds("fee"));
        }
        if bounds.expires_by > now.after(MAX_LIFE) || bounds.expires_by <= now {
            return Err(EscrowError::OutOfBounds("expires_by"));
        }
        if bounds.objection_window > MAX_OBJECTION_WINDOW {
            return Err(EscrowError::OutOfBounds("objection_window"));
        }
        if bounds.voucher.is_some_and(|key| key.is_small_order()) {
            return Err(EscrowError::WeakVoucherKey);
        }
        let state = State::Held { hold_deadline: now.after(HOLD_PERIOD) };
        Ok(Self { payer, arbiter, asset, bounds, fee, created_at: now, deposited, refunded: Amount::ZERO, state })
    }

    /// Applies an event. `is_registered` says whether an account can be credited; what it can't is kept as unclaimed.
    /// Posts whose moment has come are vested before an event that posts, decides or closes.
    pub fn apply(
        &self,
        event: Event,
        now: TimestampMs,
        is_registered: impl Fn(&AccountId) -> bool,
    ) -> Result<(Self, Effects), EscrowError> {
        let mut next = self.clone();
        let mut effects = Effects { changed: true, ..Effects::default() };
        match (event, &mut next.state) {
            (Event::Open(terms), State::Held { hold_deadline }) => {
                // From the deadline on the target may forget its pending record, so money must not follow a late answer.
                if now >= *hold_deadline {
                    return Err(EscrowError::Expired(*hold_deadline));
                }
                next.open(terms, now, &is_registered, &mut effects)?;
            }
            (Event::Refuse, State::Held { .. }) => next.void(&mut effects),
            (Event::Void, State::Held { hold_deadline }) => {
                require_reached(*hold_deadline, now)?;
                next.void(&mut effects);
            }
            (Event::Post { by, seq, postings, close }, State::Open(opened)) => {
                if by != opened.authority {
                    return Err(wrong_authority(opened));
                }
                let last = opened.expires_at.after(opened.grace);
                if now > last {
                    return Err(EscrowError::Expired(last));
                }
                if seq <= opened.seq {
                    return Ok((self.clone(), Effects::default()));
                }
                opened.seq = seq;
                opened.vest(now);
                post(opened, self.deposited, postings, now)?;
                credit(opened, self.fee, &is_registered, &mut effects)?;
                if close {
                    next.close(now, &is_registered, &mut effects)?;
                }
            }
            (Event::Acknowledge, State::Open(opened) | State::Settling { opened, .. }) => {
                opened.vest(now);
                decide_holdback(opened, Holdback::Released)?;
                credit(opened, self.fee, &is_registered, &mut effects)?;
                next.finish_if_settled();
            }
            (Event::RefuseHoldback, State::Settling { opened, .. }) => {
                opened.vest(now);
                decide_holdback(opened, Holdback::Refused)?;
                credit(opened, self.fee, &is_registered, &mut effects)?;
                let refused = opened.refused();
                next.give_back(refused, &mut effects)?;
                next.finish_if_settled();
            }
            (Event::Object, State::Open(opened)) => {
                if opened.objection_window == DurationMs(0) {
                    return Err(EscrowError::NothingToObject("posts of this escrow are final at once"));
                }
                opened.vest(now);
                opened.object(now);
                next.close(now, &is_registered, &mut effects)?;
            }
            (Event::Object, State::Settling { opened, .. }) => {
                let refused_before = opened.refused();
                opened.vest(now);
                if opened.waiting().is_zero() {
                    return Err(EscrowError::NothingToObject("all posts have vested"));
                }
                let returned = opened.object(now).checked_add(opened.refused().checked_sub(refused_before)?)?;
                credit(opened, self.fee, &is_registered, &mut effects)?;
                next.give_back(returned, &mut effects)?;
                next.finish_if_settled();
            }
            (Event::Vest, State::Open(opened)) => {
                require_reached(self.state.vests_at().ok_or(EscrowError::NothingToVest)?, now)?;
                opened.vest(now);
                credit(opened, self.fee, &is_registered, &mut effects)?;
            }
            (Event::Vest, State::Settling { opened, until }) => {
                require_reached(self.state.vests_at().ok_or(EscrowError::NothingToVest)?, now)?;
                let refused_before = opened.refused();
                opened.vest(now);
                if opened.holdback_state == Holdback::Waiting && now >= *until {
                    opened.holdback_state = Holdback::Released;
                }
                credit(opened, self.fee, &is_registered, &mut effects)?;
                let refused = opened.refused().checked_sub(refused_before)?;
                next.give_back(refused, &mut effects)?;
                next.finish_if_settled();
            }
            (Event::AskClosing, State::Open(opened)) => {
                if opened.closing_asked_at.is_some() {
                    return Ok((self.clone(), Effects::default()));
                }
                opened.closing_asked_at = Some(now);
            }
            (Event::Extend(until), State::Open(opened)) => {
                if until <= opened.expires_at || until > now.after(MAX_LIFE) || now > opened.expires_at {
                    return Err(EscrowError::Extension);
                }
                opened.expires_at = until;
            }
            (Event::Close, State::Open(opened)) => {
                require_reached(opened.closable_at(), now)?;
                next.close(now, &is_registered, &mut effects)?;
            }
            (Event::Claim(account), State::Open(opened) | State::Settling { opened, .. } | State::Closed(opened)) => {
                let payee = opened.payees.iter_mut().find(|payee| payee.account == account && !payee.unclaimed.is_zero());
                let payee = payee.ok_or_else(|| EscrowError::NothingToClaim(account.clone()))?;
                if !is_registered(&account) {
                    return Err(EscrowError::NothingToClaim(account));
                }
                let amount = std::mem::take(&mut payee.unclaimed);
                payee.credited = payee.credited.checked_add(amount)?;
                effects.credits.push((account, amount));
            }
            (_, state) => return Err(EscrowError::WrongState { state: state.name() }),
        }
        Ok((next, effects))
    }

    /// The key whose vouchers the escrow takes; an error if it takes none.
    pub fn voucher_key(&self) -> Result<PublicKey, EscrowError> {
        let opened = self.state.opened().ok_or(EscrowError::WrongState { state: self.state.name() })?;
        match opened.authority {
            Authority::Voucher(key) => Ok(key),
            Authority::Arbiter => Err(wrong_authority(opened)),
        }
    }

    /// What is still free to be posted or returned.
    pub fn available(&self) -> Amount {
        match &self.state {
            State::Held { .. } => self.deposited,
            State::Open(opened) => Amount(self.deposited.0.saturating_sub(opened.total().0)),
            State::Settling { .. } | State::Closed(_) | State::Voided => Amount::ZERO,
        }
    }

    /// What has not vested, and what is held back and undecided.
    pub fn pending(&self) -> Amount {
        match &self.state {
            State::Open(opened) | State::Settling { opened, .. } => Amount(opened.waiting().0 + opened.held_back().0),
            State::Held { .. } | State::Closed(_) | State::Voided => Amount::ZERO,
        }
    }

    /// What is earned for good, fee included: credited, unclaimed and fee.
    pub fn posted(&self) -> Amount {
        self.state.opened().map_or(Amount::ZERO, |opened| {
            Amount(opened.payees.iter().map(|payee| payee.credited.0 + payee.unclaimed.0 + payee.fee.0).sum())
        })
    }

    /// What lies in this escrow: all that neither was credited, nor taken as fee, nor returned.
    pub fn locked(&self) -> Amount {
        let unclaimed = self.state.opened().map_or(0, |opened| opened.payees.iter().map(|payee| payee.unclaimed.0).sum());
        Amount(self.available().0 + self.pending().0 + unclaimed)
    }

    /// Whether the record may be removed: nothing lies in it and nothing can still happen.
    pub fn is_spent(&self) -> bool {
        matches!(self.state, State::Closed(_) | State::Voided) && self.locked().is_zero()
    }

    fn open(
        &mut self,
        terms: OpenTerms,
        now: TimestampMs,
        is_registered: &impl Fn(&AccountId) -> bool,
        effects: &mut Effects,
    ) -> Result<(), EscrowError> {
        check_terms(&terms, &self.bounds, now)?;
        let mut opened = Opened {
            authority: terms.authority,
            expires_at: terms.expires_at,
            grace: terms.grace,
            holdback: terms.holdback,
            holdback_state: Holdback::Waiting,
            availability: terms.availability,
            max_payees: terms.max_payees,
            parts: terms.parts.iter().map(|share| share.part).collect(),
            seq: 0,
            payees: terms.parts.into_iter().map(|share| Payee::new(share.account)).collect(),
            closing_asked_at: None,
            objection_window: terms.objection_window,
            batches: Vec::new(),
            objected_at: None,
        };
        post(&mut opened, self.deposited, terms.postings, now)?;
        credit(&mut opened, self.fee, is_registered, effects)?;
        if opened.total() > self.bounds.post_at_once {
            return Err(EscrowError::OutOfBounds("post_at_once"));
        }
        self.state = State::Open(opened);
        if terms.close { self.close(now, is_registered, effects) } else { Ok(()) }
    }

    fn void(&mut self, effects: &mut Effects) {
        effects.refund = self.deposited;
        self.refunded = self.deposited;
        self.state = State::Voided;
    }

    fn close(&mut self, now: TimestampMs, is_registered: &impl Fn(&AccountId) -> bool, effects: &mut Effects) -> Result<(), EscrowError> {
        let available = self.available();
        let State::Open(opened) = &mut self.state else {
            return Err(EscrowError::WrongState { state: self.state.name() });
        };
        opened.vest(now);
        credit(opened, self.fee, is_registered, effects)?;
        credit_parts(opened, is_registered, effects)?;
        let until = now.after(opened.availability);
        self.state = State::Settling { opened: opened.clone(), until };
        self.give_back(available, effects)?;
        self.finish_if_settled();
        Ok(())
    }

    fn give_back(&mut self, amount: Amount, effects: &mut Effects) -> Result<(), EscrowError> {
        effects.refund = effects.refund.checked_add(amount)?;
        self.refunded = self.refunded.checked_add(amount)?;
        Ok(())
    }

    /// Closed to posts with nothing that waits for anyone's decision or for a window.
    fn finish_if_settled(&mut self) {
        if let State::Settling { opened, .. } = &mut self.state
            && opened.batches.is_empty()
            && opened.held_back().is_zero()
        {
            if opened.holdback_state == Holdback::Waiting {
                opened.holdback_state = Holdback::Released;
            }
            self.state = State::Closed(opened.clone());
        }
    }
}

fn require_reached(moment: TimestampMs, now: TimestampMs) -> Result<(), EscrowError> {
    if now < moment { Err(EscrowError::TooEarly(moment)) } else { Ok(()) }
}

fn check_terms(terms: &OpenTerms, bounds: &Bounds, now: TimestampMs) -> Result<(), EscrowError> {
    let refused = |what| Err(EscrowError::OutOfBounds(what));
    match terms {
        terms if terms.authority != bounds.authority() => refused("authority"),
        terms if terms.expires_at > bounds.expires_by || terms.expires_at <= now => refused("expires_at"),
        terms if terms.grace > MAX_GRACE => refused("grace"),
        terms if terms.holdback < bounds.holdback => refused("holdback"),
        terms if terms.availability > MAX_AVAILABILITY => refused("availability"),
        terms if terms.max_payees > MAX_PAYEES => refused("max_payees"),
        terms if terms.objection_window < bounds.objection_window || terms.objection_window > MAX_OBJECTION_WINDOW => {
            refused("objection_window")
        }
        terms if terms.objection_window > DurationMs(0) && terms.max_payees > MAX_VESTING_PAYEES => refused("max_payees"),
        terms if !terms.parts.is_empty() && !are_parts(&terms.parts, &terms.postings) => refused("parts"),
        _ => Ok(()),
    }
}

fn wrong_authority(opened: &Opened) -> EscrowError {
    let takes = match opened.authority {
        Authority::Arbiter => "arbiter",
        Authority::Voucher(_) => "voucher key",
    };
    EscrowError::WrongAuthority { takes }
}

fn decide_holdback(opened: &mut Opened, decision: Holdback) -> Result<(), EscrowError> {
    if opened.holdback_state != Holdback::Waiting {
        return Err(EscrowError::HoldbackDecided);
    }
    opened.holdback_state = decision;
    Ok(())
}

/// Takes new totals; what they add waits for the objection window, if there is one.
fn post(opened: &mut Opened, deposited: Amount, postings: Vec<Posting>, now: TimestampMs) -> Result<(), EscrowError> {
    let before: Vec<Amount> = opened.payees.iter().map(|payee| payee.total).collect();
    let postings = divided(opened, postings)?;
    if postings.len() > usize::from(opened.max_payees) {
        return Err(EscrowError::Payees);
    }
    for (index, posting) in postings.iter().enumerate() {
        if postings[..index].iter().any(|earlier| earlier.payee == posting.payee) {
            return Err(EscrowError::Payees);
        }
        match opened.payees.iter_mut().find(|payee| payee.account == posting.payee) {
            Some(payee) if posting.total < payee.total => return Err(EscrowError::TotalFalls(posting.payee.clone())),
            Some(payee) => payee.total = posting.total,
            None => opened.payees.push(Payee { total: posting.total, ..Payee::new(posting.payee.clone()) }),
        }
    }
    if opened.payees.len() > usize::from(opened.max_payees) {
        return Err(EscrowError::Payees);
    }
    if Amount::sum(opened.payees.iter().map(|payee| payee.total))? > deposited {
        return Err(EscrowError::OverDeposit);
    }
    let before = before.into_iter().chain(std::iter::repeat(Amount::ZERO));
    let added = opened.payees.iter().zip(before).map(|(payee, before)| payee.total.checked_sub(before)).collect::<Result<Vec<_>, _>>()?;
    Ok(opened.wait(&added, now)?)
}

/// Brings credits and fees up to what is earned. The fee is the ceiling of the cumulative figure, so that many small posts cost no more than one. Whoever has a fixed part
/// claims it, or has it when the escrow closes: so a post costs little more however many share it.
fn credit(
    opened: &mut Opened,
    fee: BasisPoints,
    is_registered: &impl Fn(&AccountId) -> bool,
    effects: &mut Effects,
) -> Result<(), EscrowError> {
    let earned: Vec<Amount> = (0..opened.payees.len()).map(|place| opened.earned(opened.vested(place))).collect();
    for (place, (payee, earned)) in opened.payees.iter_mut().zip(earned).enumerate() {
        let fee_total = earned.fraction_ceil(fee);
        let fee_now = fee_total.checked_sub(payee.fee)?;
        let net_now = earned.checked_sub(fee_total)?.checked_sub(payee.credited)?.checked_sub(payee.unclaimed)?;
        payee.fee = fee_total;
        effects.fee = effects.fee.checked_add(fee_now)?;
        if net_now.is_zero() {
            continue;
        }
        if place >= opened.parts.len() && is_registered(&payee.account) {
            payee.credited = payee.credited.checked_add(net_now)?;
            effects.credits.push((payee.account.clone(), net_now));
        } else {
            payee.unclaimed = payee.unclaimed.checked_add(net_now)?;
        }
    }
    Ok(())
}

/// Credits those who have a fixed part with what waits for them.
fn credit_parts(opened: &mut Opened, is_registered: &impl Fn(&AccountId) -> bool, effects: &mut Effects) -> Result<(), EscrowError> {
    for payee in opened.payees.iter_mut().take(opened.parts.len()) {
        if !payee.unclaimed.is_zero() && is_registered(&payee.account) {
            let amount = std::mem::take(&mut payee.unclaimed);
            payee.credited = payee.credited.checked_add(amount)?;
            effects.credits.push((payee.account.clone(), amount));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "escrow_tests.rs"]
mod tests;
