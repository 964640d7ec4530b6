//! One story through all four contracts, and what the chain keeps of it: every call with its answer, every event, and the bytes of one record of each table.

use crate::{compare, rare::voided};
use anyhow::{Context as _, ensure};
use near_primitives::{
    action::Action,
    receipt::VersionedReceiptEnum,
    types::AccountId as NearAccountId,
    views::{ExecutionStatusView, FinalExecutionOutcomeView},
};
use starling_contract_api::{
    Call, Deployment, ONE_YOCTO,
    billing::{ACCOUNT_BYTES, Billing, TOKEN_BALANCE_BYTES},
    hub::{LISTING_BYTES, Listings, RATING_BYTES},
    payment::{LICENCE_BYTES, PayArgs, PayResult, PaymentMsg, storage_cost},
    rpc::Signer,
    upgrade::{UPGRADE_METHOD, Upgrades},
};
use starling_primitives::{Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, RunId};
use starling_protocol::{
    escrow::{Authority, Bounds, OpenTerms},
    lease::LeaseTerms,
    listing::{Category, File, Kind, Stars, lineage_split},
    signing::{LeaseStatement, Role, Voucher},
    upgrade::UPGRADE_DELAY,
};
use starling_tests::{
    Actor, CONTRACTS, Harness, MIN_STAKE, contract_wasm, marked,
    work::{NodeOf, next_round, offer_terms, run_terms},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

/// Where the kinds of events are written down, each with the name of its standard.
const EVENTS: &[(&str, &str, &[&str])] = &[
    ("events.rs", "BillingEvent", &["starling-billing"]),
    ("events.rs", "ComputeEvent", &["starling-compute"]),
    ("events.rs", "UpgradeEvent", &["starling-billing", "starling-compute", "starling-hub", "starling-market"]),
    ("hub.rs", "ListingEvent", &["starling-hub"]),
];

pub(crate) struct Story {
    pub(crate) harness: Harness,
    pub(crate) alice: Actor,
    pub(crate) bob: Actor,
    pub(crate) nodes: Vec<NodeOf>,
    /// The payments that compute and hub accepted and billing returned.
    forgettable: (EscrowId, EscrowId),
}

impl Story {
    async fn start() -> anyhow::Result<Self> {
        let harness = Harness::start().await?;
        let (alice, bob) = (harness.registered("alice.starling", 500).await?, harness.registered("bob.starling", 500).await?);
        let nodes = vec![harness.node("one.starling").await?, harness.node("two.starling").await?];
        Ok(Self { harness, alice, bob, nodes, forgettable: (EscrowId(0), EscrowId(0)) })
    }

    pub(crate) async fn make(&self, actor: &Actor, call: &Call) -> anyhow::Result<()> {
        self.harness.call(actor, call).await?.ok().with_context(|| call.method.clone())?;
        Ok(())
    }

    async fn pay(&self, amount: Amount, msg: PaymentMsg) -> anyhow::Result<EscrowId> {
        let target = match &msg {
            PaymentMsg::Run(_) | PaymentMsg::Lease(_) | PaymentMsg::Stake { .. } | PaymentMsg::Bond => &self.harness.deployment.compute,
            _ => &self.harness.deployment.hub,
        };
        let bounds = Bounds { post_at_once: amount, ..self.harness.bounds().await? };
        let args = PayArgs { target: target.clone(), amount, storage: msg.storage(), bounds, msg };
        self.pay_args(&args).await
    }

    /// A payment that must be returned.
    async fn refused(&self, args: &PayArgs) -> anyhow::Result<EscrowId> {
        let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
        let result: PayResult = self.harness.call(&self.alice, &self.harness.billing().pay(args, deposit)).await?.json()?;
        ensure!(!result.opened, "it was opened");
        Ok(result.escrow_id)
    }

    pub(crate) async fn pay_args(&self, args: &PayArgs) -> anyhow::Result<EscrowId> {
        let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
        let result: PayResult = self.harness.call(&self.alice, &self.harness.billing().pay(args, deposit)).await?.ok()?.json()?;
        ensure!(result.opened, "{result:?}");
        Ok(result.escrow_id)
    }

    /// Accounts, session keys, tokens, vouchers, fees.
    async fn money(&self) -> anyhow::Result<()> {
        let (harness, alice, bob, billing) = (&self.harness, &self.alice, &self.bob, self.harness.billing());
        self.make(alice, &billing.deposit(Amount::from_near(50))).await?;
        self.make(alice, &billing.storage_deposit(None, false, Amount::from_millinear(500))).await?;
        let until = harness.now().await?.after(DurationMs::from_days(300));
        let key = harness.add_function_key(alice, &billing.0, &["pay_from_balance"], Amount::from_near(2)).await?;
        self.make(alice, &billing.add_session_key(&key.public_key(), Amount::from_near(9), until, std::slice::from_ref(&billing.0)))
            .await?;
        self.make(alice, &billing.add_session_key(&alice.public_key(), Amount(1), until, std::slice::from_ref(&billing.0))).await?;
        self.make(alice, &billing.remove_session_key(&alice.public_key())).await?;
        let usd = harness.listed_token("usd.starling").await?;
        for actor in [alice, bob] {
            harness.tell(&usd.mint(&actor.account, Amount(1_000))).await?;
        }
        self.make(alice, &usd.token.deposit(&billing, Amount(300))).await?;
        self.make(alice, &billing.withdraw_token(&usd.account, Some(Amount(100)))).await?;
        self.make(alice, &billing.withdraw(Some(Amount::from_near(1)))).await?;
        self.make(alice, &billing.storage_withdraw(Some(Amount(5)))).await?;
        harness.tell(&usd.forget(&alice.account)).await?;
        ensure!(!harness.call(alice, &billing.withdraw_token(&usd.account, Some(Amount(1)))).await?.json::<bool>()?, "it arrived");

        let (target, voucher_key) = (harness.scripted("target.starling").await?, Signer::from_seed(alice.account.clone(), [42; 32]));
        let terms = OpenTerms {
            authority: Authority::Voucher(voucher_key.public_key()),
            expires_at: harness.now().await?.after(DurationMs::from_days(1)),
            grace: DurationMs::from_hours(1),
            holdback: BasisPoints::ZERO,
            availability: DurationMs::from_days(1),
            max_payees: 2,
            parts: vec![],
            postings: Vec::new(),
            close: false,
            objection_window: DurationMs(0),
        };
        harness.tell(&target.set_terms(Some(&terms))).await?;
        let bounds = Bounds { voucher: Some(voucher_key.public_key()), ..harness.bounds().await? };
        let msg = PaymentMsg::Stake { node_id: NodeId(1) };
        let args = PayArgs { target: target.account.clone(), amount: Amount(1_000), storage: Amount(5), bounds, msg };
        let escrow_id = self.pay_args(&args).await?;
        let late = harness.actor("late.starling", 5).await?;
        for (seq, payee) in [(1, bob), (2, &late)] {
            let voucher = Voucher { escrow_id, seq, payee: payee.account.clone(), total: Amount(300), work_root: Hash32::sha256(b"work") };
            let signature = voucher_key.sign_bytes(&voucher.signing_bytes(&harness.deployment.billing_domain()));
            self.make(bob, &billing.redeem(&voucher, &signature)).await?;
        }
        self.make(bob, &billing.storage_deposit(Some(&late.account), true, storage_cost(ACCOUNT_BYTES))).await?;
        self.make(bob, &billing.claim(escrow_id, &late.account)).await?;
        self.make(alice, &billing.extend(escrow_id, terms.expires_at.after(DurationMs(1)))).await?;
        self.make(alice, &billing.ask_closing(escrow_id)).await?;
        // The fee of a voucher in tokens does not reach the owner, whom the token does not know.
        harness.tell(&usd.mint(&alice.account, Amount(200))).await?;
        self.make(alice, &usd.token.pay(&billing, Amount(200), &PayArgs { amount: Amount(200), ..args.clone() })).await?;
        let escrow_in_tokens = harness.view(&billing.escrows_of(&alice.account, 0, 10)).await?.pop().context("no escrow")?.id;
        self.make(bob, &billing.storage_deposit(None, false, storage_cost(TOKEN_BALANCE_BYTES))).await?;
        let voucher = Voucher {
            escrow_id: escrow_in_tokens,
            seq: 1,
            payee: bob.account.clone(),
            total: Amount(200),
            work_root: Hash32::sha256(b"work"),
        };
        let signature = voucher_key.sign_bytes(&voucher.signing_bytes(&harness.deployment.billing_domain()));
        self.make(bob, &billing.redeem(&voucher, &signature)).await?;
        let kept = harness.call(&harness.owner, &billing.withdraw_token_fees(&usd.account)).await?;
        ensure!(!kept.json::<bool>()?, "the fee left");
        harness.tell(&target.set_terms(None)).await?;
        let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
        let refused: PayResult = harness.call(alice, &billing.pay(&args, deposit)).await?.json()?;
        ensure!(!refused.opened, "the target did not refuse");
        self.make(&harness.owner, &billing.withdraw_fees()).await?;
        harness.pass(DurationMs::from_days(7)).await?;
        self.make(bob, &billing.close(escrow_id)).await?;
        self.make(&late, &billing.withdraw(None)).await?;
        self.make(&late, &billing.storage_unregister()).await
    }

    /// Offers, a run with its rounds and its result, a lease, stakes.
    async fn work(&mut self) -> anyhow::Result<()> {
        let (harness, alice, billing, compute) = (&self.harness, &self.alice, self.harness.billing(), self.harness.compute());
        let price = harness.view(&compute.storage_price()).await?;
        let (one, two) = (&self.nodes[0], &self.nodes[1]);
        for node in [one, two] {
            self.make(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?;
        }
        self.make(&two.provider, &compute.close_offer(OfferId(2))).await?;
        self.make(&one.provider, &compute.set_payout(one.id, &self.bob.account)).await?;
        let mut terms = run_terms(alice.public_key(), 3, 2);
        terms.invited = vec![one.id, two.id];
        let escrow_id = self.pay(Amount::from_near(1), PaymentMsg::Run(terms)).await?;
        for node in [one, two] {
            self.make(&node.key, &compute.enroll(RunId(1), node.id)).await?;
        }
        let signers = [(0, &one.key), (1, &two.key)];
        harness.post_round(alice, &next_round(&harness.run(RunId(1)).await?, &[1_000, 7]), &signers, alice).await?.ok()?;
        self.make(alice, &compute.settle_run(RunId(1))).await?;
        self.make(&two.key, &compute.leave_run(RunId(1), two.id)).await?;
        self.make(alice, &compute.stop_run(RunId(1))).await?;
        self.make(alice, &billing.acknowledge(escrow_id)).await?;
        // One that times out, and one that waits.
        self.pay(Amount::from_near(1), PaymentMsg::Run(run_terms(alice.public_key(), 3, 2))).await?;
        harness.pass(DurationMs::from_secs(700)).await?;
        self.make(alice, &compute.tick_run(RunId(2))).await?;
        self.pay(Amount::from_near(1), PaymentMsg::Run(run_terms(alice.public_key(), 3, 2))).await?;

        let terms = LeaseTerms {
            offer_id: OfferId(1),
            duration: DurationMs::from_hours(1),
            job: Hash32::sha256(b"job"),
            meter: alice.public_key(),
            availability: DurationMs::from_days(1),
            delegate: None,
        };
        let escrow_id = self.pay(Amount::from_near(3), PaymentMsg::Lease(terms)).await?;
        self.make(&one.key, &compute.accept_lease(LeaseId(1))).await?;
        harness.pass(DurationMs::from_secs(60)).await?;
        let output = Hash32::sha256(b"output");
        let statement = LeaseStatement { escrow_id, lease_id: LeaseId(1), seq: 1, metered_ms: 9_000, units: 7, output, is_final: false };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&harness.domain(), role));
        self.make(alice, &compute.post_statement(&statement, &sign(&one.key, Role::Node), &sign(alice, Role::Meter))).await?;
        self.make(alice, &compute.close_lease(LeaseId(1))).await?;
        harness.pass(DurationMs::from_secs(200)).await?;
        self.make(alice, &compute.settle_lease(LeaseId(1))).await?;
        self.make(alice, &billing.refuse(escrow_id)).await?;
        let stake = harness.view(&billing.escrows_of(&two.provider.account, 0, 1)).await?.remove(0);
        self.make(&two.provider, &billing.ask_closing(stake.id)).await?;
        self.make(alice, &compute.check_stake(two.id)).await?;
        self.make(&two.provider, &compute.retire_node(two.id)).await?;
        // Accepted by compute, refused by billing: forgotten later.
        let msg = PaymentMsg::Stake { node_id: two.id };
        let bounds = Bounds { expires_by: harness.now().await?.after(DurationMs::from_secs(900)), ..harness.bounds().await? };
        let run = PaymentMsg::Run(run_terms(alice.public_key(), 3, 2));
        let args = PayArgs { target: compute.0.clone(), amount: Amount::from_near(1), storage: run.storage(), bounds, msg: run };
        ensure!(self.pay(MIN_STAKE, msg).await.is_err(), "a node that is retired took a stake");
        self.forgettable.0 = self.refused(&args).await?;
        Ok(())
    }

    /// Listings, a licence, and whatever else a shelf keeps.
    async fn shelf(&mut self) -> anyhow::Result<()> {
        let (alice, bob, hub) = (&self.alice, &self.bob, Listings(self.harness.deployment.hub.clone()));
        let publish = |slug: &str, price: Amount, parents: Vec<AssetName>| -> anyhow::Result<Call> {
            let files = vec![File { name: "model.safetensors".parse()?, hash: Hash32::sha256(b"file"), bytes: 1 << 20 }];
            let args = serde_json::json!({
                "slug": slug, "kind": Kind::Model, "category": Category::TextGeneration, "title": "A small model", "summary": "Writes Rust.",
                "licence": "MIT", "price": price, "parents": parents, "royalty": 1_000, "files": files, "run_id": 1,
            });
            Ok(hub.publish(&serde_json::from_value(args)?, storage_cost(LISTING_BYTES)))
        };
        self.make(bob, &publish("base", Amount::from_near(1), Vec::new())?).await?;
        let base = AssetName::new(bob.account.clone(), "base")?;
        self.make(bob, &publish("child", Amount::from_near(1), vec![base.clone()])?).await?;
        let child = AssetName::new(bob.account.clone(), "child")?;
        let files = [File { name: "second.safetensors".parse()?, hash: Hash32::sha256(b"second"), bytes: 1 }];
        self.make(bob, &hub.add_version(&child, &files, Some(RunId(1)), "better", storage_cost(LISTING_BYTES))).await?;
        self.pay(Amount::from_near(1), PaymentMsg::Licence { name: child.clone() }).await?;
        // Accepted by hub, outside the payer's bounds: a purchase that waits to be forgotten.
        let msg = PaymentMsg::Licence { name: base.clone() };
        let args = PayArgs {
            target: hub.0.clone(),
            amount: Amount::from_near(1),
            storage: msg.storage(),
            bounds: self.harness.bounds().await?,
            msg,
        };
        let returned = self.refused(&args).await?;
        // One that costs nothing is taken, and rated.
        self.make(bob, &publish("free", Amount::ZERO, Vec::new())?).await?;
        let free = AssetName::new(bob.account.clone(), "free")?;
        self.make(alice, &hub.take_licence(&free, storage_cost(LICENCE_BYTES))).await?;
        self.make(alice, &hub.rate(&free, Stars::new(4)?, &"It compiles.".parse()?, storage_cost(RATING_BYTES))).await?;
        self.make(bob, &hub.set_price(&free, &Asset::Near, Amount(7), None, ONE_YOCTO)).await?;
        // What three ancestors share is split.
        let others = [alice, &self.nodes[0].provider, &self.nodes[1].provider];
        for other in others {
            self.make(other, &publish("part", Amount::ZERO, Vec::new())?).await?;
        }
        let parts = others.iter().map(|other| AssetName::new(other.account.clone(), "part")).collect::<Result<Vec<_>, _>>()?;
        self.make(bob, &publish("joined", Amount::from_near(1), parts)?).await?;
        let joined = AssetName::new(bob.account.clone(), "joined")?;
        let listing = self.harness.view(&hub.listing(&joined)).await?.context("it is listed")?;
        let split = lineage_split(&listing).context("three ancestors")?;
        self.make(bob, &self.harness.billing().open_split(split.shares(), Amount::from_millinear(100))).await?;
        self.pay(Amount::from_near(1), PaymentMsg::Licence { name: joined }).await?;
        self.make(bob, &self.harness.billing().take_share(&split.account(), &alice.account, &Asset::Near)).await?;
        self.make(bob, &hub.delist(&base)).await?;
        self.forgettable.1 = returned;
        Ok(())
    }

    /// What time alone allows: payments that never opened are forgotten, approved code takes its place, and all is paused.
    async fn end(&self) -> anyhow::Result<()> {
        let (harness, owner) = (&self.harness, &self.harness.owner);
        let (_, purchase) = self.forgettable;
        harness.pass(DurationMs::from_hours(2)).await?;
        self.make(owner, &harness.compute().forget_payment(self.forgettable.0)).await?;
        self.make(owner, &Listings(harness.deployment.hub.clone()).forget_payment(purchase)).await?;
        for name in CONTRACTS {
            let upgrades = Upgrades(format!("{name}.starling").parse()?);
            harness.approve_upgrade(&upgrades.0, b"never").await?;
            self.make(owner, &upgrades.cancel()).await?;
            harness.approve_upgrade(&upgrades.0, &marked(contract_wasm(name)?, "new")?).await?;
        }
        harness.pass(UPGRADE_DELAY).await?;
        for name in CONTRACTS {
            harness.upgrade(&self.bob, &format!("{name}.starling").parse()?, &marked(contract_wasm(name)?, "new")?).await?.ok()?;
        }
        self.make(owner, &harness.billing().set_paused(true)).await?;
        self.make(owner, &harness.compute().set_paused(true)).await?;
        for account in [&harness.deployment.hub, &harness.deployment.market] {
            self.make(owner, &Listings(account.clone()).set_paused(true)).await?;
        }
        Ok(())
    }

    /// A text without what each new build changes: hashes of the contracts' code.
    fn lasting(mut text: String) -> anyhow::Result<String> {
        for name in CONTRACTS {
            for (code, word) in
                [(contract_wasm(name)?, "the hash of the old code"), (marked(contract_wasm(name)?, "new")?, "the hash of the new code")]
            {
                text = text.replace(&Hash32::sha256(&code).to_string(), word);
            }
        }
        Ok(text)
    }
}

/// All that a chain did, in order.
pub(crate) fn outcomes(harness: &Harness) -> anyhow::Result<Vec<FinalExecutionOutcomeView>> {
    let (chain, mut outcomes) = (&harness.chain, Vec::new());
    for height in 0..=chain.head().height {
        for hash in chain.block(height)?.map(|block| block.transactions).unwrap_or_default() {
            outcomes.push(chain.tx_outcome(&hash)?);
        }
    }
    Ok(outcomes)
}

fn contract_of(deployment: &Deployment, account: &NearAccountId) -> Option<&'static str> {
    let Deployment { billing, compute, hub, market, .. } = deployment;
    CONTRACTS.into_iter().zip([billing, compute, hub, market]).find(|(_, known)| known.as_str() == account.as_str()).map(|(name, _)| name)
}

/// The first successful call of each method, whoever made it, with what it answered; the code of an upgrade is left out.
fn calls(story: &Story, outcomes: &[FinalExecutionOutcomeView]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for part in outcomes.iter().flat_map(|outcome| &outcome.receipts_outcome) {
        let answer = match &part.outcome.status {
            ExecutionStatusView::SuccessValue(value) => String::from_utf8_lossy(value).into_owned(),
            ExecutionStatusView::SuccessReceiptId(_) => "what the next one answers".to_owned(),
            _ => continue,
        };
        let (Some(contract), Some(receipt)) =
            (contract_of(&story.harness.deployment, &part.outcome.executor_id), story.harness.chain.receipt(&part.id)?)
        else {
            continue;
        };
        let VersionedReceiptEnum::Action(receipt) = receipt.versioned_receipt() else { continue };
        for action in receipt.actions() {
            if let Action::FunctionCall(call) = action {
                let args = if call.method_name == UPGRADE_METHOD { "the code".into() } else { String::from_utf8_lossy(&call.args) };
                let deposit = call.deposit.as_yoctonear();
                found.entry(format!("{contract}.{}", call.method_name)).or_insert(format!("({args}) with {deposit} = {answer}"));
            }
        }
    }
    Ok(found)
}

/// The first event of each kind.
fn events<'a>(outcomes: impl Iterator<Item = &'a FinalExecutionOutcomeView>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let parts = outcomes.flat_map(|outcome| &outcome.receipts_outcome);
    for line in parts.flat_map(|part| &part.outcome.logs).filter_map(|line| line.strip_prefix("EVENT_JSON:")) {
        let event: serde_json::Value = serde_json::from_str(line)?;
        let text = |field: &str| event[field].as_str().map(str::to_owned).with_context(|| format!("no {field} in {line}"));
        found.entry(format!("{}.{}", text("standard")?, text("event")?)).or_insert(line.to_owned());
    }
    Ok(found)
}

/// The names of all events that `contract-api` writes down.
fn known_events() -> anyhow::Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for (file, name, standards) in EVENTS {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "crates", "contract-api", "src", file].iter().collect();
        let source = fs::read_to_string(path)?;
        let (_, variants) = source.split_once(&format!("pub enum {name} {{")).with_context(|| format!("there is no {name}"))?;
        let variants = variants.split("\n}").next().unwrap_or_default();
        for line in variants.lines().filter(|line| line.starts_with("    ") && line.as_bytes().get(4).is_some_and(u8::is_ascii_uppercase)) {
            let variant = line.trim().split([' ', '{', '(', ',']).next().unwrap_or_default();
            let mut event = String::new();
            for character in variant.chars() {
                if character.is_ascii_uppercase() && !event.is_empty() {
                    event.push('_');
                }
                event.push(character.to_ascii_lowercase());
            }
            known.extend(standards.iter().map(|standard| format!("{standard}.{event}")));
        }
    }
    Ok(known)
}

/// The state and one record of each table of a contract: key and value in hexadecimal, the value behind its version.
fn stored(story: &Story, contract: &str) -> anyhow::Result<String> {
    let mut records = story.harness.chain.contract_state(&format!("{contract}.starling").parse()?, b"")?;
    records.sort();
    let (mut text, mut seen) = (String::new(), BTreeSet::new());
    for (key, value) in records {
        let name = match std::str::from_utf8(&key) {
            Ok(name @ ("STATE" | "UPGRADE")) => name.to_owned(),
            _ => format!("table {}", key.first().context("an empty key")?),
        };
        if seen.insert(name.clone()) {
            let version = value.first().context("an empty record")?;
            writeln!(
                text,
                "{contract} {name}, form {version}, {} + {} bytes: {} = {}",
                key.len(),
                value.len(),
                hex::encode(&key),
                hex::encode(&value[1..])
            )?;
        }
    }
    Ok(text)
}

#[tokio::test]
async fn calls_events_and_records__should_be_those_in_the_files() -> anyhow::Result<()> {
    let mut story = Story::start().await?;
    story.money().await?;
    story.work().await?;
    story.shelf().await?;
    story.promise().await?;
    let records: String = CONTRACTS.into_iter().map(|contract| stored(&story, contract)).collect::<anyhow::Result<_>>()?;
    story.end().await?;
    let outcomes = outcomes(&story.harness)?;
    let lines = |found: BTreeMap<String, String>| found.into_iter().map(|(name, text)| format!("{name} {text}\n")).collect::<String>();
    let told = events(outcomes.iter().chain(&voided().await?))?;
    let untold: String =
        known_events()?.into_iter().filter(|event| !told.contains_key(event)).map(|event| format!("{event} is not told here\n")).collect();
    let told = told.into_values().map(|line| line + "\n").collect::<String>();
    let all = [
        compare("calls.txt", &Story::lasting(lines(calls(&story, &outcomes)?))?),
        compare("events.txt", &Story::lasting(told + &untold)?),
        compare("records.txt", &records),
    ];
    all.into_iter().collect()
}
