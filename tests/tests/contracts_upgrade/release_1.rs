//! A deployment of release 1 with all kinds of records, made by calls in that release's own JSON: our types may have moved on.

use serde_json::{Value, json};
use starling_contract_api::{Call, ONE_YOCTO, TGAS, compute::NODE_METHODS};
use starling_localnet::BlockMode;
use starling_primitives::{AccountId, Amount, DurationMs, EscrowId, Hash32, NodeId, RunId};
use starling_protocol::signing::{Role, RoundStatement};
use starling_tests::{Actor, Answer, FEE, Harness, MIN_STAKE, Scripted, work::NodeOf};

/// What a payment forwards for the target's record: more than any of these needs, the rest comes back.
const FORWARDED: Amount = Amount::from_millinear(50);
/// What the two listings cost.
pub(crate) const PRICE: Amount = Amount::from_millinear(2_000);
/// Tokens of the token that alice and bob put down.
pub(crate) const TOKENS: Amount = Amount(1_000_003);
/// Rounds of run 1 that were settled.
pub(crate) const SETTLED_ROUNDS: u32 = 2;

/// The deployment with those who use it.
pub(crate) struct Scene {
    pub(crate) harness: Harness,
    /// Pays runs, a lease and a licence; has a session key.
    pub(crate) alice: Actor,
    pub(crate) session: Actor,
    /// Has a balance in NEAR and in the token.
    pub(crate) bob: Actor,
    pub(crate) publisher: Actor,
    pub(crate) nodes: Vec<NodeOf>,
    pub(crate) usd: Scripted,
    /// What `billing` held beyond what it owes before anything was paid.
    pub(crate) reserve: Amount,
    /// Calls of `billing` that attached a yocto, which stays there.
    pub(crate) yoctos: u128,
}

impl Scene {
    /// Contracts and accounts alone. From here on blocks are made by hand, so that a deadline of the chain does not depend on how fast this machine is.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let harness = Harness::start_release(BlockMode::Manual, 1, 50).await?;
        let reserve = harness.balance(&harness.deployment.billing).await?;
        let (alice, bob) = (harness.actor("alice.starling", 100).await?, harness.actor("bob.starling", 100).await?);
        let publisher = harness.actor("publisher.starling", 100).await?;
        let session = harness.add_function_key(&alice, &harness.deployment.billing, &["pay_from_balance"], Amount::from_near(5)).await?;
        let usd = harness.scripted("usd.starling").await?;
        let mut nodes = Vec::new();
        for (id, name) in [(1, "one.starling"), (2, "two.starling")] {
            let provider = harness.actor(name, 50).await?;
            let key = harness.add_function_key(&provider, &harness.deployment.compute, NODE_METHODS, Amount::from_near(2)).await?;
            nodes.push(NodeOf { id: NodeId(id), provider, key });
        }
        harness.hold_blocks(true);
        Ok(Self { harness, alice, session, bob, publisher, nodes, usd, reserve, yoctos: 0 })
    }

    /// Makes so many blocks that a payment with all its receipts is done.
    pub(crate) fn blocks(&self) -> anyhow::Result<()> {
        for _ in 0..8 {
            self.harness.chain.produce_block()?;
        }
        Ok(())
    }

    /// A call with all its receipts, and the yocto that stays in `billing` if it attached one.
    pub(crate) async fn run(&mut self, actor: &Actor, call: &Call) -> anyhow::Result<Answer> {
        let sent = self.harness.send(actor, call).await?;
        self.blocks()?;
        let answer = sent.outcome().await?;
        self.yoctos += u128::from(answer.value.is_ok() && call.deposit == ONE_YOCTO && call.contract == self.harness.deployment.billing);
        Ok(answer)
    }

    /// Makes a call of release 1, which must succeed.
    pub(crate) async fn make(
        &mut self,
        actor: &Actor,
        contract: &AccountId,
        method: &str,
        args: Value,
        deposit: Amount,
    ) -> anyhow::Result<Value> {
        let call = call(contract, method, args, deposit);
        let value = self.run(actor, &call).await?.ok()?.value.unwrap_or_default();
        Ok(if value.is_empty() { Value::Null } else { serde_json::from_slice(&value)? })
    }

    /// A payment of release 1 out of an attached deposit.
    pub(crate) async fn pay_call(&self, target: &AccountId, amount: Amount, post_at_once: Amount, msg: Value) -> anyhow::Result<Call> {
        let billing = &self.harness.deployment.billing;
        let storage: Amount = serde_json::from_value(self.harness.view_json(billing, "storage_price", &json!({})).await?)?;
        let expires_by = self.harness.now().await?.after(DurationMs::from_days(365));
        let bounds = json!({"expires_by": expires_by, "post_at_once": post_at_once, "fee": FEE, "holdback": 0, "voucher": null});
        let args = json!({"target": target, "amount": amount, "storage": FORWARDED, "bounds": bounds, "msg": msg});
        Ok(call(billing, "pay", args, Amount::sum([amount, FORWARDED, storage])?))
    }

    async fn pay(
        &mut self,
        payer: &Actor,
        target: &AccountId,
        amount: Amount,
        post_at_once: Amount,
        msg: Value,
    ) -> anyhow::Result<EscrowId> {
        let call = self.pay_call(target, amount, post_at_once, msg).await?;
        let result: Value = self.run(payer, &call).await?.ok()?.json()?;
        anyhow::ensure!(result["opened"] == true, "{result}");
        Ok(serde_json::from_value(result["escrow_id"].clone())?)
    }

    /// Everyone registers; alice has a balance and a session key, bob a balance and tokens, alice tokens too.
    pub(crate) async fn fill_billing(&mut self) -> anyhow::Result<()> {
        let (billing, owner) = (self.harness.deployment.billing.clone(), self.harness.owner.clone());
        let usd = self.usd.clone();
        self.make(&owner, &billing, "set_token", json!({"token": usd.account, "listed": true}), ONE_YOCTO).await?;
        self.run(&owner, &usd.token.register(&billing, Amount::ZERO)).await?.ok()?;
        for actor in [self.alice.clone(), self.bob.clone(), self.publisher.clone()] {
            self.make(
                &actor,
                &billing,
                "storage_deposit",
                json!({"account_id": null, "registration_only": false}),
                Amount::from_millinear(100),
            )
            .await?;
            self.make(&actor, &billing, "deposit", json!({}), Amount::from_near(20)).await?;
            self.run(&owner, &usd.mint(&actor.account, TOKENS)).await?.ok()?;
        }
        for actor in [self.alice.clone(), self.bob.clone()] {
            let sent = json!({"receiver_id": billing, "amount": TOKENS, "msg": ""});
            self.make(&actor, &usd.account, "ft_transfer_call", sent, ONE_YOCTO).await?;
        }
        let expires_at = self.harness.now().await?.after(DurationMs::from_days(30));
        let key = json!({
            "public_key": self.session.public_key(), "cap": Amount::from_near(3), "expires_at": expires_at,
            "targets": [self.harness.deployment.compute],
        });
        self.make(&self.alice.clone(), &billing, "add_session_key", key, ONE_YOCTO).await?;
        Ok(())
    }

    /// Two staked nodes with offers; a run in training with posts, a run that enrolls, an active lease.
    pub(crate) async fn fill_compute(&mut self) -> anyhow::Result<()> {
        let (billing, compute) = (self.harness.deployment.billing.clone(), self.harness.deployment.compute.clone());
        let capability = json!({"kind": "cpu", "device": "test processor", "memory_bytes": 1 << 30, "threads": 2, "matrix_gflops": 10});
        for NodeOf { id, provider, key } in self.nodes.clone() {
            self.make(&provider, &billing, "deposit", json!({}), Amount::from_near(1)).await?;
            let register = json!({"key": key.public_key(), "payout": provider.account, "capability": capability});
            anyhow::ensure!(self.make(&provider, &compute, "register_node", register, FORWARDED).await? == json!(id), "another node");
            self.pay(&provider, &compute, MIN_STAKE, Amount::ZERO, json!({"stake": {"node_id": id}})).await?;
            let terms = json!({
                "price_per_million_tokens": Amount::from_near(100), "price_per_hour": Amount::from_near(3),
                "min_lease": 60_000, "max_lease": 86_400_000,
            });
            self.make(&provider, &compute, "create_offer", json!({"node_id": id, "terms": terms}), FORWARDED).await?;
        }
        let (alice, run) = (self.alice.clone(), self.run_msg());
        for _ in 0..2 {
            self.pay(&alice, &compute, Amount::from_near(1), Amount::ZERO, run.clone()).await?;
        }
        for node in self.nodes.clone() {
            self.make(&node.key, &compute, "enroll", json!({"run_id": 1, "node_id": node.id}), Amount::ZERO).await?;
        }
        for _ in 0..SETTLED_ROUNDS {
            self.round().await?;
        }
        self.make(&self.bob.clone(), &compute, "settle_run", json!({"run_id": 1}), Amount::ZERO).await?;
        let job = Hash32::sha256(b"job");
        let lease = json!({"offer_id": 1, "duration": 3_600_000, "job": job, "meter": self.alice.public_key(), "availability": 86_400_000});
        self.pay(&alice, &compute, Amount::from_near(3), Amount::ZERO, json!({"lease": lease})).await?;
        self.make(&self.nodes[0].key.clone(), &compute, "accept_lease", json!({"lease_id": 1}), Amount::ZERO).await?;
        Ok(())
    }

    /// A listing and one made from it, of which alice has a licence.
    pub(crate) async fn fill_hub(&mut self) -> anyhow::Result<()> {
        let (hub, publisher) = (self.harness.deployment.hub.clone(), self.publisher.clone());
        for (slug, parents) in [("base", json!([])), ("child", json!(["publisher.starling/base"]))] {
            let files = json!([{"name": "model.safetensors", "hash": Hash32::sha256(slug.as_bytes()), "bytes": 1 << 20}]);
            let listing = json!({
                "slug": slug, "kind": "model", "category": "text_generation", "title": "A small model", "summary": "Writes Rust.",
                "licence": "MIT", "price": PRICE, "parents": parents, "royalty": 1_000, "files": files, "run_id": 1,
            });
            self.make(&publisher, &hub, "publish", listing, Amount::from_millinear(100)).await?;
        }
        let alice = self.alice.clone();
        self.pay(&alice, &hub, PRICE, PRICE, json!({"licence": {"name": "publisher.starling/child"}})).await?;
        Ok(())
    }

    /// A run of release 1 for two nodes and five rounds, co-signed by alice.
    pub(crate) fn run_msg(&self) -> Value {
        let hash = |text: &str| Hash32::sha256(text.as_bytes());
        json!({"run": {
            "recipe": hash("recipe"), "data": hash("data"), "held_out": hash("held out"), "base": hash("base"), "base_root": hash("base root"),
            "rounds": 5, "min_nodes": 1, "max_nodes": 2, "tokens_per_round": 1_000, "price_per_million_tokens": Amount::from_near(100),
            "enroll_time": 600_000, "round_time": 600_000, "meter": self.alice.public_key(), "availability": 259_200_000, "invited": [],
        }})
    }

    /// The next round of run 1, all its tokens accepted.
    pub(crate) async fn round(&mut self) -> anyhow::Result<()> {
        let compute = self.harness.deployment.compute.clone();
        let run = self.harness.view_json(&compute, "run", &json!({"run_id": 1})).await?;
        let statement = RoundStatement {
            escrow_id: serde_json::from_value(run["escrow_id"].clone())?,
            run_id: RunId(1),
            round: serde_json::from_value(run["rounds_done"].clone())?,
            previous: serde_json::from_value(run["chain"].clone())?,
            record: Hash32::sha256(b"record"),
            state_root: Hash32::sha256(b"root"),
            tokens: vec![1_000; 2],
        };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&self.harness.domain(), role));
        let signatures: Vec<Value> =
            (0..).zip(&self.nodes).map(|(place, node)| json!({"place": place, "signature": sign(&node.key, Role::Node)})).collect();
        let args = json!({"statement": statement, "signatures": signatures, "meter": sign(&self.alice, Role::Meter)});
        self.make(&self.bob.clone(), &compute, "post_round", args, Amount::ZERO).await?;
        Ok(())
    }
}

/// A call with enough gas for any method.
pub(crate) fn call(contract: &AccountId, method: &str, args: Value, deposit: Amount) -> Call {
    Call { contract: contract.clone(), method: method.to_owned(), args, gas: 150 * TGAS, deposit }
}
