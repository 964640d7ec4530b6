//! What each important call costs on the embedded chain, gas in all its receipts and bytes that stay stored, against its limit and against `tests/gas.txt`.
//!
//! `cargo xtask bench gas` measures and writes `tests/gas.txt`; the test refuses what passes a limit, gas that moved by more than a twentieth, and other bytes.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod lineage;
mod pages;

use anyhow::Context as _;
use starling_contract_api::{
    Call, Deployment, ONE_YOCTO, View,
    billing::Billing,
    hub::{LISTING_BYTES, Listings, PublishArgs, RATING_BYTES},
    payment::{LICENCE_BYTES, PayArgs, PayResult, PaymentMsg, storage_cost},
    rpc::Signer,
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, Hash32, LeaseId, OfferId, RunId};
use starling_protocol::{
    escrow::{Authority, Bounds, OpenTerms},
    lease::LeaseTerms,
    listing::{Category, File, Kind, Stars},
    signing::{LeaseStatement, Role, Voucher},
};
use starling_tests::{
    Actor, Answer, Harness,
    work::{NodeOf, next_round, offer_terms, run_terms},
};
use std::{env, fmt::Write as _, fs, path::PathBuf};

/// Set by `cargo xtask bench gas`: the file is written anew.
const WRITE: &str = "STARLING_BENCH_GAS";
const NODES: u16 = 8;
const MILLI_TGAS: u64 = 1_000_000_000;

/// A call, what it burnt in all its receipts, the most it may, and by how much it made the stored bytes of all contracts grow.
#[derive(Debug)]
struct Row {
    call: &'static str,
    burnt_mtgas: u64,
    limit_tgas: Option<u64>,
    grown_bytes: i64,
}

/// The chain, who acts on it, and what was measured so far.
struct Bench {
    harness: Harness,
    alice: Actor,
    nodes: Vec<NodeOf>,
    rows: Vec<Row>,
    /// Stored bytes of all contracts before the next call.
    stored_bytes: i64,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let harness = Harness::start().await?;
        let alice = harness.registered("alice.starling", 1_000).await?;
        let mut nodes = Vec::new();
        for place in 0..NODES {
            nodes.push(harness.node(&format!("node-{place}.starling")).await?);
        }
        Ok(Self { harness, alice, nodes, rows: Vec::new(), stored_bytes: 0 })
    }

    fn stored(&self) -> anyhow::Result<i64> {
        let Deployment { billing, compute, hub, market, .. } = &self.harness.deployment;
        let mut bytes = 0;
        for contract in [billing, compute, hub, market] {
            let account = self.harness.chain.account(&contract.as_str().parse()?)?.context("a contract is gone")?;
            bytes += i64::try_from(account.storage_usage())?;
        }
        Ok(bytes)
    }

    /// Makes a call whose row is taken next.
    async fn call(&mut self, actor: &Actor, call: &Call) -> anyhow::Result<Answer> {
        self.stored_bytes = self.stored()?;
        self.harness.call(actor, call).await
    }

    /// Takes a row from an answer that must be a success.
    fn row(&mut self, call: &'static str, limit_tgas: Option<u64>, answer: Answer) -> anyhow::Result<Answer> {
        let answer = answer.ok().context(call)?;
        let burnt = answer.burnt_gas.iter().map(|(_, gas)| gas).sum();
        self.push(call, burnt, limit_tgas)?;
        Ok(answer)
    }

    /// Takes a row of what one contract's receipts burnt.
    fn row_at(&mut self, call: &'static str, limit_tgas: Option<u64>, contract: &AccountId, answer: &Answer) -> anyhow::Result<()> {
        let burnt: u64 = answer.burnt_gas.iter().filter(|(account, _)| account == contract.as_str()).map(|(_, gas)| gas).sum();
        self.push(call, burnt, limit_tgas)
    }

    fn push(&mut self, call: &'static str, burnt: u64, limit_tgas: Option<u64>) -> anyhow::Result<()> {
        let grown_bytes = self.stored()? - self.stored_bytes;
        self.rows.push(Row { call, burnt_mtgas: burnt.div_ceil(MILLI_TGAS), limit_tgas, grown_bytes });
        Ok(())
    }

    /// A view asked in a transaction, which says what it burnt.
    async fn view<T: serde::de::DeserializeOwned>(&mut self, call: &'static str, view: &View<T>) -> anyhow::Result<()> {
        let answer = self.call(&self.alice.clone(), &view.as_call(100)).await?.ok().context(call)?;
        self.row_at(call, Some(3), &view.contract, &answer)
    }

    /// A payment of alice's, opened.
    async fn pay(&mut self, call: &'static str, amount: Amount, msg: PaymentMsg, bounds: Bounds) -> anyhow::Result<PayResult> {
        self.pay_as(call, &self.alice.clone(), amount, msg, bounds).await
    }

    /// A payment, opened.
    async fn pay_as(
        &mut self,
        call: &'static str,
        payer: &Actor,
        amount: Amount,
        msg: PaymentMsg,
        bounds: Bounds,
    ) -> anyhow::Result<PayResult> {
        let target = match &msg {
            PaymentMsg::Licence { .. } | PaymentMsg::Use { .. } => self.harness.deployment.hub.clone(),
            _ => self.harness.deployment.compute.clone(),
        };
        let args = PayArgs { target, amount, storage: msg.storage(), bounds, msg };
        let deposit = Amount::sum([amount, args.storage, Billing::pay_storage()])?;
        let paid = self.call(payer, &self.harness.billing().pay(&args, deposit)).await?;
        let result: PayResult = self.row(call, Some(12), paid)?.json()?;
        anyhow::ensure!(result.opened, "{call}: {result:?}");
        Ok(result)
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let (alice, compute, run_id) = (self.alice.clone(), self.harness.compute(), RunId(1));
        let terms = run_terms(self.alice.public_key(), 5, NODES);
        let bounds = self.harness.bounds().await?;
        let paid = self.pay("pay, a run of 8 nodes", Amount::from_near(4), PaymentMsg::Run(terms), bounds).await?;
        for node in self.nodes.clone() {
            let enrolled = self.call(&node.key, &compute.enroll(run_id, node.id)).await?.ok()?;
            if node.id == self.nodes[usize::from(NODES) - 1].id {
                self.row("enroll, the 8th node", None, enrolled)?;
            }
        }
        for round in 0..2 {
            self.stored_bytes = self.stored()?;
            let statement = next_round(&self.harness.run(run_id).await?, &[1_000; NODES as usize]);
            let signers: Vec<_> = (0..NODES).zip(self.nodes.iter().map(|node| &node.key)).collect();
            let posted = self.harness.post_round(&self.alice, &statement, &signers, &self.alice).await?.ok()?;
            if round == 1 {
                self.row("post_round, 8 signatures", Some(8), posted)?;
            }
        }
        let settled = self.call(&alice, &compute.settle_run(run_id)).await?.ok()?;
        self.row_at("post, 8 payees (billing's receipt of settle_run)", Some(5), &self.harness.deployment.billing.clone(), &settled)?;
        self.row("settle_run, 8 payees", None, settled)?;
        self.view("run", &compute.run(run_id)).await?;
        self.view("runs", &compute.runs(1, 20)).await?;
        self.view("escrow, 8 payees", &self.harness.billing().escrow(paid.escrow_id)).await?;
        let stopped = self.call(&alice, &compute.stop_run(run_id)).await?;
        self.row("stop_run, 8 payees", None, stopped)?;
        let accepted = self.call(&alice, &self.harness.billing().acknowledge(paid.escrow_id)).await?;
        self.row("acknowledge, 8 payees", None, accepted)?;
        Ok(())
    }

    async fn lease(&mut self) -> anyhow::Result<()> {
        let (alice, compute, lease_id, node) = (self.alice.clone(), self.harness.compute(), LeaseId(1), self.nodes[0].clone());
        let price = self.harness.view(&compute.storage_price()).await?;
        let offered = self.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?;
        let offer_id: OfferId = self.row("create_offer", None, offered)?.json()?;
        let job = Hash32::sha256(b"job");
        let (duration, availability) = (DurationMs::from_hours(1), DurationMs::from_days(1));
        let terms = LeaseTerms { offer_id, duration, job, meter: self.alice.public_key(), availability, delegate: None };
        let bounds = self.harness.bounds().await?;
        let paid = self.pay("pay, a lease", Amount::from_near(3), PaymentMsg::Lease(terms), bounds).await?;
        let accepted = self.call(&node.key, &compute.accept_lease(lease_id)).await?;
        self.row("accept_lease", None, accepted)?;
        self.harness.pass(DurationMs::from_secs(60)).await?;
        let statement = LeaseStatement {
            escrow_id: paid.escrow_id,
            lease_id,
            seq: 1,
            metered_ms: 30_000,
            units: 7,
            output: Hash32::sha256(b"output"),
            is_final: true,
        };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&self.harness.domain(), role));
        let posted = compute.post_statement(&statement, &sign(&node.key, Role::Node), &sign(&self.alice, Role::Meter));
        let posted = self.call(&alice, &posted).await?;
        self.row("post_statement", None, posted)?;
        let settled = self.call(&alice, &compute.settle_lease(lease_id)).await?;
        self.row("settle_lease", None, settled)?;
        self.view("node", &compute.node(node.id)).await?;
        self.view("nodes, 8 of them", &compute.nodes(1, 100)).await?;
        self.view("offer", &compute.offer(offer_id)).await?;
        self.view("lease", &compute.lease(lease_id)).await?;
        self.view("purpose", &compute.purpose(paid.escrow_id)).await
    }

    /// A target that answers with a voucher key: what it burns itself is a test's, not ours.
    async fn voucher(&mut self) -> anyhow::Result<()> {
        let (alice, target) = (self.alice.clone(), self.harness.scripted("target.starling").await?);
        let key = Signer::from_seed(self.alice.account.clone(), [42; 32]);
        let terms = OpenTerms {
            authority: Authority::Voucher(key.public_key()),
            expires_at: self.harness.now().await?.after(DurationMs::from_days(1)),
            grace: DurationMs::from_hours(1),
            holdback: BasisPoints::ZERO,
            availability: DurationMs::from_days(1),
            max_payees: 1,
            parts: vec![],
            postings: Vec::new(),
            close: false,
            objection_window: DurationMs(0),
        };
        self.harness.tell(&target.set_terms(Some(&terms))).await?;
        let bounds = Bounds { voucher: Some(key.public_key()), ..self.harness.bounds().await? };
        let msg = PaymentMsg::Stake { node_id: self.nodes[0].id };
        let args = PayArgs { target: target.account.clone(), amount: Amount::from_near(1), storage: Amount::ZERO, bounds, msg };
        let deposit = args.amount.checked_add(Billing::pay_storage())?;
        let paid: PayResult = self.harness.call(&self.alice, &self.harness.billing().pay(&args, deposit)).await?.ok()?.json()?;
        let payee = self.nodes[0].provider.account.clone();
        let voucher =
            Voucher { escrow_id: paid.escrow_id, seq: 1, payee, total: Amount::from_millinear(300), work_root: Hash32::default() };
        let signature = key.sign_bytes(&voucher.signing_bytes(&self.harness.deployment.billing_domain()));
        let redeemed = self.call(&alice, &self.harness.billing().redeem(&voucher, &signature)).await?;
        anyhow::ensure!(self.row("redeem, a voucher", Some(3), redeemed)?.json::<bool>()?, "the voucher changed nothing");
        Ok(())
    }

    async fn licence(&mut self) -> anyhow::Result<()> {
        let hub = Listings(self.harness.deployment.hub.clone());
        let publisher = self.nodes[0].provider.clone();
        let price = Amount::from_near(1);
        let model = |slug: &str, parents: Vec<AssetName>| -> anyhow::Result<PublishArgs> {
            Ok(PublishArgs {
                slug: slug.to_owned(),
                kind: Kind::Model,
                category: Category::TextGeneration,
                title: "A small model".parse()?,
                summary: "Writes Rust.".parse()?,
                licence: "MIT OR Apache-2.0".parse()?,
                asset: Asset::Near,
                price,
                price_per_use: Some(Amount::from_millinear(10)),
                parents,
                royalty: BasisPoints::new(1_000)?,
                files: vec![File { name: "model.safetensors".parse()?, hash: Hash32::sha256(b"file"), bytes: 1 << 20 }],
                run_id: Some(RunId(1)),
            })
        };
        let published = self.call(&publisher, &hub.publish(&model("parent", Vec::new())?, storage_cost(LISTING_BYTES))).await?;
        let parent: AssetName = self.row("publish", None, published)?.json()?;
        let child = model("child", vec![parent.clone()])?;
        let published = self.call(&publisher, &hub.publish(&child, storage_cost(LISTING_BYTES))).await?;
        let child: AssetName = self.row("publish, from a parent", None, published)?.json()?;
        let version = hub.add_version(&child, &model("child", Vec::new())?.files, None, "better", storage_cost(LISTING_BYTES));
        let added = self.call(&publisher, &version).await?;
        self.row("add_version", None, added)?;
        let bounds = Bounds { post_at_once: price, ..self.harness.bounds().await? };
        self.pay("pay, a licence", price, PaymentMsg::Licence { name: child.clone() }, bounds).await?;
        let key = Signer::from_seed(self.alice.account.clone(), [43; 32]);
        let bounds = Bounds { voucher: Some(key.public_key()), ..self.harness.bounds().await? };
        let opened = self.pay("pay, a metered use", price, PaymentMsg::Use { name: child.clone() }, bounds).await?;
        let (escrow_id, payee) = (opened.escrow_id, publisher.account.clone());
        let voucher = Voucher { escrow_id, seq: 1, payee, total: Amount::from_millinear(300), work_root: Hash32::default() };
        let signature = key.sign_bytes(&voucher.signing_bytes(&self.harness.deployment.billing_domain()));
        let redeemed = self.call(&self.alice.clone(), &self.harness.billing().redeem(&voucher, &signature)).await?;
        self.row("redeem, a voucher of a metered use", Some(3), redeemed)?;
        self.view("may_use", &hub.may_use(&self.alice.account, &child)).await?;
        let priced = self.call(&publisher, &hub.set_price(&child, &Asset::Near, ONE_YOCTO, Some(ONE_YOCTO), ONE_YOCTO)).await?;
        self.row("set_price", None, priced)?;
        let rated = hub.rate(&child, Stars::new(4)?, &"It writes Rust.".parse()?, storage_cost(RATING_BYTES));
        let rated = self.call(&self.alice.clone(), &rated).await?;
        self.row("rate", None, rated)?;
        let priced = self.call(&publisher, &hub.set_price(&parent, &Asset::Near, Amount::ZERO, None, ONE_YOCTO)).await?;
        priced.ok()?;
        let taken = self.call(&self.alice.clone(), &hub.take_licence(&parent, storage_cost(LICENCE_BYTES))).await?;
        self.row("take_licence", None, taken)?;
        self.view("listing", &hub.listing(&child)).await?;
        self.view("versions, 2 of them", &hub.versions(&child, 0, 64)).await?;
        self.view("listings, 2 of them", &hub.listings(None, 0, 50)).await?;
        self.view("licence", &hub.licence(&self.alice.account, &child)).await?;
        self.view("licences_of, 2 licences", &hub.licences_of(&self.alice.account, 0, 8)).await?;
        self.view("ratings, 1 of them", &hub.ratings(&child, 0, 10)).await
    }

    /// Every row within its limit, and where the file has it.
    fn compare(&self, file: &str) -> anyhow::Result<()> {
        let measured = table(&self.rows);
        println!("{measured}");
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), file].iter().collect();
        if env::var_os(WRITE).is_some() {
            fs::write(&path, &measured)?;
        }
        for row in &self.rows {
            let within = row.limit_tgas.is_none_or(|limit| row.burnt_mtgas <= limit * 1_000);
            assert!(within, "{row:?} passes its limit");
        }
        let kept = fs::read_to_string(&path).with_context(|| format!("there is no {file}: run cargo xtask bench gas"))?;
        let (kept, measured) = (figures(&kept)?, figures(&measured)?);
        let calls = |figures: &[(String, u64, i64)]| figures.iter().map(|(call, ..)| call.clone()).collect::<Vec<_>>();
        assert_eq!(calls(&kept), calls(&measured), "other calls are measured: run cargo xtask bench gas");
        for ((call, kept, kept_bytes), (_, now, bytes)) in kept.iter().zip(&measured) {
            assert!(now.abs_diff(*kept) * 20 <= *kept, "{call} burns {now} mTgas, {kept} by tests/{file}: run cargo xtask bench gas");
            assert_eq!(bytes, kept_bytes, "{call} stores other bytes than tests/{file} says: run cargo xtask bench gas");
        }
        Ok(())
    }

    async fn account(&mut self) -> anyhow::Result<()> {
        let (alice, billing) = (self.alice.clone(), self.harness.billing());
        let deposited = self.call(&alice, &billing.deposit(Amount::from_near(5))).await?;
        self.row("deposit", None, deposited)?;
        let withdrawn = self.call(&alice, &billing.withdraw(Some(Amount::from_near(1)))).await?;
        self.row("withdraw", None, withdrawn)?;
        self.view("account", &billing.account(&self.alice.account)).await?;
        self.view("totals", &billing.totals()).await?;
        self.view("escrows_of", &billing.escrows_of(&self.alice.account, 0, 100)).await
    }
}

/// Nothing in it that a machine or a day would change.
fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("# Burnt in all receipts, and stored more than before, on the embedded chain; written by `cargo xtask bench gas`.\n");
    text.push_str("# Tgas   limit   bytes  call\n");
    for Row { call, burnt_mtgas, limit_tgas, grown_bytes } in rows {
        let limit = limit_tgas.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let _ = writeln!(text, "{:>4}.{:03} {limit:>6} {grown_bytes:>+7}  {call}", burnt_mtgas / 1_000, burnt_mtgas % 1_000);
    }
    text
}

/// The rows of a table: call, mTgas, bytes.
fn figures(text: &str) -> anyhow::Result<Vec<(String, u64, i64)>> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.split_whitespace();
        let tgas: String = words.next().context("a row without a figure")?.chars().filter(char::is_ascii_digit).collect();
        words.next().context("a row without a limit")?;
        let bytes = words.next().context("a row without bytes")?.parse()?;
        Ok((words.collect::<Vec<_>>().join(" "), tgas.parse()?, bytes))
    })
    .collect()
}

#[tokio::test]
async fn gas_and_storage__should_stay_within_their_limits_and_where_they_were() -> anyhow::Result<()> {
    let mut bench = Bench::start().await?;
    bench.account().await?;
    bench.run().await?;
    bench.lease().await?;
    bench.voucher().await?;
    bench.licence().await?;
    bench.lineage().await?;
    bench.compare("gas.txt")
}
