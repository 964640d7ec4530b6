//! `starling royalties`: what splits of lineages hold for an account, and taking it.

use crate::{output::Output, pay::words, profile::Context};
use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::json;
use starling_contract_api::{
    View,
    billing::split_deposit,
    hub::{Listings, MAX_LISTINGS_PAGE},
};
use starling_primitives::{Amount, AssetName};
use starling_protocol::{listing::lineage_split, split::Split};

/// All that a view answers page by page: `ask` makes the question for what comes behind so many.
pub(crate) async fn pages<T: DeserializeOwned>(context: &Context, ask: impl Fn(u64) -> View<Vec<T>>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    loop {
        let page = context.rpc.view(&ask(u64::try_from(all.len())?)).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Shows what is due to the account by the splits of works that were made from its own; takes it with `take`, and opens splits that nobody has opened.
pub(crate) async fn royalties(context: &Context, take: bool, out: Output) -> Result<()> {
    context.check_network().await?;
    let (billing, account) = (context.billing(), context.signer.account());
    let splits = splits_of(context).await?;
    if splits.is_empty() {
        let said = format!(
            "Nothing that is made from {account}'s works shares its royalties in a split. Royalties of one or two ancestors come to the balance by themselves."
        );
        out.say("nothing", &json!({}), &said);
    }
    for (split, names) in splits {
        let works = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let Some(view) = context.rpc.view(&billing.split(&split.account())).await? else {
            let deposit = split_deposit(split.shares().len());
            if take {
                ensure!(
                    context.rpc.call(&context.signer, &billing.open_split(split.shares(), deposit)).await?.json::<String>().is_ok(),
                    "the split was not opened"
                );
            }
            let said = format!(
                "{works}: {}",
                if take {
                    "the split is open now; what it earned before is claimed for it as escrows close."
                } else {
                    "nobody has opened the split; --take does, for its storage."
                }
            );
            out.say("split_not_open", &json!({"split": split.account(), "works": names, "storage": deposit, "opened": take}), &said);
            continue;
        };
        let place = split.shares().iter().position(|share| share.account == *account);
        for (asset, due) in &view.due {
            let due = place.and_then(|place| due.get(place)).copied().unwrap_or_default();
            if due.is_zero() {
                continue;
            }
            let mut amount = due;
            if take {
                amount =
                    context.rpc.call(&context.signer, &billing.take_share(&split.account(), account, asset)).await?.json::<Amount>()?;
            }
            let said = format!(
                "{works}: {} {}",
                words(asset, amount),
                if take { "went to your balance in billing." } else { "is due; --take takes it." }
            );
            out.say("royalty", &json!({"split": split.account(), "works": names, "asset": asset, "amount": amount, "taken": take}), &said);
        }
    }
    Ok(())
}

/// The splits that the account has a share of, with the works whose sales come to them; delisted ones too, for they have sold.
async fn splits_of(context: &Context) -> Result<Vec<(Split, Vec<AssetName>)>> {
    let (deployment, account) = (&context.profile.deployment, context.signer.account());
    let mut splits: Vec<(Split, Vec<AssetName>)> = Vec::new();
    for shop in [&deployment.hub, &deployment.market] {
        let shop = Listings(shop.clone());
        for listing in pages(context, |from| shop.listings(None, from, MAX_LISTINGS_PAGE)).await? {
            let Some(split) = lineage_split(&listing).filter(|split| split.shares().iter().any(|share| share.account == *account)) else {
                continue;
            };
            match splits.iter_mut().find(|(known, _)| *known == split) {
                Some((_, names)) => names.push(listing.name),
                None => splits.push((split, vec![listing.name])),
            }
        }
    }
    Ok(splits)
}
