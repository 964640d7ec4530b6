//! Payments: money comes in, is held, and the target is asked.
//!
//! The escrow is stored as held before the question leaves. The callback only opens or returns it; if it was lost, `confirm` asks again and `void` returns the money.

use crate::{BillingError, Contract, ContractExt, EscrowRecord, log};
use near_sdk::{Gas, Promise, env, near, serde_json::Value};
use starling_contract_api::{
    billing::{Billing, MAX_ESCROWS},
    events::{BillingEvent, Source},
    payment::{ON_OPENED_TGAS, ON_PAYMENT_TGAS, PayArgs, PayResult, PaymentOffered, opened_notice, question_again},
};
use starling_contract_common::{
    OrPanic, answer, answer_with, ask, attached, current, next, now, predecessor, require, require_one_yocto, succeeded,
};
use starling_primitives::{AccountId, Amount, Asset, EscrowId};
use starling_protocol::escrow::{Bounds, Escrow, Event, OpenTerms, State};

/// The callback's own work, and the notice that it sends.
const RESOLVE_TGAS: u64 = 25 + ON_OPENED_TGAS;
/// What is left over for making the promises.
const MARGIN_TGAS: u64 = 5;

/// A payment before it is held.
pub(crate) struct Payment {
    payer: AccountId,
    asset: Asset,
    target: AccountId,
    pub(crate) amount: Amount,
    forwarded: Amount,
    bounds: Bounds,
    msg: Value,
}

#[near]
impl Contract {
    /// Pays from the attached NEAR: holds `amount` for `target` and asks it.
    ///
    /// Access: anyone. Deposit: `amount`, `storage` (forwarded to the target), the escrow's storage ([`Billing::pay_storage`]), registration for a new caller; the rest is credited.
    /// Gas: 100 T. State change: a held escrow; with the target's answer it opens or goes. Events: `account_registered`, `deposited`, `payment_held`, then `escrow_opened` or
    /// `escrow_refused`. Refund: on a refusal everything, to the caller's balance. Answers a [`PayResult`].
    #[payable]
    pub fn pay(&mut self, target: AccountId, amount: Amount, storage: Amount, bounds: Bounds, msg: Value) {
        let payer = predecessor();
        let payment = Payment::new(payer.clone(), Asset::Near, PayArgs { target, amount, storage, bounds, msg });
        let escrow = self.check_payment(&payment).or_panic();
        let rest = self.register_if_new(&payer, attached()).or_panic();
        let total = payment.near_in_all().or_panic();
        let excess = rest.checked_sub(total).map_err(|_| BillingError::DepositTooSmall { needed: total, attached: rest }).or_panic();
        if !excess.is_zero() {
            self.credit(&payer, &Asset::Near, excess).or_panic();
            log(&BillingEvent::Deposited { account: payer, asset: Asset::Near, amount: excess });
        }
        self.hold(payment, escrow, Source::Attached).or_panic().answers();
    }

    /// Pays from the caller's balance in NEAR or a token on the list; storage from its NEAR.
    ///
    /// Access: the account's full-access key with 1 yocto, or a session key of the account without deposit: within its cap and targets, only NEAR, and only where caller and
    /// signer are one. Deposit: 1 yocto or none. Gas: 100 T. State change, events, refund and answer: as `pay`; a refund restores no cap.
    #[payable]
    pub fn pay_from_balance(
        &mut self,
        asset: Option<Asset>,
        target: AccountId,
        amount: Amount,
        storage: Amount,
        bounds: Bounds,
        msg: Value,
    ) {
        let payer = predecessor();
        let payment = Payment::new(payer.clone(), asset.unwrap_or(Asset::Near), PayArgs { target, amount, storage, bounds, msg });
        let escrow = self.check_payment(&payment).or_panic();
        let near = payment.near_in_all().or_panic();
        let source = if payment.asset == Asset::Near {
            self.authorise_spending(&payer, near, &payment.target, now()).or_panic()
        } else {
            require_one_yocto();
            self.debit(&payer, &payment.asset, payment.amount).or_panic();
            Source::Balance
        };
        self.debit(&payer, &Asset::Near, near).or_panic();
        self.hold(payment, escrow, source).or_panic().answers();
    }

    /// Asks the target again for its answer, when the first callback was lost; of an open escrow it repeats the notice to the target.
    ///
    /// Access: anyone, until the hold deadline. Deposit: none. Gas: 80 T. State change: a held escrow opens if the target has accepted it, else nothing. Events: `escrow_opened` or
    /// `escrow_refused`. Refund: as `pay`. Answers a [`PayResult`].
    pub fn confirm(&mut self, escrow_id: EscrowId) {
        require_gas(ON_OPENED_TGAS).or_panic();
        let record = self.escrow_record(escrow_id).or_panic();
        match record.escrow.state {
            State::Held { hold_deadline } => {
                require(now() < hold_deadline, "the hold deadline has passed: void the escrow");
                let callback =
                    Self::ext(env::current_account_id()).with_static_gas(Gas::from_tgas(RESOLVE_TGAS)).resolve_confirm(escrow_id);
                ask(&question_again(&record.escrow.arbiter, escrow_id)).then(callback).answers();
            }
            _ => {
                ask(&opened_notice(&record.escrow.arbiter, escrow_id)).detach();
                answer_with(&PayResult { escrow_id, opened: true, reason: None });
            }
        }
    }

    /// Returns a held escrow whose target never answered.
    ///
    /// Access: anyone, from the hold deadline on. Deposit: none. Gas: 30 T. State change: the escrow goes. Events: `escrow_voided`. Refund: all of it, to the payer's balance; what was
    /// forwarded with the question comes from the target, which has it.
    pub fn void(&mut self, escrow_id: EscrowId) {
        let mut record = self.escrow_record(escrow_id).or_panic();
        self.land_forwarded(&mut record).or_panic();
        let (moved, _) = self.apply(escrow_id, &record, Event::Void).or_panic();
        log(&BillingEvent::EscrowVoided { escrow_id, moved });
    }

    /// After the target was asked. Opens or returns the escrow; it never fails for anything the target did.
    ///
    /// Access: this contract. State change: the escrow opens or goes. Events: `escrow_opened` or `escrow_refused`, `forwarded_returned`.
    #[private]
    pub fn resolve_payment(&mut self, escrow_id: EscrowId, payer: AccountId, forwarded: Amount) -> PayResult {
        let mut record = self.escrows.get(&escrow_id);
        // Stored before records told what was forwarded.
        if let Some(EscrowRecord { forwarded: none @ None, escrow: Escrow { state: State::Held { .. }, .. }, .. }) = &mut record {
            *none = Some(forwarded);
        }
        let accepted = succeeded();
        // A call that failed brings its deposit back; without a record to credit it stays as surplus.
        if !accepted && !forwarded.is_zero() && self.credit(&payer, &Asset::Near, forwarded).is_ok() {
            log(&BillingEvent::ForwardedReturned { escrow_id, payer, amount: forwarded });
        }
        let terms = if accepted {
            answer::<OpenTerms>().ok_or("the target's answer is not one")
        } else {
            Err("the target refused; its words stand in the failed receipt")
        };
        self.decide(escrow_id, record, terms.map_err(str::to_owned))
    }

    /// After the target was asked again. Only opens: a target that has no answer yet may still give one.
    ///
    /// Access: this contract. State change: the escrow may open. Events: `escrow_opened` or `escrow_refused`.
    #[private]
    pub fn resolve_confirm(&mut self, escrow_id: EscrowId) -> PayResult {
        match answer::<Option<OpenTerms>>() {
            // It has what was forwarded.
            Some(Some(terms)) => self.decide(escrow_id, self.escrows.get(&escrow_id), Ok(terms)),
            _ => PayResult { escrow_id, opened: false, reason: Some("the target has not accepted so far".to_owned()) },
        }
    }
}

impl Payment {
    pub(crate) fn new(payer: AccountId, asset: Asset, args: PayArgs<Value>) -> Self {
        let PayArgs { target, amount, storage, bounds, msg } = args;
        Self { payer, asset, target, amount, forwarded: storage, bounds, msg }
    }

    /// The NEAR for storage here and at the target.
    pub(crate) fn near_besides(&self) -> Result<Amount, BillingError> {
        Ok(self.forwarded.checked_add(Billing::pay_storage())?)
    }

    /// The NEAR that the payment takes in all.
    fn near_in_all(&self) -> Result<Amount, BillingError> {
        let held = if self.asset == Asset::Near { self.amount } else { Amount::ZERO };
        Ok(held.checked_add(self.near_besides()?)?)
    }
}

impl Contract {
    /// The escrow of a payment, unless something is wrong with it. Stores nothing.
    pub(crate) fn check_payment(&self, payment: &Payment) -> Result<Escrow, BillingError> {
        if self.setup.paused {
            return Err(BillingError::Paused);
        }
        require_gas(ON_PAYMENT_TGAS)?;
        self.require_listed(&payment.asset)?;
        let Payment { payer, asset, target, amount, bounds, .. } = payment;
        if *target == current() {
            return Err(BillingError::OwnTarget);
        }
        if self.escrows_of.get(payer).is_some_and(|ids| ids.len() >= MAX_ESCROWS) {
            return Err(BillingError::TooManyEscrows);
        }
        Ok(Escrow::hold(payer.clone(), target.clone(), asset.clone(), *amount, bounds.clone(), self.fee, now())?)
    }

    /// Stores the escrow of a payment whose money was taken already, and asks the target.
    pub(crate) fn hold(&mut self, payment: Payment, escrow: Escrow, source: Source) -> Result<Promise, BillingError> {
        let Payment { payer, asset, target, amount, forwarded, bounds, msg } = payment;
        let escrow_id = EscrowId(next(&mut self.last_escrow));
        let storage = Billing::pay_storage();
        self.change_books(&asset, &|books| {
            books.escrows = books.escrows.checked_add(amount)?;
            Ok(())
        })?;
        self.storage = self.storage.checked_add(storage)?;
        self.books.in_flight = self.books.in_flight.checked_add(forwarded)?;
        let opened_by = if let Source::SessionKey(key) = source { Some(key) } else { None };
        self.escrows.insert(&escrow_id, &EscrowRecord { escrow, storage, opened_by, forwarded: Some(forwarded) });
        let mut ids = self.escrows_of.get(&payer).unwrap_or_default();
        ids.push(escrow_id);
        self.escrows_of.insert(&payer, &ids);
        let held = BillingEvent::PaymentHeld {
            escrow_id,
            payer: payer.clone(),
            target: target.clone(),
            asset: asset.clone(),
            amount,
            fee: self.fee,
            storage,
            forwarded,
            source,
            msg: msg.clone(),
        };
        log(&held);
        let offered = PaymentOffered { escrow_id, payer: payer.clone(), asset, amount, bounds, msg };
        let question = offered.question(&target, forwarded);
        let callback =
            Self::ext(env::current_account_id()).with_static_gas(Gas::from_tgas(RESOLVE_TGAS)).resolve_payment(escrow_id, payer, forwarded);
        Ok(ask(&question).then(callback))
    }

    /// What was forwarded with an escrow's question is not under way any more, wherever it is. Once for an escrow.
    fn land_forwarded(&mut self, record: &mut EscrowRecord) -> Result<(), BillingError> {
        if let Some(forwarded) = record.forwarded.take() {
            self.books.in_flight = self.books.in_flight.checked_sub(forwarded)?;
        }
        Ok(())
    }

    /// Opens a held escrow by the target's terms, or returns it with the reason why not. An escrow that is decided stays as it is.
    fn decide(&mut self, escrow_id: EscrowId, record: Option<EscrowRecord>, terms: Result<OpenTerms, String>) -> PayResult {
        let mut record = match record {
            Some(record) if matches!(record.escrow.state, State::Held { .. }) => record,
            record => return PayResult { escrow_id, opened: record.is_some(), reason: Some("it was decided already".to_owned()) },
        };
        self.land_forwarded(&mut record).or_panic();
        let arbiter = record.escrow.arbiter.clone();
        let opened = terms.and_then(|terms| {
            let result = self.apply(escrow_id, &record, Event::Open(terms.clone()));
            result.map(|(moved, _)| (terms, moved)).map_err(|error| error.to_string())
        });
        match opened {
            Ok((terms, moved)) => {
                log(&BillingEvent::EscrowOpened { escrow_id, terms, moved });
                ask(&opened_notice(&arbiter, escrow_id)).detach();
                PayResult { escrow_id, opened: true, reason: None }
            }
            Err(reason) => {
                let (moved, _) = self.apply(escrow_id, &record, Event::Refuse).or_panic();
                log(&BillingEvent::EscrowRefused { escrow_id, reason: reason.clone(), moved });
                PayResult { escrow_id, opened: false, reason: Some(reason) }
            }
        }
    }
}

/// Whether there is gas for a question of so many Tgas, the callback and the promises: a callback must never run dry.
fn require_gas(question_tgas: u64) -> Result<(), BillingError> {
    let needed = Gas::from_tgas(question_tgas + RESOLVE_TGAS + MARGIN_TGAS);
    let left = env::prepaid_gas().saturating_sub(env::used_gas());
    if left < needed { Err(BillingError::TooLittleGas) } else { Ok(()) }
}
