//! What happens to an escrow after it opened: posts, the payer's decisions, closing.

use crate::{BillingError, Contract, ContractExt, EscrowRecord, log};
use near_sdk::near;
use starling_contract_api::{
    billing::escrow_storage,
    events::{BillingEvent, Decision, Moved},
};
use starling_contract_common::{OrPanic, now, predecessor, require_one_yocto};
use starling_primitives::{AccountId, Amount, EscrowId, TimestampMs};
use starling_protocol::escrow::{Effects, Escrow, Event, Posting};

#[near]
impl Contract {
    /// New cumulative totals per payee, before the fee. A `seq` that is not higher than the last changes nothing; `close` ends posting and returns what is available.
    ///
    /// Access: the escrow's arbiter. Deposit: none. Gas: 60 T. State change: payees' balances and the fee account rise by what is earned more. Events: `escrow_posted`.
    /// Refund: with `close`, what is available, to the payer's balance. Answers whether anything changed.
    pub fn post(&mut self, escrow_id: EscrowId, seq: u64, postings: Vec<Posting>, close: bool) -> bool {
        let record = self.escrow_record(escrow_id).or_panic();
        require_party(&record.escrow.arbiter, "arbiter").or_panic();
        let (moved, changed) = self.apply(escrow_id, record, Event::Post { seq, postings: postings.clone(), close }).or_panic();
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

    /// Refuses the result after closing, while the availability window is open. It counts publicly.
    ///
    /// Access: the payer. Deposit: 1 yocto. Gas: 30 T. State change: the escrow closes. Events: `holdback_decided`. Refund: what was held back, to the payer's balance.
    #[payable]
    pub fn refuse(&mut self, escrow_id: EscrowId) {
        self.require_payer(escrow_id).or_panic();
        let moved = self.change(escrow_id, Event::RefuseHoldback).or_panic();
        log(&BillingEvent::HoldbackDecided { escrow_id, decision: Decision::Refused, moved });
    }

    /// Lets what is held back vest, once the availability window is over.
    ///
    /// Access: anyone. Deposit: none. Gas: 30 T. State change: payees' balances rise. Events: `holdback_decided`. Refund: none.
    pub fn vest(&mut self, escrow_id: EscrowId) {
        let moved = self.change(escrow_id, Event::Vest).or_panic();
        log(&BillingEvent::HoldbackDecided { escrow_id, decision: Decision::Vested, moved });
    }

    /// Asks for closing: seven days later anyone may close, whatever the arbiter does.
    ///
    /// Access: the payer. Deposit: 1 yocto. Gas: 10 T. State change: the closing time. Events: `closing_asked`, the first time. Refund: none.
    #[payable]
    pub fn ask_closing(&mut self, escrow_id: EscrowId) {
        let record = self.require_payer(escrow_id).or_panic();
        let (_, changed) = self.apply(escrow_id, record, Event::AskClosing).or_panic();
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

    /// Credits what an account earned before it was registered.
    ///
    /// Access: anyone. Deposit: none. Gas: 20 T. State change: the account's balance rises. Events: `earnings_claimed`. Refund: none.
    pub fn claim(&mut self, escrow_id: EscrowId, account_id: AccountId) {
        let moved = self.change(escrow_id, Event::Claim(account_id.clone())).or_panic();
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
        Ok(self.apply(escrow_id, record, event)?.0)
    }

    fn apply(&mut self, escrow_id: EscrowId, record: EscrowRecord, event: Event) -> Result<(Moved, bool), BillingError> {
        let (escrow, effects) = record.escrow.apply(event, now(), |account| self.accounts.contains(account))?;
        let changed = effects.changed;
        Ok((self.store(escrow_id, &record, escrow, effects)?, changed))
    }

    fn store(&mut self, escrow_id: EscrowId, before: &EscrowRecord, escrow: Escrow, effects: Effects) -> Result<Moved, BillingError> {
        let Effects { credits, fee, refund, changed: _ } = effects;
        let left = Amount::sum(credits.iter().map(|(_, amount)| *amount).chain([fee, refund]))?;
        if before.escrow.locked() != escrow.locked().checked_add(left)? {
            return Err(BillingError::Unbalanced);
        }
        let storage_kept = match escrow.state.opened() {
            _ if escrow.is_spent() => Amount::ZERO,
            Some(opened) => before.storage.min(escrow_storage(opened.max_payees)),
            None => before.storage,
        };
        let storage = before.storage.checked_sub(storage_kept)?;
        self.books.escrows = self.books.escrows.checked_sub(left)?;
        self.books.fees = self.books.fees.checked_add(fee)?;
        self.books.storage = self.books.storage.checked_sub(storage)?;
        self.credit(&escrow.payer, refund.checked_add(storage)?)?;
        for (account, amount) in &credits {
            self.credit(account, *amount)?;
        }
        let moved = Moved { credits, fee, refund, storage, state: escrow.state.name().to_owned(), removed: escrow.is_spent() };
        if moved.removed {
            self.escrows.remove(&escrow_id);
            self.unlist_escrow(&escrow.payer, escrow_id);
        } else {
            self.escrows.insert(&escrow_id, &EscrowRecord { escrow, storage: storage_kept });
        }
        Ok(moved)
    }

    fn unlist_escrow(&mut self, payer: &AccountId, escrow_id: EscrowId) {
        let mut ids = self.escrows_of.get(payer).unwrap_or_default();
        ids.retain(|id| *id != escrow_id);
        if ids.is_empty() { self.escrows_of.remove(payer) } else { self.escrows_of.insert(payer, &ids) }
    }
}

fn require_party(party: &AccountId, name: &'static str) -> Result<(), BillingError> {
    if predecessor() == *party { Ok(()) } else { Err(BillingError::NotYours(name)) }
}
