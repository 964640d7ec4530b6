//! The walks' part in splits: something that three share in each shop, splits opened and taken of in any order, and all of them empty in the end.

use super::{MAX_PRICE, Step, Walk};
use crate::shops::model;
use starling_contract_api::{
    Call,
    billing::split_deposit,
    hub::{LISTING_BYTES, PublishArgs},
    payment::storage_cost,
};
use starling_primitives::{Amount, Asset};
use starling_protocol::{
    listing::{Kind, lineage_split},
    split::Split,
};

impl Walk {
    /// In each shop something that is made from three people's, so that there is a split.
    pub(super) async fn join(&mut self) -> anyhow::Result<()> {
        for shop in 0..2 {
            let kind = if shop == 0 { Kind::Model } else { Kind::Tool };
            for (place, actor) in self.people.clone().into_iter().enumerate() {
                let parents = if place < 3 {
                    Vec::new()
                } else {
                    self.names.iter().filter(|(of, _)| *of == shop).map(|(_, name)| name.clone()).collect()
                };
                let (asset, price) = if place < 3 { (Asset::Near, Amount::ZERO) } else { (self.asset(), Amount(u128::from(MAX_PRICE))) };
                let price_per_use = (!price.is_zero()).then_some(Amount(1));
                let args = PublishArgs { kind, asset, price_per_use, parents, ..model("joined", price) };
                let call = self.shops[shop].publish(&args, storage_cost(LISTING_BYTES));
                self.make(&Step { actor, call, late: false }).await?.ok()?;
            }
        }
        Ok(())
    }

    /// The splits of all listings whose ancestors are more than a payment names.
    async fn splits(&self) -> anyhow::Result<Vec<Split>> {
        let mut splits: Vec<Split> = Vec::new();
        for (shop, name) in &self.names {
            let found = self.harness.view(&self.shops[*shop].listing(name)).await?;
            splits.extend(found.as_ref().and_then(lineage_split).filter(|split| !splits.contains(split)));
        }
        Ok(splits)
    }

    /// Opens one of the splits, takes of it, or claims for it what an escrow has.
    pub(super) async fn sharing(&mut self) -> anyhow::Result<Call> {
        let (billing, splits) = (self.harness.billing(), self.splits().await?);
        let Some(split) = splits.get(self.place(splits.len().max(1))?) else {
            return Ok(billing.take_share(&self.people[0].account, &self.people[1].account, &Asset::Near));
        };
        Ok(match self.below(6) {
            0 => billing.open_split(split.shares(), split_deposit(split.shares().len())),
            1 => billing.claim(self.any_escrow().await?, &split.account()),
            _ => {
                let (asset, recipient) = (self.asset(), self.anyone()?);
                billing.take_share(&split.account(), &recipient.account, &asset)
            }
        })
    }

    /// Opens every split, with room for tokens.
    pub(super) async fn open_splits(&mut self) -> anyhow::Result<Vec<Split>> {
        let (billing, owner, splits) = (self.harness.billing(), self.harness.owner.clone(), self.splits().await?);
        for split in &splits {
            let opens = billing.open_split(split.shares(), split_deposit(split.shares().len()));
            let credit = billing.storage_deposit(Some(&split.account()), false, Amount::from_millinear(10));
            for call in [opens, credit] {
                self.make(&Step { actor: owner.clone(), call, late: false }).await?;
            }
        }
        Ok(splits)
    }

    /// Takes what is due to anyone.
    pub(super) async fn take_all(&mut self, splits: &[Split]) -> anyhow::Result<()> {
        let (billing, owner, usd) = (self.harness.billing(), self.harness.owner.clone(), self.usd.clone());
        for split in splits {
            for (share, asset) in
                split.shares().iter().flat_map(|share| [Asset::Near, Asset::Nep141(usd.account.clone())].map(|asset| (share, asset)))
            {
                let call = billing.take_share(&split.account(), &share.account, &asset);
                self.make(&Step { actor: owner.clone(), call, late: false }).await?;
            }
        }
        Ok(())
    }
}
