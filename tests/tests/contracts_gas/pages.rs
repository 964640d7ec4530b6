//! Views that answer in pages, and those that answer one record: the fullest page of the largest records costs no more than any view may, and a question beyond the ends
//! gets an empty answer.

use crate::Bench;
use anyhow::{Context as _, ensure};
use starling_contract_api::{
    billing::ACCOUNT_BYTES,
    compute::{Counts, MAX_PAGE},
    hub::{LISTING_BYTES, Listings, MAX_RATINGS_PAGE, RATING_BYTES},
    payment::{LICENCE_BYTES, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, AssetName, DurationMs, Hash32, LeaseId, NodeId, OfferId, RunId, Text};
use starling_protocol::{
    lease::LeaseTerms,
    listing::{Category, File, MAX_FILES, Stars},
    node::{Capability, DeviceKind},
    run::MAX_ROSTER,
};
use starling_tests::{
    Actor, MIN_STAKE,
    work::{next_round, offer_terms, run_terms},
};

const RUN: RunId = RunId(1);
const LISTINGS: u32 = 10;
const VERSIONS: usize = 5;

/// An account name as long as names can be.
pub(crate) fn longest(letter: char, number: u16) -> anyhow::Result<AccountId> {
    Ok(AccountId::new(format!("{}{number:0>2}.starling", letter.to_string().repeat(53)))?)
}

/// A capability as long as it can be written: a quotation mark takes two characters in JSON.
fn capability() -> anyhow::Result<Capability> {
    let device = Text::new("\"".repeat(64))?;
    Ok(Capability { kind: DeviceKind::Nvidia, device, memory_bytes: u64::MAX, threads: u16::MAX, matrix_gflops: u32::MAX })
}

/// All records of a list, asked for as whoever needs all of them asks, and the longest page.
macro_rules! all {
    ($bench:expr, $ask:expr, $count:expr) => {{
        let (mut all, mut from, mut longest) = (Vec::new(), 1, 0);
        while from <= $count {
            let page = $bench.harness.view(&$ask(from, MAX_PAGE)).await?;
            from = Counts::next(from, page.last().map(|record| record.id.0));
            longest = longest.max(page.len());
            all.extend(page.into_iter().map(|record| record.id.0));
        }
        ensure!(all.iter().copied().eq(1..=$count), "asked for {}, got {all:?}", $count);
        for (from, limit) in [(0, 0), (1, 0), ($count + 1, MAX_PAGE), (u64::MAX, u32::MAX)] {
            ensure!($bench.harness.view(&$ask(from, limit)).await?.is_empty(), "from {from}, {limit} at most");
        }
        ensure!($bench.harness.view(&$ask(0, u32::MAX)).await?.len() <= MAX_PAGE as usize, "more than a page");
        longest
    }};
}

impl Bench {
    async fn pay_long(&self, payer: &Actor, amount: Amount, msg: PaymentMsg) -> anyhow::Result<()> {
        let paid: PayResult = self.harness.pay(payer, &self.harness.deployment.compute, amount, msg).await?.ok()?.json()?;
        ensure!(paid.opened, "{paid:?}");
        Ok(())
    }

    /// As many nodes as a run takes, half of them with offers and leases, and a run of all of them that has paid once.
    async fn large_records(&self, provider: &Actor, tenant: &Actor) -> anyhow::Result<()> {
        let (harness, billing, compute) = (&self.harness, self.harness.billing(), self.harness.compute());
        let price = harness.view(&compute.storage_price()).await?;
        let mut nodes = Vec::new();
        for place in 0..MAX_ROSTER {
            let payout = longest('r', place)?;
            let register = compute.register_node(&provider.public_key(), &payout, &capability()?, price);
            let id: NodeId = harness.call(provider, &register).await?.ok()?.json()?;
            self.pay_long(provider, MIN_STAKE, PaymentMsg::Stake { node_id: id }).await?;
            harness.call(provider, &billing.storage_deposit(Some(&payout), true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
            nodes.push(id);
        }
        for id in nodes.iter().take(usize::from(MAX_ROSTER / 2)) {
            let offer_id: OfferId = harness.call(provider, &compute.create_offer(*id, &offer_terms(), price)).await?.ok()?.json()?;
            let terms = LeaseTerms {
                offer_id,
                duration: DurationMs::from_hours(24),
                job: Hash32::sha256(b"job"),
                meter: tenant.public_key(),
                availability: DurationMs::from_days(30),
                delegate: None,
            };
            self.pay_long(tenant, Amount::from_near(72), PaymentMsg::Lease(terms)).await?;
        }
        let mut terms = run_terms(tenant.public_key(), 5, MAX_ROSTER);
        terms.enroll_time = DurationMs::from_hours(24);
        terms.invited = nodes.clone();
        self.pay_long(tenant, Amount::from_near(40), PaymentMsg::Run(terms)).await?;
        for id in &nodes {
            harness.call(provider, &compute.enroll(RUN, *id)).await?.ok()?;
        }
        let places: Vec<_> = (0..MAX_ROSTER).map(|place| (place, provider)).collect();
        let statement = next_round(&harness.run(RUN).await?, &vec![1_000; usize::from(MAX_ROSTER)]);
        harness.post_round(tenant, &statement, &places, tenant).await?.ok()?;
        harness.call(tenant, &compute.settle_run(RUN)).await?.ok()?;
        Ok(())
    }

    /// Listings as long as they can be, and licences of them.
    async fn large_listings(&self, publisher: &Actor, holder: &Actor, hub: &Listings) -> anyhow::Result<AssetName> {
        let files: Vec<_> = (0..MAX_FILES)
            .map(|index| serde_json::json!({"name": format!("{index:0>80}"), "hash": Hash32::sha256(b"file"), "bytes": u64::MAX}))
            .collect();
        let mut parents: Vec<AssetName> = Vec::new();
        for index in 0..4 {
            let ancestor = self.harness.actor(longest('a', index)?.as_str(), 20).await?;
            let args = serde_json::json!({
                "slug": format!("{index:0>48}"), "kind": "model", "category": "text_generation", "title": "t", "summary": "s", "licence": "MIT",
                "price": "0", "parents": [], "royalty": 1, "files": [files[0]], "run_id": null,
            });
            let publish = hub.publish(&serde_json::from_value(args)?, storage_cost(LISTING_BYTES));
            parents.push(self.harness.call(&ancestor, &publish).await?.ok()?.json()?);
        }
        let mut last = None;
        for index in 4..LISTINGS + 4 {
            let args = serde_json::json!({
                "slug": format!("{index:0>48}"), "kind": "model", "category": "text_generation", "title": "\"".repeat(80), "summary": "\"".repeat(600),
                "licence": "MIT OR Apache-2.0 OR BSD-2-Clause OR ISC", "price": "0", "parents": parents, "royalty": 1, "files": files, "run_id": u64::MAX,
            });
            let publish = hub.publish(&serde_json::from_value(args)?, storage_cost(2 * LISTING_BYTES));
            let name: AssetName = self.harness.call(publisher, &publish).await?.ok()?.json()?;
            self.harness.call(holder, &hub.take_licence(&name, storage_cost(LICENCE_BYTES))).await?.ok()?;
            last = Some(name);
        }
        let name = last.context("no listing")?;
        let files: Vec<File> = serde_json::from_value(files.into())?;
        for _ in 1..VERSIONS {
            let version = hub.add_version(&name, &files, Some(RunId(u64::MAX)), &"\"".repeat(280), storage_cost(LISTING_BYTES));
            self.harness.call(publisher, &version).await?.ok()?;
        }
        for place in 0..MAX_RATINGS_PAGE {
            let rater = self.harness.actor(longest('l', u16::try_from(place)?)?.as_str(), 20).await?;
            self.harness.call(&rater, &hub.take_licence(&name, storage_cost(LICENCE_BYTES))).await?.ok()?;
            let rate = hub.rate(&name, Stars::new(5)?, &Text::new("\"".repeat(280))?, storage_cost(RATING_BYTES));
            self.harness.call(&rater, &rate).await?.ok()?;
        }
        Ok(name)
    }

    pub(crate) async fn pages(&mut self) -> anyhow::Result<()> {
        let (provider, tenant) = (longest('p', 1)?, longest('t', 1)?);
        let (provider, tenant) =
            (self.harness.registered(provider.as_str(), 900).await?, self.harness.registered(tenant.as_str(), 5_000).await?);
        self.large_records(&provider, &tenant).await?;
        let (billing, compute) = (self.harness.billing(), self.harness.compute());
        let counts = self.harness.view(&compute.counts()).await?;
        ensure!(counts.runs == 1 && counts.leases == 32 && counts.offers == 32, "{counts:?}");
        let longest_pages = [
            all!(self, |from, limit| compute.nodes(from, limit), counts.nodes),
            all!(self, |from, limit| compute.offers(from, limit), counts.offers),
            all!(self, |from, limit| compute.runs(from, limit), counts.runs),
            all!(self, |from, limit| compute.leases(from, limit), counts.leases),
        ];
        println!("the longest pages of nodes, offers, runs and leases have {longest_pages:?} records");
        ensure!(self.harness.escrows(&tenant.account).await?.len() == 33, "33 escrows");
        // The first nodes have short names: those behind them are the largest.
        self.view("nodes, a page of the largest", &compute.nodes(9, MAX_PAGE)).await?;
        self.view("offers, a page of the largest", &compute.offers(1, MAX_PAGE)).await?;
        self.view("runs, a page of the largest", &compute.runs(1, MAX_PAGE)).await?;
        self.view("leases, a page of the largest", &compute.leases(1, MAX_PAGE)).await?;
        self.view("leases, a page without any", &compute.leases(33, MAX_PAGE)).await?;
        self.view("run, 64 nodes", &compute.run(RUN)).await?;
        self.view("lease, the largest", &compute.lease(LeaseId(2))).await?;
        self.view("escrows_of, a page", &billing.escrows_of(&tenant.account, 0, u32::MAX)).await?;
        let all = self.harness.escrows(&tenant.account).await?;
        let largest = all.last().context("no escrow")?;
        ensure!(largest.escrow.state.opened().is_some_and(|opened| opened.payees.len() == 64), "{largest:?}");
        self.view("escrow, 64 payees", &billing.escrow(largest.id)).await?;
        self.view("escrows_of, a page of the largest", &billing.escrows_of(&tenant.account, largest.id.0, u32::MAX)).await?;
        self.view("account, the longest name", &billing.account(&tenant.account)).await?;

        let hub = Listings(self.harness.deployment.hub.clone());
        let name = self.large_listings(&provider, &tenant, &hub).await?;
        self.view("listing, the largest", &hub.listing(&name)).await?;
        self.view("listings, a page of the smallest", &hub.listings(None, 0, 4)).await?;
        self.view("listings, a page of the largest", &hub.listings(None, 4, u32::MAX)).await?;
        let category = Some(Category::TextGeneration);
        self.view("listings of a category, a page of the largest", &hub.listings(category, 4, u32::MAX)).await?;
        self.view("licences_of, a page", &hub.licences_of(&tenant.account, 0, u32::MAX)).await?;
        self.view("versions, a page of the largest", &hub.versions(&name, 0, u32::MAX)).await?;
        self.view("ratings, a page of the largest", &hub.ratings(&name, 0, u32::MAX)).await?;
        ensure!(self.harness.view(&hub.ratings(&name, 0, u32::MAX)).await?.len() == MAX_RATINGS_PAGE as usize, "too few ratings");
        let (mut from, mut versions) = (0, 0);
        loop {
            let found = self.harness.view(&hub.versions(&name, from, u32::MAX)).await?.len();
            if found == 0 {
                break;
            }
            (from, versions) = (from + u32::try_from(found)?, versions + found);
        }
        ensure!(versions == VERSIONS, "asked on for {VERSIONS} versions, got {versions}");
        Ok(())
    }
}

#[tokio::test]
async fn pages__should_cost_what_a_view_may_however_large_the_records() -> anyhow::Result<()> {
    let mut bench = Bench::start().await?;
    bench.pages().await?;
    bench.compare("gas-of-pages.txt")
}
