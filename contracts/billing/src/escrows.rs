//! What happens to an escrow after it opened: posts, the payer's decisions, closing.

use crate::{BillingError, Contract, ContractExt, EscrowRecord, books::Places, log};
use near_sdk::near;
use starling_contract_api::{
    billing::{escrow_storage, vesting_escrow_storage},
    events::{BillingEvent, Decision, Moved},
    payment::{objected_notice, refused_notice},
};
use starling_contract_common::{OrPanic, ask, now, predecessor, require_one_yocto};
use starling_primitives::{AccountId, Amount, Asset, DurationMs, EscrowId, TimestampMs};
use starling_protocol::escrow::{Authority, Effects, Escrow, Event, Holdback, Opened, Posting, State};
use std::cell::RefCell;

#[near]
impl Contract {
    /// New cumulative totals per payee, before the fee. A `seq` that is not higher than the last changes nothing; `close` ends posting and returns what is available.
    ///
    /// Access: the escrow's arbiter. Deposit: none. Gas: 60 T. State change: payees' balances and the fee account rise by what is earned more. Events: `escrow_posted`.
    /// Refund: with `close`, what is available, to the payer's balance. Answers whether anything changed.
    pub fn post(&mut self, escrow_id: EscrowId, seq: u64, postings: Vec<Posting>, close: bool) -> bool {
        let record = self.escrow_record(escrow_id).or_panic();
        require_party(&record.escrow.arbiter, "arbiter").or_panic();
        let post = Event::Post { by: Authority::Arbiter, seq, postings: postings.clone(), close };
        let (moved, changed) = self.apply(escrow_id, &record, post).or_panic();
        if changed {
            log(&BillingEvent::EscrowPosted { escrow_id, seq, postings, close, moved });
        }
        changed
    }

    /// Accepts the result: what is held back is earned.
    ///
    /// Access: the payer. Deposit: 1 yocto. Gas: 30 T. State change: payees' balances rise. Events: `holdback_decided`. Refund: none.
    #[payable]
    pub fn acknowledge(&mut self, escrow_id: EscrowId) {
        self.require_payer(escrow_id).or_panic();
        let moved = self.change(escrow_id, Event::Acknowledge).or_panic();
        log(&BillingEvent::HoldbackDecided { escrow_id, decision: Decision::Acknowledged, moved });
    }

    /// Refuses the result after closing, while the availability window is open. The target hears of it, and it counts publicly.
    ///
    /// Access: the payer. Deposit: 1 yocto. Gas: 60 T. State change: the escrow closes. Events: `holdback_decided`. Refund: what was held back, to the payer's balance.
    #[payable]
    pub fn refuse(&mut self, escrow_id: EscrowId) {
        let target = self.require_payer(escrow_id).or_panic().escrow.arbiter;
        let moved = self.change(escrow_id, Event::RefuseHoldback).or_panic();
        log(&BillingEvent::HoldbackDecided { escrow_id, decision: Decision::Refused, moved });
        ask(&refused_notice(&target, escrow_id)).detach();
    }

    /// Lets posts vest whose objection window has passed, and what is held back once the availability window is over.
    ///
    /// Access: anyone. Deposit: none. Gas: 30 T. State change: payees' balances rise. Events: `posts_vested`, or `holdback_decided`. Refund: of posts that vest after the holdback was
    /// refused, its part, to the payer's balance.
    pub fn vest(&mut self, escrow_id: EscrowId) {
        let record = self.escrow_record(escrow_id).or_panic();
        let decides = match &record.escrow.state {
            State::Settling { opened, until } => opened.holdback_state == Holdback::Waiting && now() >= *until,
            State::Held { .. } | State::Open(_) | State::Closed(_) | State::Voided => false,
        };
        let (moved, _) = self.apply(escrow_id, &record, Event::Vest).or_panic();
        log(&if decides {
            BillingEvent::HoldbackDecided { escrow_id, decision: Decision::Vested, moved }
        } else {
            BillingEvent::PostsVested { escrow_id, moved }
        });
    }

    /// Objects to what has not vested: it is returned, and nothing is posted any more. The target hears of it, and it counts publicly. What vested keeps its holdback.
    ///
    /// Access: the payer, or the session key of the payer that opened the escrow. Deposit: 1 yocto, or none by the session key. Gas: 60 T. State change: the escrow closes.
    /// Events: `escrow_objected`. Refund: what has not vested and what is available, to the payer's balance.
    #[payable]
    pub fn object(&mut self, escrow_id: EscrowId) {
        let record = self.escrow_record(escrow_id).or_panic();
        require_party(&record.escrow.payer, "payer").or_panic();
        self.require_opener(&record, now()).or_panic();
        let target = record.escrow.arbiter.clone();
        let (moved, _) = self.apply(escrow_id, &record, Event::Object).or_panic();
        log(&BillingEvent::EscrowObjected { escrow_id, moved });
        ask(&objected_notice(&target, escrow_id)).detach();
    }

    /// Asks for closing: seven days later anyone may close, whatever the arbiter does.
    ///
    /// Access: the payer. Deposit: 1 yocto. Gas: 10 T. State change: the closing time. Events: `closing_asked`, the first time. Refund: none.
    #[payable]
    pub fn ask_closing(&mut self, escrow_id: EscrowId) {
        let record = self.require_payer(escrow_id).or_panic();
        let (_, changed) = self.apply(escrow_id, &record, Event::AskClosing).or_panic();
        if let (true, Some(opened)) = (changed, self.escrow_record(escrow_id).or_panic().escrow.state.opened()) {
            log(&BillingEvent::ClosingAsked { escrow_id, closable_at: opened.closable_at() });
        }
    }

    /// Moves the expiry later.
    ///
    /// Access: the payer. Deposit: 1 yocto. Gas: 10 T. State change: the expiry. Events: `escrow_extended`. Refund: none.
    #[payable]
    pub fn extend(&mut self, escrow_id: EscrowId, until: TimestampMs) {
        self.require_payer(escrow_id).or_panic();
        self.change(escrow_id, Event::Extend(until)).or_panic();
        log(&BillingEvent::EscrowExtended { escrow_id, expires_at: until });
    }

    /// Closes an escrow past its expiry and grace, or past the closing period. It never calls the arbiter.
    ///
    /// Access: anyone. Deposit: none. Gas: 30 T. State change: no more posts. Events: `escrow_closed`. Refund: what is available, to the payer's balance.
    pub fn close(&mut self, escrow_id: EscrowId) {
        let moved = self.change(escrow_id, Event::Close).or_panic();
        log(&BillingEvent::EscrowClosed { escrow_id, moved });
    }

    /// Credits what an account earned before it was registered, or before it had storage credit for the token, or has by a fixed part of all that is posted.
    ///
    /// Access: anyone. Deposit: none. Gas: 20 T. State change: the account's balance rises. Events: `earnings_claimed`. Refund: none.
    pub fn claim(&mut self, escrow_id: EscrowId, account_id: AccountId) {
        let record = self.escrow_record(escrow_id).or_panic();
        self.make_place(&account_id, &record.escrow.asset).or_panic();
        let (moved, _) = self.apply(escrow_id, &record, Event::Claim(account_id.clone())).or_panic();
        log(&BillingEvent::EarningsClaimed { escrow_id, account: account_id, moved });
    }
}

impl Contract {
    pub(crate) fn escrow_record(&self, escrow_id: EscrowId) -> Result<EscrowRecord, BillingError> {
        self.escrows.get(&escrow_id).ok_or(BillingError::NoSuchEscrow(escrow_id))
    }

    fn require_payer(&self, escrow_id: EscrowId) -> Result<EscrowRecord, BillingError> {
        require_one_yocto();
        let record = self.escrow_record(escrow_id)?;
        require_party(&record.escrow.payer, "payer")?;
        Ok(record)
    }

    /// Applies an event to a stored escrow, and moves the money that leaves it.
    pub(crate) fn change(&mut self, escrow_id: EscrowId, event: Event) -> Result<Moved, BillingError> {
        let record = self.escrow_record(escrow_id)?;
        Ok(self.apply(escrow_id, &record, event)?.0)
    }

    pub(crate) fn apply(&mut self, escrow_id: EscrowId, record: &EscrowRecord, event: Event) -> Result<(Moved, bool), BillingError> {
        let places = RefCell::new(Places::default());
        let (escrow, effects) = record.escrow.apply(event, now(), |account| self.has_place(account, &record.escrow.asset, &places))?;
        let changed = effects.changed;
        Ok((self.store(escrow_id, record, escrow, effects, &mut places.into_inner())?, changed))
    }

    fn store(
        &mut self,
        escrow_id: EscrowId,
        before: &EscrowRecord,
        escrow: Escrow,
        effects: Effects,
        places: &mut Places,
    ) -> Result<Moved, BillingError> {
        let Effects { credits, fee, refund, changed: _ } = effects;
        let left = Amount::sum(credits.iter().map(|(_, amount)| *amount).chain([fee, refund]))?;
        if before.escrow.locked() != escrow.locked().checked_add(left)? {
            return Err(BillingError::Unbalanced);
        }
        let storage_kept = match escrow.state.opened() {
            _ if escrow.is_spent() => Amount::ZERO,
            Some(opened) => before.storage.min(largest(opened)),
            None => before.storage,
        };
        let storage = before.storage.checked_sub(storage_kept)?;
        self.change_books(&escrow.asset, &|books| {
            books.escrows = books.escrows.checked_sub(left)?;
            books.fees = books.fees.checked_add(fee)?;
            books.balances = books.balances.checked_add(left.checked_sub(fee)?)?;
            Ok(())
        })?;
        for (account, amount) in &credits {
            let record = places.take(account).map_or_else(|| self.account_record(account), Ok)?;
            self.add_to(record, account, &escrow.asset, *amount)?;
        }
        if !refund.is_zero() {
            self.add(&escrow.payer, &escrow.asset, refund)?;
        }
        self.storage = self.storage.checked_sub(storage)?;
        self.credit(&escrow.payer, &Asset::Near, storage)?;
        let (asset, state) = (escrow.asset.clone(), escrow.state.name().to_owned());
        let moved = Moved { asset, credits, fee, refund, storage, state, removed: escrow.is_spent() };
        if moved.removed {
            self.escrows.remove(&escrow_id);
            self.unlist_escrow(&escrow.payer, escrow_id);
        } else {
            self.escrows.insert(
                &escrow_id,
                &EscrowRecord { escrow, storage: storage_kept, opened_by: before.opened_by, forwarded: before.forwarded },
            );
        }
        Ok(moved)
    }

    fn unlist_escrow(&mut self, payer: &AccountId, escrow_id: EscrowId) {
        let mut ids = self.escrows_of.get(payer).unwrap_or_default();
        ids.retain(|id| *id != escrow_id);
        if ids.is_empty() { self.escrows_of.remove(payer) } else { self.escrows_of.insert(payer, &ids) }
    }
}

/// The storage deposit of an open escrow at its largest.
fn largest(opened: &Opened) -> Amount {
    if opened.objection_window == DurationMs(0) { escrow_storage(opened.max_payees) } else { vesting_escrow_storage(opened.max_payees) }
}

fn require_party(party: &AccountId, name: &'static str) -> Result<(), BillingError> {
    if predecessor() == *party { Ok(()) } else { Err(BillingError::NotYours(name)) }
}
