//! What a publisher's works earned, by the publisher's history.

use starling_http_api::network::{BalanceChange, Change, HistoryEntry, LICENCE_OF, METERED_USE_OF, SHARE_OF_ROYALTIES};
use starling_primitives::{AccountId, Amount, Asset, AssetName};
use std::collections::BTreeMap;

/// Sums by what they are counted in.
pub type Sums = BTreeMap<Asset, Amount>;

/// What came in for works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Income {
    /// By licences and uses of each own work.
    pub own: BTreeMap<AssetName, Sums>,
    /// By royalties of works that others made from one's own.
    pub royalties: Sums,
}

/// Adds up what history tells `account` of sales that others paid for.
pub fn income<'a>(history: impl IntoIterator<Item = &'a HistoryEntry>, account: &AccountId) -> Income {
    let mut income = Income::default();
    for entry in history {
        let purpose = entry.purpose.as_deref().unwrap_or_default();
        let work = purpose.strip_prefix(LICENCE_OF).or_else(|| purpose.strip_prefix(METERED_USE_OF));
        let work = work.and_then(|name| name.parse::<AssetName>().ok());
        let sums = match work {
            _ if entry.payer.as_ref() == Some(account) => continue,
            Some(name) if name.publisher() == account => income.own.entry(name).or_default(),
            Some(_) => &mut income.royalties,
            None if purpose == SHARE_OF_ROYALTIES => &mut income.royalties,
            None => continue,
        };
        for BalanceChange { asset, change } in &entry.changes {
            if let Change::Plus(amount) = change {
                let sum = sums.entry(asset.clone()).or_default();
                *sum = Amount(sum.0.saturating_add(amount.0));
            }
        }
    }
    income
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use starling_primitives::TimestampMs;

    fn line(purpose: &str, payer: Option<&str>, change: Change) -> HistoryEntry {
        HistoryEntry {
            seq: 1,
            at: TimestampMs(0),
            event: "escrow_opened".to_owned(),
            changes: vec![BalanceChange { asset: Asset::Near, change }],
            from_wallet: Vec::new(),
            escrow_id: None,
            payer: payer.map(|payer| AccountId::new(payer).unwrap()),
            purpose: Some(purpose.to_owned()),
            tx: "t".to_owned(),
            signer: None,
        }
    }

    #[test]
    fn income__should_be_what_others_paid_for_own_works_and_those_made_from_them() {
        let ada = AccountId::new("ada.near").unwrap();
        let plus = |amount| Change::Plus(Amount(amount));
        let history = [
            line("a licence of ada.near/rust", Some("bob.near"), plus(5)),
            line("a licence of ada.near/rust", Some("eve.near"), plus(6)),
            line("metered use of ada.near/poems", Some("bob.near"), plus(2)),
            line("a licence of bob.near/more-rust", Some("eve.near"), plus(1)),
            line("a share of royalties", None, plus(3)),
            // What came back of one's own payment, what was paid, and work is no sale.
            line("a licence of ada.near/rust", Some("ada.near"), plus(9)),
            line("a licence of ada.near/rust", Some("bob.near"), Change::Minus(Amount(9))),
            line("a run of 3 rounds", Some("bob.near"), plus(9)),
        ];
        let Income { own, royalties } = income(&history, &ada);
        let own: Vec<_> = own.iter().map(|(name, sums)| (name.slug(), sums[&Asset::Near].0)).collect();
        assert_eq!((own, royalties[&Asset::Near]), (vec![("poems", 2), ("rust", 11)], Amount(4)));
    }
}
