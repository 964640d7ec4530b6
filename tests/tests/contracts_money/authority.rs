//! Nobody gets what is not theirs: strangers, and whoever holds every key of the coordinator.

use crate::{
    books::{free, surplus},
    money,
};
use serde_json::{Value, json};
use starling_contract_api::{
    Call, InitArgs, ONE_YOCTO,
    compute::RosterSignature,
    payment::{PayArgs, PayResult, PaymentMsg, PaymentOffered},
    upgrade::{UPGRADE_METHOD, Upgrades},
};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, RunId, Text};
use starling_protocol::{
    escrow::{Posting, Share},
    lease::LeaseTerms,
    meter::Meter,
    node::{Capability, DeviceKind},
    signing::{LeaseStatement, Role, Voucher},
};
use starling_tests::{
    Actor, Harness, contract_wasm,
    work::{NodeOf, next_round, offer_terms, run_terms},
};
use std::collections::BTreeSet;

/// Reads; everything else must be called.
const VIEWS: &[&str] = &[
    "config",
    "totals",
    "tokens",
    "account",
    "storage_balance_of",
    "storage_balance_bounds",
    "storage_price",
    "split",
    "escrow",
    "escrows_of",
    "node",
    "nodes",
    "offer",
    "offers",
    "counts",
    "offer_tenants",
    "reputation",
    "run",
    "runs",
    "lease",
    "leases",
    "bond",
    "purpose",
    "payment_answer",
    "approved_upgrade",
    "contract_source_metadata",
];

struct Scene {
    harness: Harness,
    tenant: Actor,
    node: NodeOf,
    run_escrow: EscrowId,
    lease_escrow: EscrowId,
    coordinator: Actor,
}

/// A run under way with something earned and a holdback to come, an active lease, and a coordinator with money of its own.
async fn scene() -> anyhow::Result<Scene> {
    let harness = money().await?;
    let (tenant, node) = (harness.actor("tenant.starling", 50).await?, harness.node("provider.starling").await?);
    let coordinator = harness.actor("coordinator.starling", 50).await?;
    let compute = harness.compute();
    let price = harness.view(&compute.storage_price()).await?;
    harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.ok()?;
    let run = PaymentMsg::Run(run_terms(tenant.public_key(), 5, 1));
    let run: PayResult = harness.pay(&tenant, &compute.0, Amount::from_near(1), run).await?.ok()?.json()?;
    harness.call(&node.key, &compute.enroll(RunId(1), node.id)).await?.ok()?;
    let state = harness.run(RunId(1)).await?;
    harness.post_round(&tenant, &next_round(&state, &[1_000]), &[(0, &node.key)], &tenant).await?.ok()?;
    let terms = LeaseTerms {
        offer_id: OfferId(1),
        duration: DurationMs::from_hours(1),
        job: Hash32::sha256(b"job"),
        meter: tenant.public_key(),
        availability: DurationMs(0),
        delegate: None,
    };
    let lease: PayResult = harness.pay(&tenant, &compute.0, Amount::from_near(3), PaymentMsg::Lease(terms)).await?.ok()?.json()?;
    harness.call(&node.key, &compute.accept_lease(LeaseId(1))).await?.ok()?;
    Ok(Scene { harness, tenant, node, run_escrow: run.escrow_id, lease_escrow: lease.escrow_id, coordinator })
}

impl Scene {
    fn raw(&self, contract: &AccountId, method: &str, args: Value, deposit: Amount) -> Call {
        Call { contract: contract.clone(), method: method.to_owned(), args, gas: 100 * starling_contract_api::TGAS, deposit }
    }

    /// Calls that only our contracts may make of one another, or of themselves.
    async fn internal(&self) -> anyhow::Result<Vec<Call>> {
        let (billing, compute, me) = (&self.harness.deployment.billing, &self.harness.deployment.compute, &self.coordinator.account);
        let msg = PaymentMsg::Stake { node_id: NodeId(1) };
        let offered = PaymentOffered {
            escrow_id: EscrowId(99),
            payer: me.clone(),
            asset: Asset::Near,
            amount: Amount::from_near(1),
            bounds: self.harness.bounds().await?,
            msg,
        };
        let near = Amount::from_near(1);
        let owner =
            InitArgs { owner: me.clone(), deployment: self.harness.deployment.clone(), fee: Default::default(), min_stake: Amount::ZERO };
        Ok(vec![
            self.raw(billing, "new", json!(owner), Amount::ZERO),
            self.raw(compute, "new", json!(owner), Amount::ZERO),
            self.raw(billing, "resolve_payment", json!({"escrow_id": self.run_escrow, "payer": me, "forwarded": "0"}), Amount::ZERO),
            self.raw(billing, "resolve_confirm", json!({"escrow_id": self.run_escrow}), Amount::ZERO),
            self.raw(billing, "on_sent", json!({"account": me, "asset": "near", "amount": near}), Amount::ZERO),
            self.raw(billing, "on_fees_sent", json!({"asset": "near", "amount": near}), Amount::ZERO),
            self.raw(billing, "migrate", json!({}), Amount::ZERO),
            self.raw(compute, "migrate", json!({}), Amount::ZERO),
            self.raw(compute, "on_run_posted", json!({"run_id": 1, "close": true}), Amount::ZERO),
            self.raw(compute, "on_lease_posted", json!({"lease_id": 1}), Amount::ZERO),
            self.raw(compute, "on_stake_read", json!({"node_id": 1, "escrow_id": 1}), Amount::ZERO),
            self.harness.compute().on_payment(&offered, offered.msg.storage()),
            self.harness.compute().on_opened(self.run_escrow),
            self.harness.compute().on_objected(self.lease_escrow),
            self.harness.compute().on_holdback_refused(self.lease_escrow),
            self.raw(compute, "on_lease_read", json!({"lease_id": 1}), Amount::ZERO),
            self.raw(compute, "on_bond_read", json!({"lease_id": 1}), Amount::ZERO),
        ])
    }

    /// Calls that belong to the tenant, the provider, the owner or the arbiter.
    fn of_others(&self) -> Vec<Call> {
        let (billing, compute) = (self.harness.billing(), self.harness.compute());
        let mine = Posting { payee: self.coordinator.account.clone(), total: Amount::from_millinear(500) };
        let until = starling_primitives::TimestampMs(u64::MAX / 2);
        let mut calls = vec![
            billing.set_paused(true),
            billing.withdraw_fees(),
            billing.set_token(&self.coordinator.account, true),
            compute.set_paused(true),
        ];
        for contract in [&billing.0, &compute.0] {
            let upgrades = Upgrades(contract.clone());
            calls.extend([
                upgrades.approve(Hash32::sha256(b"old"), Hash32::sha256(b"new")),
                upgrades.cancel(),
                self.raw(contract, UPGRADE_METHOD, json!({}), Amount::ZERO),
            ]);
        }
        for escrow in [self.run_escrow, self.lease_escrow] {
            calls.extend([
                billing.post(escrow, 1_000, std::slice::from_ref(&mine), true),
                billing.acknowledge(escrow),
                billing.refuse(escrow),
                billing.object(escrow, false),
                billing.object(escrow, true),
                billing.ask_closing(escrow),
                billing.extend(escrow, until),
                billing.void(escrow),
                billing.close(escrow),
                billing.vest(escrow),
                billing.claim(escrow, &self.coordinator.account),
                compute.forget_payment(escrow),
            ]);
        }
        calls.extend([
            compute.set_payout(self.node.id, &self.coordinator.account),
            compute.retire_node(self.node.id),
            compute.create_offer(self.node.id, &offer_terms(), Amount::from_near(1)),
            compute.close_offer(OfferId(1)),
            compute.set_offer_tenants(OfferId(1), std::slice::from_ref(&self.coordinator.account), Amount::from_near(1)),
            compute.enroll(RunId(1), self.node.id),
            compute.leave_run(RunId(1), self.node.id),
            compute.stop_run(RunId(1)),
            compute.accept_lease(LeaseId(1)),
            compute.ping(LeaseId(1)),
            compute.pong(LeaseId(1)),
            compute.claim_bond(LeaseId(1)),
            compute.close_lease(LeaseId(1)),
            compute.replace_meter(LeaseId(1), &Meter { key: self.coordinator.public_key(), delegate: None }),
            compute.tick_run(RunId(1)),
            compute.tick_lease(LeaseId(1)),
            compute.settle_lease(LeaseId(1)),
        ]);
        calls
    }

    /// Statements that the coordinator signs with its own key, in every role.
    async fn forged(&self) -> anyhow::Result<Vec<Call>> {
        let (compute, domain) = (self.harness.compute(), self.harness.domain());
        let round = next_round(&self.harness.run(RunId(1)).await?, &[1_000]);
        let sign = |bytes: &[u8]| self.coordinator.sign(bytes);
        let signature = RosterSignature { place: 0, signature: sign(&round.signing_bytes(&domain, Role::Node)) };
        let lease = LeaseStatement {
            escrow_id: self.lease_escrow,
            lease_id: LeaseId(1),
            seq: 1,
            metered_ms: 1,
            units: 1,
            output: Hash32::default(),
            is_final: true,
        };
        let voucher = Voucher {
            escrow_id: self.run_escrow,
            seq: 1_000,
            payee: self.coordinator.account.clone(),
            total: Amount::from_millinear(500),
            work_root: Hash32::default(),
        };
        let voucher_signature = sign(&voucher.signing_bytes(&self.harness.deployment.billing_domain()));
        Ok(vec![
            self.harness.billing().redeem(&voucher, &voucher_signature),
            compute.post_round(&round, &[signature], &sign(&round.signing_bytes(&domain, Role::Meter))),
            compute.post_statement(
                &lease,
                &sign(&lease.signing_bytes(&domain, Role::Node)),
                &sign(&lease.signing_bytes(&domain, Role::Meter)),
            ),
        ])
    }

    /// Calls that anyone may make with money of its own.
    async fn of_anyone(&self) -> anyhow::Result<Vec<Call>> {
        let (billing, compute) = (self.harness.billing(), self.harness.compute());
        let near = Amount::from_near(1);
        let msg = PaymentMsg::Run(run_terms(self.coordinator.public_key(), 1, 1));
        let args = PayArgs { target: compute.0.clone(), amount: near, storage: msg.storage(), bounds: self.harness.bounds().await?, msg };
        let capability = Capability { kind: DeviceKind::Cpu, device: Text::default(), memory_bytes: 1, threads: 1, matrix_gflops: 1 };
        let key = self.coordinator.public_key();
        let until = self.harness.now().await?.after(DurationMs::from_days(1));
        Ok(vec![
            billing.storage_deposit(None, false, near),
            billing.deposit(Amount::from_near(5)),
            // As if it were a token that moved something.
            self.raw(&billing.0, "ft_on_transfer", json!({"sender_id": self.coordinator.account, "amount": near, "msg": ""}), Amount::ZERO),
            billing.add_session_key(&key, near, until, std::slice::from_ref(&compute.0)),
            billing.remove_session_key(&key),
            billing.pay(&args, Amount::from_near(3)),
            billing.pay_from_balance(&args, false),
            billing.pay_from_balance(&args, true),
            billing.confirm(self.run_escrow),
            billing.confirm(self.lease_escrow),
            compute.register_node(&key, &self.coordinator.account, &capability, near),
            compute.check_stake(self.node.id),
            compute.check_lease(LeaseId(1)),
            // Settles for the nodes, not for the coordinator.
            compute.settle_run(RunId(1)),
            compute.stop_run(RunId(2)),
            compute.stop_run(RunId(3)),
            billing.open_split(&[share(&self.coordinator.account)?, share(&self.node.provider.account)?], near),
            billing.take_share(&self.node.provider.account, &self.coordinator.account, &Asset::Near),
            billing.withdraw(None),
            billing.storage_withdraw(None),
            billing.storage_unregister(),
        ])
    }
}

fn share(account: &AccountId) -> anyhow::Result<Share> {
    Ok(Share { account: account.clone(), part: BasisPoints::new(100)? })
}

#[tokio::test]
async fn internal_calls__should_be_refused_to_strangers() -> anyhow::Result<()> {
    let scene = scene().await?;
    for call in scene.internal().await? {
        let answer = scene.harness.call(&scene.coordinator, &call).await?;
        assert!(answer.value.is_err(), "{} was taken from a stranger", call.method);
        let words = ["private", "only billing", "already been initialized"];
        let error = answer.value.err().unwrap_or_default();
        assert!(words.iter().any(|word| error.contains(word)), "{}: {error}", call.method);
    }
    Ok(())
}

#[tokio::test]
async fn coordinator__should_get_nothing_whatever_it_calls() -> anyhow::Result<()> {
    let scene = scene().await?;
    let Scene { harness, coordinator, node, tenant, .. } = &scene;
    let (start, tenant_start) = (harness.balance(&coordinator.account).await?, free(harness, &tenant.account).await?);
    let (node_start, reserve) = (free(harness, &node.provider.account).await?, surplus(harness).await?);
    let escrows = [
        harness.view(&harness.billing().escrow(scene.run_escrow)).await?,
        harness.view(&harness.billing().escrow(scene.lease_escrow)).await?,
    ];
    let (mut called, mut burnt, mut yoctos) = (BTreeSet::new(), 0, 0);
    let refused: Vec<Call> = [scene.internal().await?, scene.of_others(), scene.forged().await?].concat();
    for call in &refused {
        let answer = harness.call(coordinator, call).await?;
        assert!(answer.value.is_err(), "{} was taken from the coordinator", call.method);
        called.insert(call.method.clone());
        burnt += answer.burnt.0;
    }
    let now = [
        harness.view(&harness.billing().escrow(scene.run_escrow)).await?,
        harness.view(&harness.billing().escrow(scene.lease_escrow)).await?,
    ];
    assert_eq!(now, escrows, "refused calls changed an escrow");
    for call in scene.of_anyone().await? {
        let answer = harness.call(coordinator, &call).await?;
        called.insert(call.method.clone());
        burnt += answer.burnt.0;
        yoctos += u128::from(answer.value.is_ok() && call.deposit == ONE_YOCTO && call.contract == harness.deployment.billing);
    }
    let exported: BTreeSet<String> = [exports("billing")?, exports("compute")?].concat().into_iter().collect();
    let missing: Vec<_> = exported.iter().filter(|method| !VIEWS.contains(&method.as_str()) && !called.contains(*method)).collect();
    assert!(missing.is_empty(), "never called: {missing:?}");

    let left = Amount::sum([harness.balance(&coordinator.account).await?, free(harness, &coordinator.account).await?])?;
    assert!(left.0 + burnt <= start.0, "the coordinator gained {}", left.0 + burnt - start.0);
    let earned = Amount::from_millinear(90);
    let net = Amount(earned.0 - earned.fraction_ceil(BasisPoints::new(starling_tests::FEE)?).0);
    assert_eq!(free(harness, &node.provider.account).await?, node_start.checked_add(net)?, "the node's pay is the node's");
    assert_eq!(free(harness, &tenant.account).await?, tenant_start);
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + yoctos));
    Ok(())
}

/// The methods that a contract exports.
fn exports(contract: &str) -> anyhow::Result<Vec<String>> {
    const EXPORT_SECTION: u8 = 7;
    const FUNCTION: u8 = 0;
    let wasm = contract_wasm(contract)?;
    let mut at = 8;
    while let Some(&section) = wasm.get(at) {
        at += 1;
        let end = number(&wasm, &mut at)? + at;
        if section != EXPORT_SECTION {
            at = end;
            continue;
        }
        let mut names = Vec::new();
        for _ in 0..number(&wasm, &mut at)? {
            let length = number(&wasm, &mut at)?;
            let name = String::from_utf8(wasm[at..at + length].to_vec())?;
            at += length;
            let kind = wasm[at];
            at += 1;
            number(&wasm, &mut at)?;
            if kind == FUNCTION {
                names.push(name);
            }
        }
        return Ok(names);
    }
    anyhow::bail!("{contract} exports nothing")
}

/// A number in LEB128.
fn number(bytes: &[u8], at: &mut usize) -> anyhow::Result<usize> {
    let (mut value, mut shift) = (0_usize, 0);
    loop {
        let byte = *bytes.get(*at).ok_or_else(|| anyhow::anyhow!("the wasm ends early"))?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        shift += 7;
    }
}
