//! The invariant that every test checks: what `billing` holds is what it owes, its reserve, and one yocto for each call that attached one.

use starling_contract_api::billing::Totals;
use starling_primitives::{AccountId, Amount, Asset};
use starling_tests::Harness;

/// What `billing` owes in all.
pub(crate) fn owed(totals: &Totals) -> anyhow::Result<Amount> {
    Ok(Amount::sum([totals.balances, totals.escrows, totals.fees, totals.storage])?)
}

/// What `billing` holds above what it owes: the deployment's reserve and what strangers sent.
pub(crate) async fn surplus(harness: &Harness) -> anyhow::Result<Amount> {
    let totals = harness.view(&harness.billing().totals()).await?;
    anyhow::ensure!(totals.in_flight.is_zero(), "something is in flight still: {totals:?}");
    let holdings = harness.balance(&harness.deployment.billing).await?;
    anyhow::ensure!(holdings == totals.holdings, "the view and the chain disagree");
    Ok(holdings.checked_sub(owed(&totals)?)?)
}

/// An account's free NEAR in `billing`.
pub(crate) async fn free(harness: &Harness, account: &AccountId) -> anyhow::Result<Amount> {
    free_of(harness, account, &Asset::Near).await
}

/// An account's free balance of an asset in `billing`.
pub(crate) async fn free_of(harness: &Harness, account: &AccountId, wanted: &Asset) -> anyhow::Result<Amount> {
    let account = harness.view(&harness.billing().account(account)).await?;
    let balances = account.map(|account| account.balances).unwrap_or_default();
    Ok(balances.into_iter().find(|(asset, _)| asset == wanted).map_or(Amount::ZERO, |(_, amount)| amount))
}
