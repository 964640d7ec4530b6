//! What the story tells of what is rare: a meter that is a delegate's, objections, a bond behind a promise, and a callback that is lost.

use crate::story::{Story, outcomes};
use anyhow::ensure;
use near_primitives::views::FinalExecutionOutcomeView;
use starling_contract_api::{
    billing::Billing,
    compute::allow_list_storage,
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_localnet::BlockMode;
use starling_primitives::{Amount, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, OfferId};
use starling_protocol::{
    bond::Sla,
    escrow::Bounds,
    lease::LeaseTerms,
    meter::{Delegate, Meter},
    node::OfferTerms,
    signing::{LeaseStatement, Role},
};
use starling_tests::{
    Actor, Harness, contract_wasm,
    work::{offer_terms, run_terms},
};

const LEASE: LeaseId = LeaseId(2);
const ANSWER_TIME: DurationMs = DurationMs::from_secs(60);
const WINDOW: DurationMs = DurationMs::from_hours(1);

impl Story {
    /// A lease with a delegate and a promise: one ping is answered and one is not, a post vests, the meter is replaced, the tenant objects.
    pub(crate) async fn promise(&self) -> anyhow::Result<()> {
        let (harness, alice, bob, one) = (&self.harness, &self.alice, &self.bob, &self.nodes[0]);
        let (compute, billing) = (harness.compute(), harness.billing());
        let bond = harness.pay(&one.provider, &compute.0, Amount::from_near(2), PaymentMsg::Bond).await?.ok()?;
        let bond = bond.json::<PayResult>()?.escrow_id;
        let sla = Some(Sla { bond, pays: Amount::from_near(1), units_per_hour: 60, answer_time: ANSWER_TIME });
        let price = harness.view(&compute.storage_price()).await?;
        let made = compute.create_offer(one.id, &OfferTerms { sla, ..offer_terms() }, price);
        let offer_id: OfferId = harness.call(&one.provider, &made).await?.ok()?.json()?;
        let invited = compute.set_offer_tenants(offer_id, std::slice::from_ref(&alice.account), allow_list_storage(1));
        self.make(&one.provider, &invited).await?;
        let delegate = Some(Delegate { account: bob.account.clone(), share: BasisPoints::new(200)? });
        let (duration, job, availability) = (DurationMs::from_hours(10), Hash32::sha256(b"job"), DurationMs(0));
        let terms = LeaseTerms { offer_id, duration, job, meter: bob.public_key(), availability, delegate };
        let bounds = Bounds { objection_window: WINDOW, ..harness.bounds().await? };
        let msg = PaymentMsg::Lease(terms);
        let args = PayArgs { target: compute.0.clone(), amount: Amount::from_near(40), storage: msg.storage(), bounds, msg };
        let escrow_id = self.pay_args(&args).await?;
        self.make(&one.key, &compute.accept_lease(LEASE)).await?;
        self.make(alice, &compute.ping(LEASE)).await?;
        self.make(&one.key, &compute.pong(LEASE)).await?;
        harness.pass(ANSWER_TIME).await?;
        self.make(alice, &compute.ping(LEASE)).await?;
        harness.pass(ANSWER_TIME).await?;
        harness.pass(ANSWER_TIME).await?;
        self.make(alice, &compute.claim_bond(LEASE)).await?;
        self.post(escrow_id, 1).await?;
        harness.pass(DurationMs(2 * WINDOW.0)).await?;
        self.make(alice, &billing.vest(escrow_id)).await?;
        self.post(escrow_id, 2).await?;
        self.make(alice, &compute.replace_meter(LEASE, &Meter { key: alice.public_key(), delegate: None })).await?;
        self.make(alice, &billing.object(escrow_id, false)).await
    }

    /// Node and delegate sign once more, and the figures are posted.
    async fn post(&self, escrow_id: EscrowId, seq: u64) -> anyhow::Result<()> {
        let (harness, output) = (&self.harness, Hash32::sha256(b"output"));
        let statement =
            LeaseStatement { escrow_id, lease_id: LEASE, seq, metered_ms: 30_000 * seq, units: 7 * seq, output, is_final: false };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&harness.domain(), role));
        let (node, meter) = (sign(&self.nodes[0].key, Role::Node), sign(&self.bob, Role::Meter));
        self.make(&self.bob, &harness.compute().post_statement(&statement, &node, &meter)).await?;
        self.make(&self.bob, &harness.compute().settle_lease(LEASE)).await
    }
}

/// On a chain of its own, a payment whose callback finds another contract's code, until anyone may return it.
pub(crate) async fn voided() -> anyhow::Result<Vec<FinalExecutionOutcomeView>> {
    let harness = Harness::start_in(BlockMode::Manual, &["billing", "compute"]).await?;
    let alice = harness.registered("alice.starling", 500).await?;
    let (billing, compute) = (harness.billing(), harness.compute());
    let args = harness.pay_args(&compute.0, Amount::from_near(1), PaymentMsg::Run(run_terms(alice.public_key(), 3, 2))).await?;
    let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    harness.hold_blocks(true);
    let paid = harness.send(&alice, &billing.pay(&args, deposit)).await?;
    while harness.view(&billing.escrow(EscrowId(1))).await?.is_none() {
        harness.chain.produce_block()?;
    }
    let gone = harness.send_deploy_by_key(&billing.0, contract_wasm("scripted")?).await?;
    for _ in 0..6 {
        harness.chain.produce_block()?;
    }
    gone.outcome().await?.ok()?;
    paid.outcome().await?.refused("MethodNotFound")?;
    harness.hold_blocks(false);
    harness.deploy_by_key(&billing.0, &contract_wasm("billing")?).await?;
    harness.pass(DurationMs::from_secs(700)).await?;
    harness.call(&alice, &billing.void(EscrowId(1))).await?.ok()?;
    ensure!(harness.view(&billing.escrow(EscrowId(1))).await?.is_none(), "it was not returned");
    outcomes(&harness)
}
