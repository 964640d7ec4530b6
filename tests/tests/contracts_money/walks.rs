//! Random walks: whatever is called in whatever order, the books balance after each step, and in the end everyone has what is theirs.

use crate::{
    books::{owed, surplus},
    money,
};
use starling_contract_api::{
    Call, ONE_YOCTO,
    billing::Billing,
    compute::{Purpose, RosterSignature},
    payment::{PayArgs, PaymentMsg},
};
use starling_primitives::{Amount, DurationMs, EscrowId, RunId};
use starling_protocol::signing::Role;
use starling_tests::{
    Actor, Harness,
    walk::{Draw, Tally, steps},
    work::{NodeOf, next_round, run_terms},
};

const STEPS: u32 = 600;

struct Walk {
    harness: Harness,
    tenants: Vec<Actor>,
    node: NodeOf,
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
        let call = match self.draw.below(18) {
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
    let reserve = surplus(&harness).await?;
    let mut walk = Walk { harness, tenants, node, draw: Draw(seed) };
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
    tally.finish(&format!("billing and compute, seed {seed}"), &["pay", "post_round", "settle_run"])?;
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
