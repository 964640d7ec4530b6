//! The ordinary steps of providers and tenants, for tests.

use crate::{Actor, Answer, Harness, MIN_STAKE};
use starling_contract_api::{
    billing::{ACCOUNT_BYTES, Billing, EscrowView},
    compute::{Compute, NODE_METHODS, RosterSignature},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, Hash32, NodeId, PublicKey, RunId, Text};
use starling_protocol::{
    escrow::Bounds,
    node::{Capability, DeviceKind, OfferTerms},
    run::{Run, RunTerms},
    signing::{Domain, Role, RoundStatement},
};

/// A node with its provider's two keys.
#[derive(Clone, Debug)]
pub struct NodeOf {
    /// Its number.
    pub id: NodeId,
    /// The provider's full-access key.
    pub provider: Actor,
    /// The node's own function-call key.
    pub key: Actor,
}

impl Harness {
    /// `billing` of this chain.
    pub fn billing(&self) -> Billing {
        Billing(self.deployment.billing.clone())
    }

    /// `compute` of this chain.
    pub fn compute(&self) -> Compute {
        Compute(self.deployment.compute.clone())
    }

    /// All escrows that an account pays, page by page.
    pub async fn escrows(&self, payer: &AccountId) -> anyhow::Result<Vec<EscrowView>> {
        let mut all: Vec<EscrowView> = Vec::new();
        loop {
            let from = all.last().map_or(0, |view| view.id.0 + 1);
            let page = self.view(&self.billing().escrows_of(payer, from, 100)).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// All escrows that are not spent of several payers, payer by payer.
    pub async fn escrows_of_all(&self, payers: &[Actor]) -> anyhow::Result<Vec<EscrowView>> {
        let mut all = Vec::new();
        for payer in payers {
            all.extend(self.escrows(&payer.account).await?);
        }
        Ok(all)
    }

    /// The domain of what `compute` checks.
    pub fn domain(&self) -> Domain {
        self.deployment.compute_domain()
    }

    /// A new account with so many NEAR, registered in `billing` without a balance.
    pub async fn registered(&self, name: &str, near: u64) -> anyhow::Result<Actor> {
        let actor = self.actor(name, near).await?;
        self.call(&actor, &self.billing().storage_deposit(None, true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
        Ok(actor)
    }

    /// A new provider with a staked node of its own key.
    pub async fn node(&self, name: &str) -> anyhow::Result<NodeOf> {
        let provider = self.registered(name, 20).await?;
        let key = self.add_function_key(&provider, &self.deployment.compute, NODE_METHODS, Amount::from_near(2)).await?;
        let price = self.view(&self.compute().storage_price()).await?;
        let capability = Capability {
            kind: DeviceKind::Cpu,
            device: Text::new("test processor")?,
            memory_bytes: 1 << 30,
            threads: 2,
            matrix_gflops: 10,
        };
        let register = self.compute().register_node(&key.public_key(), &provider.account, &capability, price);
        let id: NodeId = self.call(&provider, &register).await?.ok()?.json()?;
        let paid = self.pay(&provider, &self.deployment.compute, MIN_STAKE, PaymentMsg::Stake { node_id: id }).await?.ok()?;
        anyhow::ensure!(paid.json::<PayResult>()?.opened, "the stake was refused: {paid:?}");
        Ok(NodeOf { id, provider, key })
    }

    /// What a payer allows in ordinary cases: a year, the fee as it is, nothing at once.
    pub async fn bounds(&self) -> anyhow::Result<Bounds> {
        Ok(Bounds {
            expires_by: self.now().await?.after(DurationMs::from_days(365)),
            post_at_once: Amount::ZERO,
            fee: BasisPoints::new(crate::FEE)?,
            holdback: BasisPoints::ZERO,
            voucher: None,
            objection_window: DurationMs(0),
        })
    }

    /// What an ordinary payer says with a payment.
    pub async fn pay_args(&self, target: &AccountId, amount: Amount, msg: PaymentMsg) -> anyhow::Result<PayArgs> {
        Ok(PayArgs { target: target.clone(), amount, storage: msg.storage(), bounds: self.bounds().await?, msg })
    }

    /// Pays out of an attached deposit that is exactly what it costs.
    pub async fn pay(&self, payer: &Actor, target: &AccountId, amount: Amount, msg: PaymentMsg) -> anyhow::Result<Answer> {
        let args = self.pay_args(target, amount, msg).await?;
        let mut deposit = Amount::sum([amount, args.storage, Billing::pay_storage()])?;
        if self.view(&self.billing().account(&payer.account)).await?.is_none() {
            deposit = deposit.checked_add(storage_cost(ACCOUNT_BYTES))?;
        }
        self.call(payer, &self.billing().pay(&args, deposit)).await
    }

    /// Signs a round by these nodes at their places and by the meter, and brings it.
    pub async fn post_round(
        &self,
        sender: &Actor,
        statement: &RoundStatement,
        signers: &[(u16, &Actor)],
        meter: &Actor,
    ) -> anyhow::Result<Answer> {
        let bytes = statement.signing_bytes(&self.domain(), Role::Node);
        let signatures: Vec<RosterSignature> =
            signers.iter().map(|(place, node)| RosterSignature { place: *place, signature: node.sign(&bytes) }).collect();
        let meter = meter.sign(&statement.signing_bytes(&self.domain(), Role::Meter));
        self.call(sender, &self.compute().post_round(statement, &signatures, &meter)).await
    }

    /// A run as it is on chain.
    pub async fn run(&self, run_id: RunId) -> anyhow::Result<Run> {
        self.view(&self.compute().run(run_id)).await?.ok_or_else(|| anyhow::anyhow!("there is no run {run_id}"))
    }
}

/// Terms of a small run, co-signed by `meter`.
pub fn run_terms(meter: PublicKey, rounds: u32, nodes: u16) -> RunTerms {
    RunTerms {
        recipe: Hash32::sha256(b"recipe"),
        data: Hash32::sha256(b"data"),
        held_out: Hash32::sha256(b"held out"),
        base: Hash32::sha256(b"base"),
        base_root: Hash32::sha256(b"base root"),
        rounds,
        min_nodes: 1,
        max_nodes: nodes,
        tokens_per_round: 1_000,
        price_per_million_tokens: Amount::from_near(100),
        enroll_time: DurationMs::from_secs(600),
        round_time: DurationMs::from_secs(600),
        meter,
        availability: DurationMs::from_days(3),
        invited: Vec::new(),
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    }
}

/// The next round's statement of a run, with these accepted tokens.
pub fn next_round(run: &Run, tokens: &[u32]) -> RoundStatement {
    RoundStatement {
        escrow_id: run.escrow_id,
        run_id: run.id,
        round: run.rounds_done,
        previous: run.chain,
        record: Hash32::sha256(format!("record {}", run.rounds_done).as_bytes()),
        state_root: Hash32::sha256(format!("root {}", run.rounds_done).as_bytes()),
        tokens: tokens.to_vec(),
    }
}

/// Terms of an ordinary offer.
pub fn offer_terms() -> OfferTerms {
    OfferTerms {
        price_per_million_tokens: Amount::from_near(100),
        price_per_hour: Amount::from_near(3),
        min_lease: DurationMs::from_secs(60),
        max_lease: DurationMs::from_hours(24),
        objection_window: DurationMs::from_hours(1),
        asset: Asset::Near,
        sla: None,
    }
}
