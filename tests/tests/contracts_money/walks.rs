//! Random walks: whatever is called in whatever order, the books balance after each step, and in the end everyone has what is theirs.

use crate::{
    books::{owed, surplus},
    money,
};
use anyhow::Context as _;
use starling_contract_api::{
    Call, ONE_YOCTO,
    billing::Billing,
    compute::{Purpose, RosterSignature},
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_primitives::{Amount, DurationMs, EscrowId, Hash32, LeaseId, OfferId, RunId, TimestampMs};
use starling_protocol::{
    bond::Sla,
    lease::{Lease, LeaseState, LeaseTerms},
    node::OfferTerms,
    signing::{LeaseStatement, Role},
};
use starling_tests::{
    Actor, Harness,
    walk::{Draw, Tally, steps},
    work::{NodeOf, next_round, offer_terms, run_terms},
};

const STEPS: u32 = 600;

struct Walk {
    harness: Harness,
    tenants: Vec<Actor>,
    node: NodeOf,
    /// The node's offer, with a bond behind it.
    offer_id: OfferId,
    draw: Draw,
}

impl Walk {
    /// Any call by anyone who could mean it, sensible or not.
    async fn step(&mut self) -> anyhow::Result<(Actor, Call)> {
        let (billing, compute) = (self.harness.billing(), self.harness.compute());
        let tenant = self.tenants[usize::from(self.draw.below(2) == 1)].clone();
        let open = self.harness.escrows(&tenant.account).await?;
        // The newest are the likeliest to be alive; none at all is tried too.
        let newest = usize::try_from(self.draw.below(3))?;
        let escrow = open.iter().rev().nth(newest).or(open.last()).map_or(EscrowId(1), |view| view.id);
        let run_id = match self.harness.view(&compute.purpose(escrow)).await? {
            Some(Purpose::Run(run_id)) => run_id,
            _ => RunId(1),
        };
        let amount = Amount(u128::from(self.draw.below(2_000)) * 1_000_000_000_000_000_000_001);
        let call = match self.draw.below(26) {
            18.. => return self.lease_step(tenant).await,
            0 => billing.deposit(Amount(amount.0 + Amount::from_millinear(10).0)),
            1 => billing.withdraw(Some(amount)),
            2 => billing.storage_withdraw(None),
            3..=5 => {
                let msg = PaymentMsg::Run(run_terms(tenant.public_key(), 2, 1));
                let args = PayArgs { target: compute.0.clone(), amount, storage: msg.storage(), bounds: self.harness.bounds().await?, msg };
                let attached = Amount::sum([amount, args.storage, Billing::pay_storage(), Amount::from_millinear(5)])?;
                if self.draw.below(2) == 0 { billing.pay(&args, attached) } else { billing.pay_from_balance(&args, false) }
            }
            6 | 7 => return Ok((self.node.key.clone(), compute.enroll(run_id, self.node.id))),
            8..=10 => {
                let Some(run) = self.harness.view(&compute.run(run_id)).await? else {
                    return Ok((tenant, compute.settle_run(run_id)));
                };
                let statement = next_round(&run, &[u32::try_from(self.draw.below(1_002))?]);
                let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&self.harness.domain(), role));
                let signature = RosterSignature { place: 0, signature: sign(&self.node.key, Role::Node) };
                let meter = self.tenants.iter().find(|tenant| tenant.account == run.tenant).map(|tenant| sign(tenant, Role::Meter));
                compute.post_round(&statement, &[signature], &meter.ok_or_else(|| anyhow::anyhow!("whose run is it?"))?)
            }
            11 => compute.settle_run(run_id),
            12 => compute.stop_run(run_id),
            13 => billing.acknowledge(escrow),
            14 => billing.refuse(escrow),
            15 => billing.ask_closing(escrow),
            16 => billing.close(escrow),
            _ => {
                let longest = if self.draw.below(6) == 0 { 400_000 } else { 300 };
                let seconds = self.draw.below(longest);
                self.harness.pass(DurationMs::from_secs(seconds)).await?;
                billing.vest(escrow)
            }
        };
        Ok((tenant, call))
    }

    /// Any call about a lease that has a bond behind it.
    async fn lease_step(&mut self, tenant: Actor) -> anyhow::Result<(Actor, Call)> {
        let compute = self.harness.compute();
        let last = self.harness.view(&compute.counts()).await?.leases;
        let lease_id = LeaseId(last.max(1));
        let lease = self.harness.view(&compute.lease(lease_id)).await?;
        let owner = self.tenants.iter().find(|tenant| lease.as_ref().is_some_and(|lease| lease.tenant == tenant.account));
        let (tenant, node) = (owner.cloned().unwrap_or(tenant), self.node.key.clone());
        let now = self.harness.now().await?;
        let state = lease.as_ref().map(|lease| lease.at(now).state);
        Ok(match (state, self.draw.below(12)) {
            (Some(LeaseState::Pending { .. }), 0..9) => (node, compute.accept_lease(lease_id)),
            (Some(LeaseState::Active { .. }), 0..3) => (tenant, compute.ping(lease_id)),
            (Some(LeaseState::Active { .. }), 3..5) => (node, compute.pong(lease_id)),
            (Some(LeaseState::Active { since, .. }), 5..9) => {
                let call = self.statement(lease.as_ref().context("a lease")?, since, &tenant).await?;
                (node, call)
            }
            (_, 0..5) => {
                let (job, meter, duration) = (Hash32::default(), tenant.public_key(), DurationMs::from_hours(1));
                let terms = LeaseTerms { offer_id: self.offer_id, duration, job, meter, availability: DurationMs(0), delegate: None };
                let args = self.harness.pay_args(&compute.0, Amount::from_near(3), PaymentMsg::Lease(terms)).await?;
                let attached = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
                (tenant, self.harness.billing().pay(&args, attached))
            }
            (_, 5..7) => (tenant, compute.close_lease(lease_id)),
            (_, 7..10) => (node, compute.settle_lease(LeaseId(lease_id.0.saturating_sub(self.draw.below(2)).max(1)))),
            _ => (tenant, compute.claim_bond(lease_id)),
        })
    }

    /// What the node and the tenant sign: mostly for time that has passed, and now and then for too little work in it.
    async fn statement(&mut self, lease: &Lease, since: TimestampMs, tenant: &Actor) -> anyhow::Result<Call> {
        let passed = self.harness.now().await?.since(since).0;
        let more = self.draw.below(passed.saturating_sub(lease.metered.0) + 500);
        let (escrow_id, lease_id, seq) = (lease.escrow_id, lease.id, lease.seq + 1);
        let (units, is_final) = (lease.units + self.draw.below(400), self.draw.below(8) == 0);
        let metered_ms = lease.metered.0 + more;
        let statement = LeaseStatement { escrow_id, lease_id, seq, metered_ms, units, output: Hash32::default(), is_final };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&self.harness.domain(), role));
        Ok(self.harness.compute().post_statement(&statement, &sign(&self.node.key, Role::Node), &sign(tenant, Role::Meter)))
    }

    /// Every coin leaves: escrows close by time alone, everyone withdraws.
    async fn end(&self) -> anyhow::Result<u128> {
        let (billing, mut yoctos) = (self.harness.billing(), 0);
        let everyone = [&self.tenants[0], &self.tenants[1], &self.node.provider];
        for call in [Billing::close, Billing::vest] {
            self.harness.pass(DurationMs::from_days(400)).await?;
            for payer in everyone {
                for view in self.harness.escrows(&payer.account).await? {
                    self.harness.call(&self.harness.owner, &call(&billing, view.id)).await?;
                }
            }
        }
        for account in everyone {
            let answer = self.harness.call(account, &billing.withdraw(None)).await?;
            yoctos += u128::from(answer.value.is_ok());
        }
        yoctos += u128::from(self.harness.call(&self.harness.owner, &billing.withdraw_fees()).await?.value.is_ok());
        Ok(yoctos)
    }
}

async fn walk(seed: u64) -> anyhow::Result<()> {
    let harness = money().await?;
    let tenants = vec![harness.registered("alice.starling", 5_000).await?, harness.registered("bob.starling", 5_000).await?];
    let node = harness.node("provider.starling").await?;
    let bond = harness.pay(&node.provider, &harness.deployment.compute, Amount::from_near(4), PaymentMsg::Bond).await?.ok()?;
    let (bond, pays) = (bond.json::<PayResult>()?.escrow_id, Amount::from_millinear(301));
    let sla = Some(Sla { bond, pays, units_per_hour: 3_600, answer_time: DurationMs::from_secs(60) });
    let price = harness.view(&harness.compute().storage_price()).await?;
    let made = harness.compute().create_offer(node.id, &OfferTerms { sla, ..offer_terms() }, price);
    let offer_id = harness.call(&node.provider, &made).await?.ok()?.json()?;
    let reserve = surplus(&harness).await?;
    let mut walk = Walk { harness, tenants, node, offer_id, draw: Draw(seed) };
    let (mut yoctos, mut tally) = (0, Tally::default());
    for step in 0..steps(STEPS) {
        let (actor, call) = walk.step().await?;
        let answer = walk.harness.call(&actor, &call).await?;
        tally.note(&call.method, answer.value.is_ok());
        if answer.value.is_ok() {
            yoctos += u128::from(call.deposit == ONE_YOCTO && call.contract == walk.harness.deployment.billing);
        }
        let now = surplus(&walk.harness).await?;
        anyhow::ensure!(
            now == Amount(reserve.0 + yoctos),
            "seed {seed}, step {step}: {} by {} left {now}, not {}",
            call.method,
            actor.account,
            reserve.0 + yoctos
        );
    }
    tally.finish(
        &format!("billing and compute, seed {seed}"),
        &["pay", "post_round", "settle_run", "ping", "pong", "claim_bond", "settle_lease"],
    )?;
    yoctos += walk.end().await?;
    let totals = walk.harness.view(&walk.harness.billing().totals()).await?;
    assert_eq!((totals.balances, totals.escrows, totals.fees), (Amount::ZERO, Amount::ZERO, Amount::ZERO), "seed {seed}");
    assert_eq!(owed(&totals)?, totals.storage);
    assert_eq!(surplus(&walk.harness).await?, Amount(reserve.0 + yoctos));
    Ok(())
}

#[tokio::test]
async fn books__should_balance_after_any_call() -> anyhow::Result<()> {
    walk(1).await
}

#[tokio::test]
async fn books__should_balance_after_any_other_call() -> anyhow::Result<()> {
    walk(2).await
}
