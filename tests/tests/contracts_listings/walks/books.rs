//! What must balance after each step of a walk: `billing` in both assets to the unit, each escrow, and what each shop holds.

use super::Walk;
use crate::shops::{stored, surplus};
use starling_contract_api::payment::{LICENCE_BYTES, USE_BYTES, storage_cost};
use starling_primitives::Amount;

impl Walk {
    /// What a shop holds above what its storage costs and the yoctos that stayed.
    pub(super) async fn spare_of(&self, shop: usize) -> anyhow::Result<u128> {
        let account = &self.shops[shop].0;
        let spent = stored(&self.harness, account).await? + self.shop_yoctos[shop];
        self.harness.balance(account).await?.0.checked_sub(spent).ok_or_else(|| anyhow::anyhow!("{account} lacks what its storage costs"))
    }

    /// The books of `billing` in both assets to the unit; each shop holds what its storage costs, and what was forwarded with payments that wait there.
    pub(super) async fn check(&self, reserve: Amount, after: &str) -> anyhow::Result<()> {
        let now = (self.harness.token_surplus(&self.usd).await?, surplus(&self.harness).await?);
        let expected = (Amount(self.lied), Amount(reserve.0 + self.yoctos));
        anyhow::ensure!(now == expected, "{after} left {now:?}, not {expected:?}");
        for shop in 0..2 {
            let waiting = self.pending.iter().filter(|(of, _)| *of == shop).count() as u128;
            let spare = self.spare_of(shop).await?;
            let most = self.spare[shop] + waiting * storage_cost(LICENCE_BYTES.max(USE_BYTES)).0;
            anyhow::ensure!(
                (self.spare[shop]..=most).contains(&spare),
                "{after} left {} with {spare} above its storage, not {}; {waiting} payments wait",
                self.shops[shop].0,
                self.spare[shop]
            );
        }
        for view in self.escrows().await? {
            let escrow = &view.escrow;
            let sum = Amount::sum([escrow.available(), escrow.pending(), escrow.posted(), escrow.refunded])?;
            anyhow::ensure!(sum == escrow.deposited, "{after} left escrow {} unbalanced: {escrow:?}", view.id);
        }
        Ok(())
    }
}
