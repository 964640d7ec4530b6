//! Payments that `billing` offers: accepted here, opened there, and from then on a run, a lease or a stake.

use crate::{ComputeError, Contract, ContractExt, bonds, log, reputation::count};
use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::near;
use starling_contract_api::{
    compute::Purpose,
    events::ComputeEvent,
    payment::{PaymentMsg, PaymentOffered},
};
use starling_contract_common::{OrPanic, attached, next, now, predecessor, require_strong_key, send};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, LeaseId, NodeId, RunId, TimestampMs};
use starling_protocol::{
    bond::{self, Cover, MAX_OWED},
    escrow::{Authority, Bounds, HOLD_PERIOD, OpenTerms},
    lease::{self, LeaseTerms},
    node::LEASE_MARGIN,
    price::HOLDBACK,
    reputation::Deed,
    run::{self, Run, RunTerms},
};

/// How long after expiry a run's or a lease's escrow takes posts.
const GRACE: DurationMs = DurationMs::from_hours(1);
/// After the hold deadline, how long a notice of `billing` may be under way.
const NOTICE_MARGIN: DurationMs = DurationMs::from_hours(1);

/// A payment that was accepted.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Payment {
    pub(crate) purpose: PurposeRecord,
    payer: AccountId,
    accepted_at: TimestampMs,
    expires_at: TimestampMs,
    opened: bool,
}

/// [`Purpose`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum PurposeRecord {
    Run(RunId),
    Lease(LeaseId),
    Stake(NodeId),
    Bond,
}

#[near]
impl Contract {
    /// Accepts a payment or refuses it by failing.
    ///
    /// Access: `billing`. Deposit: the storage of the payment's record, forwarded from the payer. Gas: 30 T. State change: a run, a lease, a stake or a bond that waits for `on_opened`.
    /// Events: `run_paid`, `lease_paid`, `stake_paid` or `bond_changed`. Refund: what storage does not need, to the payer's account. Answers the escrow's terms.
    #[payable]
    pub fn on_payment(
        &mut self,
        escrow_id: EscrowId,
        payer: AccountId,
        asset: Asset,
        amount: Amount,
        bounds: Bounds,
        msg: PaymentMsg,
    ) -> OpenTerms {
        self.setup.require_billing();
        self.setup.require_running();
        self.accept(PaymentOffered { escrow_id, payer, asset, amount, bounds, msg }).or_panic()
    }

    /// Hears that an escrow is open. A repeated notice changes nothing.
    ///
    /// Access: `billing`. Deposit: none. Gas: 10 T. State change: the run enrolls, the lease waits for its node, the stake or the bond counts. Events: `run_opened`, `lease_changed`,
    /// `stake_confirmed` or `bond_changed`. Refund: none.
    pub fn on_opened(&mut self, escrow_id: EscrowId) {
        self.setup.require_billing();
        let mut payment = self.payment(escrow_id).or_panic();
        if payment.opened {
            return;
        }
        payment.opened = true;
        match payment.purpose {
            PurposeRecord::Run(run_id) => {
                let run = self.change_run(run_id, run::Event::Opened).or_panic();
                log(&ComputeEvent::RunOpened { run_id, state: run.state });
            }
            PurposeRecord::Lease(lease_id) => {
                let lease = self.change_lease(lease_id, lease::Event::Opened).or_panic();
                log(&ComputeEvent::LeaseChanged { lease_id, state: lease.state });
            }
            PurposeRecord::Stake(node_id) => self.confirm_stake(node_id, escrow_id).or_panic(),
            PurposeRecord::Bond => {
                bonds::change(escrow_id, bond::Event::Opened).or_panic();
            }
        }
        self.payments.insert(&escrow_id, &payment);
    }

    /// Hears that a payer objected: nothing is posted to the escrow any more. A repeated notice changes nothing.
    ///
    /// Access: `billing`. Deposit: none. Gas: 20 T. State change: the lease or the run ends, and it counts. Events: `lease_changed` or `run_changed`. Refund: none.
    pub fn on_objected(&mut self, escrow_id: EscrowId) {
        self.setup.require_billing();
        match self.payment(escrow_id).or_panic().purpose {
            PurposeRecord::Lease(lease_id) => self.step_lease(lease_id, lease::Event::Objected).or_panic(),
            PurposeRecord::Run(run_id) => {
                let run = self.change_run(run_id, run::Event::Objected).or_panic();
                contributors(&run).for_each(|node_id| count(node_id, Deed::Objection));
                log(&ComputeEvent::RunChanged { run_id, state: run.state });
            }
            PurposeRecord::Stake(_) | PurposeRecord::Bond => {}
        }
    }

    /// Hears that a payer refused the holdback: it counts for every node that had a part of it.
    ///
    /// Access: `billing`, once for an escrow. Deposit: none. Gas: 25 T. State change: the nodes' reputation. Events: `holdback_refused`. Refund: none.
    pub fn on_holdback_refused(&mut self, escrow_id: EscrowId) {
        self.setup.require_billing();
        let nodes: Vec<NodeId> = match self.payment(escrow_id).or_panic().purpose {
            PurposeRecord::Lease(lease_id) => vec![self.lease_record(lease_id).or_panic().node_id],
            PurposeRecord::Run(run_id) => contributors(&self.run_record(run_id).or_panic()).collect(),
            PurposeRecord::Stake(_) | PurposeRecord::Bond => Vec::new(),
        };
        for node_id in &nodes {
            count(*node_id, Deed::Refusal);
        }
        log(&ComputeEvent::HoldbackRefused { escrow_id, nodes });
    }

    /// Removes a payment that was accepted here and never opened, and sends its storage deposit to who paid.
    ///
    /// Access: anyone, an hour after the hold deadline. Deposit: none. Gas: 20 T. State change: the record goes. Events: `payment_forgotten`. Refund: the storage deposit, to the payer.
    pub fn forget_payment(&mut self, escrow_id: EscrowId) {
        let payment = self.payment(escrow_id).or_panic();
        let storage = self.forget(escrow_id, &payment).or_panic();
        log(&ComputeEvent::PaymentForgotten { escrow_id });
        give(&payment.payer, storage);
    }

    /// What was answered to a payment that is still pending; nothing else.
    pub fn payment_answer(&self, escrow_id: EscrowId) -> Option<OpenTerms> {
        let payment = self.payments.get(&escrow_id).filter(|payment| !payment.opened)?;
        Some(self.open_terms(&payment).or_panic())
    }

    /// What an escrow pays here.
    pub fn purpose(&self, escrow_id: EscrowId) -> Option<Purpose> {
        self.payments.get(&escrow_id).map(|payment| payment.purpose.into())
    }
}

impl From<PurposeRecord> for Purpose {
    fn from(record: PurposeRecord) -> Self {
        match record {
            PurposeRecord::Run(id) => Self::Run(id),
            PurposeRecord::Lease(id) => Self::Lease(id),
            PurposeRecord::Stake(id) => Self::Stake(id),
            PurposeRecord::Bond => Self::Bond,
        }
    }
}

impl Contract {
    fn payment(&self, escrow_id: EscrowId) -> Result<Payment, ComputeError> {
        self.payments.get(&escrow_id).ok_or(ComputeError::NoSuchPayment(escrow_id))
    }

    fn accept(&mut self, offered: PaymentOffered) -> Result<OpenTerms, ComputeError> {
        let PaymentOffered { escrow_id, payer, asset, amount, bounds, msg } = offered;
        let priced_in = match &msg {
            PaymentMsg::Run(terms) => terms.asset.clone(),
            PaymentMsg::Lease(terms) => self.offer_record(terms.offer_id)?.terms.asset,
            _ => Asset::Near,
        };
        if asset != priced_in {
            return Err(ComputeError::OtherAsset(priced_in));
        }
        let storage = msg.storage();
        let rest = attached().checked_sub(storage).map_err(|_| ComputeError::StorageTooSmall(storage))?;
        let accepted_at = now();
        let (purpose, expires_at) = match msg {
            PaymentMsg::Run(terms) => (self.accept_run(escrow_id, &payer, amount, terms.clone())?, terms.expires_at(accepted_at)),
            PaymentMsg::Lease(terms) => (
                self.accept_lease_payment(escrow_id, &payer, amount, terms.clone())?,
                accepted_at.after(terms.duration).after(LEASE_MARGIN),
            ),
            PaymentMsg::Stake { node_id } => (self.accept_stake(escrow_id, &payer, amount, node_id)?, bounds.expires_by),
            PaymentMsg::Bond => (bonds::accept(escrow_id, &payer, amount, bounds.expires_by), bounds.expires_by),
            PaymentMsg::Licence { .. } | PaymentMsg::Use { .. } => return Err(ComputeError::NotTaken),
        };
        let payment = Payment { purpose, payer, accepted_at, expires_at, opened: false };
        self.payments.insert(&escrow_id, &payment);
        give(&payment.payer, rest);
        self.open_terms(&payment)
    }

    fn accept_run(
        &mut self,
        escrow_id: EscrowId,
        payer: &AccountId,
        amount: Amount,
        terms: RunTerms,
    ) -> Result<PurposeRecord, ComputeError> {
        require_strong_key(&terms.meter);
        let id = RunId(next(&mut self.last_run));
        let run = Run::new(id, payer.clone(), escrow_id, amount, terms, now())?;
        self.runs.insert(&id, &run);
        log(&ComputeEvent::RunPaid { run });
        Ok(PurposeRecord::Run(id))
    }

    fn accept_lease_payment(
        &mut self,
        escrow_id: EscrowId,
        payer: &AccountId,
        amount: Amount,
        terms: LeaseTerms,
    ) -> Result<PurposeRecord, ComputeError> {
        require_strong_key(&terms.meter);
        let lease = self.new_lease(escrow_id, payer.clone(), amount, terms)?;
        let id = lease.id;
        log(&ComputeEvent::LeasePaid { lease });
        Ok(PurposeRecord::Lease(id))
    }

    /// The escrow's terms, the same whenever they are asked for.
    fn open_terms(&self, payment: &Payment) -> Result<OpenTerms, ComputeError> {
        let terms = OpenTerms {
            authority: Authority::Arbiter,
            expires_at: payment.expires_at,
            grace: GRACE,
            holdback: HOLDBACK,
            availability: DurationMs(0),
            max_payees: 1,
            parts: Vec::new(),
            postings: Vec::new(),
            close: false,
            objection_window: DurationMs(0),
        };
        Ok(match payment.purpose {
            PurposeRecord::Run(run_id) => {
                let run = self.run_record(run_id)?;
                let (availability, objection_window) = (run.terms.availability, run.terms.objection_window);
                OpenTerms { availability, max_payees: run.terms.max_payees(), objection_window, ..terms }
            }
            PurposeRecord::Lease(lease_id) => {
                let lease = self.lease_record(lease_id)?;
                let (max_payees, objection_window) = (1 + lease.metering.max_payees(), lease.metering.objection_window);
                OpenTerms { availability: lease.terms.availability, max_payees, objection_window, ..terms }
            }
            PurposeRecord::Stake(_) => OpenTerms { holdback: BasisPoints::ZERO, grace: DurationMs(0), ..terms },
            PurposeRecord::Bond => OpenTerms { holdback: BasisPoints::ZERO, grace: DurationMs(0), max_payees: MAX_OWED, ..terms },
        })
    }

    fn forget(&mut self, escrow_id: EscrowId, payment: &Payment) -> Result<Amount, ComputeError> {
        if payment.opened || now() <= payment.accepted_at.after(HOLD_PERIOD).after(NOTICE_MARGIN) {
            return Err(ComputeError::MayStillOpen);
        }
        let msg = match payment.purpose {
            PurposeRecord::Run(run_id) => {
                let run = self.run_record(run_id)?;
                self.runs.remove(&run_id);
                PaymentMsg::Run(run.terms)
            }
            PurposeRecord::Lease(lease_id) => {
                let lease = self.lease_record(lease_id)?;
                self.leases.remove(&lease_id);
                if let Some(Cover { sla, .. }) = &lease.cover {
                    bonds::change(sla.bond, bond::Event::Free { pays: sla.pays })?;
                }
                PaymentMsg::Lease(lease.terms)
            }
            PurposeRecord::Stake(node_id) => {
                self.remove_stake(node_id, escrow_id)?;
                PaymentMsg::Stake { node_id }
            }
            PurposeRecord::Bond => {
                bonds::forget(escrow_id);
                PaymentMsg::Bond
            }
        };
        self.payments.remove(&escrow_id);
        Ok(msg.storage())
    }
}

/// The nodes that had tokens accepted in a run.
fn contributors(run: &Run) -> impl Iterator<Item = NodeId> {
    run.roster.iter().filter(|member| member.tokens > 0).map(|member| member.node_id)
}

/// Sends what was not needed to an account. If the account is gone it stays here, as surplus.
fn give(account: &AccountId, amount: Amount) {
    if *account != predecessor() {
        send(account, amount);
    }
}
