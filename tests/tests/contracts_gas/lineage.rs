//! What divides money among as many as a lineage may name, each with a name as long as names can be.

use crate::{Bench, pages::longest};
use anyhow::{Context as _, ensure};
use starling_contract_api::{
    billing::{ACCOUNT_BYTES, split_deposit},
    hub::{LISTING_BYTES, Listings, PublishArgs},
    payment::{PayResult, PaymentMsg, storage_cost},
    rpc::Signer,
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, Hash32};
use starling_protocol::{
    escrow::{Bounds, MAX_PARTS},
    listing::{Category, File, Kind, MAX_PARENTS, lineage_split},
    signing::Voucher,
};
use starling_tests::Actor;

const PRICE: Amount = Amount::from_millinear(1_000);

impl Bench {
    /// A model that sixteen accounts share: bought before and after their split was opened, and used.
    pub(crate) async fn lineage(&mut self) -> anyhow::Result<()> {
        let hub = Listings(self.harness.deployment.hub.clone());
        let (name, people) = self.sixteen(&hub).await?;
        let (stranger, friend) = (self.payer('y').await?, self.payer('z').await?);
        self.buy("pay, a licence of 16, no split opened", &stranger, &name).await?;
        let listing = self.harness.view(&hub.listing(&name)).await?.context("it is listed")?;
        let split = lineage_split(&listing).context("it has more ancestors than a payment names")?;
        let deposit = split_deposit(split.shares().len());
        let opened = self.call(&friend, &self.harness.billing().open_split(split.shares(), deposit)).await?;
        self.row("open_split, 15 recipients", None, opened)?;
        let publisher = people.last().context("sixteen accounts")?;
        let registers = self.harness.billing().storage_deposit(None, true, storage_cost(ACCOUNT_BYTES));
        self.harness.call(publisher, &registers).await?.ok()?;
        self.buy("pay, a licence of 16", &friend, &name).await?;
        let key = Signer::from_seed(friend.account.clone(), [44; 32]);
        let bounds = Bounds { voucher: Some(key.public_key()), ..self.harness.bounds().await? };
        let opened = self.pay_as("pay, a metered use of 16", &friend, PRICE, PaymentMsg::Use { name }, bounds).await?;
        let payee = publisher.account.clone();
        let voucher = |seq, total| Voucher { escrow_id: opened.escrow_id, seq, payee: payee.clone(), total, work_root: Hash32::default() };
        for (seq, call) in [(1, "redeem, the first voucher of 16"), (2, "redeem, a later voucher of 16")] {
            let voucher = voucher(seq, Amount::from_millinear(300 * seq));
            let signature = key.sign_bytes(&voucher.signing_bytes(&self.harness.deployment.billing_domain()));
            let redeemed = self.call(&friend, &self.harness.billing().redeem(&voucher, &signature)).await?;
            ensure!(self.row(call, Some(3), redeemed)?.json::<bool>()?, "the voucher changed nothing");
        }
        let claimed = self.call(&friend, &self.harness.billing().claim(opened.escrow_id, &split.account())).await?;
        self.row("claim, a split's part", None, claimed)?;
        let ancestor = &people[0].account;
        let registers = self.harness.billing().storage_deposit(Some(ancestor), true, storage_cost(ACCOUNT_BYTES));
        self.harness.call(&friend, &registers).await?.ok()?;
        let taken = self.call(&friend, &self.harness.billing().take_share(&split.account(), ancestor, &Asset::Near)).await?;
        self.row("take_share, 15 recipients", None, taken)?;
        let grown = self.rows.iter().filter(|row| row.call.ends_with("15 recipients")).map(|row| row.grown_bytes).sum::<i64>();
        ensure!(storage_cost(u64::try_from(grown)?) <= deposit, "a split stores {grown} bytes");
        self.view("split, 15 recipients", &self.harness.billing().split(&split.account())).await
    }

    async fn payer(&self, letter: char) -> anyhow::Result<Actor> {
        self.harness.registered(longest(letter, 0)?.as_str(), 50).await
    }

    async fn buy(&mut self, call: &'static str, buyer: &Actor, name: &AssetName) -> anyhow::Result<PayResult> {
        let bounds = Bounds { post_at_once: PRICE, ..self.harness.bounds().await? };
        self.pay_as(call, buyer, PRICE, PaymentMsg::Licence { name: name.clone() }, bounds).await
    }

    /// A listing with the most shares, and who has them; the publisher, who has the rest, is the last.
    async fn sixteen(&self, hub: &Listings) -> anyhow::Result<(AssetName, Vec<Actor>)> {
        let mut people = Vec::new();
        let mut lines: Vec<AssetName> = Vec::new();
        let model = |slug: &str, price: Amount, parents: Vec<AssetName>| -> anyhow::Result<PublishArgs> {
            Ok(PublishArgs {
                slug: slug.to_owned(),
                kind: Kind::Model,
                category: Category::TextGeneration,
                title: "A small model".parse()?,
                summary: "Writes Rust.".parse()?,
                licence: "MIT".parse()?,
                asset: Asset::Near,
                price,
                price_per_use: (!price.is_zero()).then_some(Amount::from_millinear(10)),
                parents,
                royalty: BasisPoints::new(1_000)?,
                files: vec![File { name: "model.safetensors".parse()?, hash: Hash32::sha256(b"file"), bytes: 1 << 20 }],
                run_id: None,
            })
        };
        for line in 0..3 {
            let mut parents = Vec::new();
            for root in 0..4 {
                parents
                    .push(self.published(hub, longest('a', line * 4 + root)?, &model("root", Amount::ZERO, vec![])?, &mut people).await?);
            }
            lines.push(self.published(hub, longest('b', line)?, &model("line", Amount::ZERO, parents)?, &mut people).await?);
        }
        ensure!(lines.len() <= MAX_PARENTS, "a listing has at most {MAX_PARENTS} parents");
        let name = self.published(hub, longest('p', 0)?, &model("all", PRICE, lines)?, &mut people).await?;
        ensure!(people.len() == MAX_PARTS + 1, "{} accounts", people.len());
        Ok((name, people))
    }

    async fn published(&self, hub: &Listings, by: AccountId, args: &PublishArgs, people: &mut Vec<Actor>) -> anyhow::Result<AssetName> {
        let publisher = self.harness.actor(by.as_str(), 20).await?;
        let name = self.harness.call(&publisher, &hub.publish(args, storage_cost(LISTING_BYTES))).await?.ok()?.json()?;
        people.push(publisher);
        Ok(name)
    }
}
