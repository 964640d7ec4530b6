//! History: walks final blocks in order and keeps the events of our contracts.

use super::Chain;
use crate::db::{Db, DbError, NewEvent};
use serde::Deserialize as _;
use starling_contract_api::{
    Deployment,
    events::{BillingEvent, Moved, Source},
    payment::PaymentMsg,
    rpc::{BlockRef, Event, RpcError},
};
use starling_http_api::network::{BalanceChange, Change, HistoryEntry, LICENCE_OF, METERED_USE_OF, SHARE_OF_ROYALTIES};
use starling_primitives::{AccountId, Amount, Asset, EscrowId, TimestampMs};
use starling_protocol::signing::Voucher;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const CURSOR: &str = "history";
/// A chain of fewer blocks is read from its first.
const YOUNG_CHAIN: u64 = 200_000;
/// Heights without a block that are passed one by one. Behind more of them the next block is looked for from the head backwards, which is far where much is still to be read.
const MISSING: u32 = 20;
/// Receipts of a transaction end some blocks after it; its outcome is asked for that often.
const OUTCOME_TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(700);

/// Reads blocks and writes history. Its loop has one owner.
pub struct Historian {
    chain: Arc<dyn Chain>,
    db: Db,
    deployment: Deployment,
    from: Option<u64>,
    /// Payer and purpose of escrows that were seen; rebuilt from events.
    escrows: BTreeMap<EscrowId, (AccountId, String)>,
    /// Whose transactions may move money in `billing` besides our contracts': tokens come in by a call of their own contract. Nothing before they were first read.
    tokens: Option<BTreeSet<String>>,
}

/// Why reading stopped; it goes on from the cursor.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The chain gave no answer.
    #[error(transparent)]
    Chain(#[from] RpcError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Historian {
    /// Starts where it stopped, or at `from`.
    pub fn new(chain: Arc<dyn Chain>, db: Db, deployment: Deployment, from: Option<u64>) -> Self {
        Self { chain, db, deployment, from, escrows: BTreeMap::new(), tokens: None }
    }

    /// Reads for ever.
    pub async fn run(mut self) {
        match self.db.payments().await {
            Ok(payments) => self.escrows.extend(payments.into_iter().map(|(escrow, payer, purpose)| (escrow, (payer, purpose)))),
            Err(error) => tracing::warn!(%error, "earlier payments cannot be read"),
        }
        loop {
            if let Err(error) = self.catch_up().await {
                tracing::debug!(%error, "history pauses");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads up to the last final block.
    pub async fn catch_up(&mut self) -> Result<(), HistoryError> {
        if self.tokens.is_none() {
            self.tokens = Some(self.chain.tokens().await?.iter().map(ToString::to_string).collect());
        }
        let head = self.chain.block(BlockRef::Final).await?.height;
        let start = self.from.unwrap_or(if head < YOUNG_CHAIN { 0 } else { head });
        let mut next = self.db.cursor(CURSOR).await?.map_or(start, |done| done + 1);
        let (mut gap, mut missing) = (next, 0);
        while next <= head {
            match self.chain.block(BlockRef::Height(next)).await {
                Ok(block) => {
                    missing = 0;
                    let mut events = Vec::new();
                    for transaction in &block.transactions {
                        if self.concerns(&transaction.receiver) {
                            self.read_transaction(&transaction.hash, &transaction.signer, TimestampMs(block.timestamp_ms), &mut events)
                                .await?;
                        }
                    }
                    if !events.is_empty() || next.saturating_sub(gap) >= 50 || next == head {
                        self.db.add_history(CURSOR, next, &events).await?;
                        gap = next;
                    }
                }
                Err(error) if is_missing(&error) && missing < MISSING => missing += 1,
                Err(error) if is_missing(&error) => {
                    next = self.first_above(next, head).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            next += 1;
        }
        Ok(())
    }

    /// The lowest block above a height, found from the head backwards: there may be many heights without one.
    async fn first_above(&self, height: u64, head: u64) -> Result<u64, HistoryError> {
        let (mut first, mut before) = (head.max(height + 1), Some(head));
        while let Some(found) = before.filter(|found| *found > height) {
            match self.chain.block(BlockRef::Height(found)).await {
                Ok(block) => (first, before) = (found, block.previous_height),
                Err(error) if is_missing(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(first)
    }

    fn concerns(&self, receiver: &str) -> bool {
        let Deployment { billing, compute, hub, market, .. } = &self.deployment;
        [billing, compute, hub, market].into_iter().any(|contract| contract.as_str() == receiver)
            || self.tokens.as_ref().is_some_and(|tokens| tokens.contains(receiver))
    }

    async fn read_transaction(&mut self, tx: &str, signer: &str, at: TimestampMs, events: &mut Vec<NewEvent>) -> Result<(), HistoryError> {
        let Ok(signer) = AccountId::new(signer) else { return Ok(()) };
        let mut outcome = None;
        for _ in 0..OUTCOME_TRIES {
            outcome = self.chain.outcome(tx, &signer).await?;
            if outcome.is_some() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let Some(outcome) = outcome else { return Ok(()) };
        let billing = self.deployment.billing.clone();
        for (place, event) in outcome.events.iter().enumerate().filter(|(_, event)| event.contract == billing.as_str()) {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            events.extend(self.read_event(event).map(|Told { escrow_id, payer, purpose, from_wallet, accounts }| NewEvent {
                entry: HistoryEntry {
                    seq: 0,
                    at,
                    event: event.event.clone(),
                    changes: Vec::new(),
                    from_wallet,
                    escrow_id,
                    payer,
                    purpose,
                    tx: tx.to_owned(),
                    signer: Some(signer.clone()),
                },
                place,
                accounts,
            }));
        }
        Ok(())
    }

    /// Whom an event of `billing` concerns, and how it changed their free balances.
    fn read_event(&mut self, event: &Event) -> Option<Told> {
        let json = serde_json::json!({"event": event.event, "data": event.data});
        let event: BillingEvent = serde_json::from_value(json).ok()?;
        if let BillingEvent::PaymentHeld { escrow_id, payer, msg, .. } = &event {
            self.escrows.insert(*escrow_id, (payer.clone(), purpose(msg)));
        }
        if let BillingEvent::TokenSet { token, .. } = &event
            && let Some(tokens) = &mut self.tokens
        {
            tokens.insert(token.to_string());
        }
        Some(tell(event, &self.escrows))
    }
}

/// What an event says.
#[derive(Debug, Default, PartialEq)]
struct Told {
    escrow_id: Option<EscrowId>,
    /// Who pays the escrow.
    payer: Option<AccountId>,
    purpose: Option<String>,
    /// What the payer brought beside the balances.
    from_wallet: Vec<BalanceChange>,
    /// Whom it concerns, and how it changed their free balances.
    accounts: Vec<(AccountId, Vec<BalanceChange>)>,
}

fn plus(asset: Asset, amount: Amount) -> Vec<BalanceChange> {
    vec![BalanceChange { asset, change: Change::Plus(amount) }]
}

fn minus(asset: Asset, amount: Amount) -> Vec<BalanceChange> {
    vec![BalanceChange { asset, change: Change::Minus(amount) }]
}

fn tell(event: BillingEvent, escrows: &BTreeMap<EscrowId, (AccountId, String)>) -> Told {
    use BillingEvent as E;
    let one = |account: AccountId, changes: Vec<BalanceChange>| Told { accounts: vec![(account, changes)], ..Told::default() };
    let of_escrow = |escrow_id: EscrowId, moved: Option<&Moved>| {
        let known = escrows.get(&escrow_id);
        let mut accounts: BTreeMap<AccountId, BTreeMap<Asset, Amount>> = BTreeMap::new();
        let mut add = |account: &AccountId, asset: &Asset, amount: Amount| {
            let sum = accounts.entry(account.clone()).or_default().entry(asset.clone()).or_default();
            *sum = sum.checked_add(amount).unwrap_or(*sum);
        };
        if let Some(moved) = moved {
            for (account, amount) in &moved.credits {
                add(account, &moved.asset, *amount);
            }
        }
        if let Some((payer, _)) = known {
            add(payer, &Asset::Near, moved.map_or(Amount::ZERO, |moved| moved.storage));
            if let Some(moved) = moved {
                add(payer, &moved.asset, moved.refund);
            }
        }
        let changes =
            |sums: BTreeMap<Asset, Amount>| sums.into_iter().filter(|(_, sum)| !sum.is_zero()).flat_map(|(asset, sum)| plus(asset, sum));
        let accounts = accounts.into_iter().map(|(account, sums)| (account, changes(sums).collect())).collect();
        let (payer, purpose) = known.cloned().unzip();
        Told { escrow_id: Some(escrow_id), payer, purpose, from_wallet: Vec::new(), accounts }
    };
    match event {
        E::Deposited { account, asset, amount } | E::TransferFailed { account, asset, amount } => one(account, plus(asset, amount)),
        E::Withdrawn { account, asset, amount } => one(account, minus(asset, amount)),
        E::AccountRegistered { account, .. }
        | E::AccountUnregistered { account, .. }
        | E::StorageDeposited { account, .. }
        | E::StorageWithdrawn { account, .. }
        | E::SessionKeyAdded { account, .. }
        | E::SessionKeyRemoved { account, .. } => one(account, Vec::new()),
        E::PaymentHeld { escrow_id, payer, asset, amount, storage, forwarded, source, msg, .. } => {
            let records = storage.checked_add(forwarded).unwrap_or(storage);
            let taken = match asset {
                Asset::Near => minus(Asset::Near, amount.checked_add(records).unwrap_or(amount)),
                // The records of sent tokens were paid for earlier, by a storage deposit.
                token if source == Source::Transferred => minus(token, amount),
                token => [minus(token, amount), minus(Asset::Near, records)].concat(),
            };
            // What was attached or sent as tokens never was on the balance.
            let (from_wallet, changes) = match source {
                Source::Attached | Source::Transferred => (taken, Vec::new()),
                Source::Balance | Source::SessionKey(_) => (Vec::new(), taken),
            };
            let purpose = Some(purpose(&msg));
            Told { escrow_id: Some(escrow_id), payer: Some(payer.clone()), purpose, from_wallet, accounts: vec![(payer, changes)] }
        }
        E::EscrowOpened { escrow_id, moved, .. }
        | E::EscrowRefused { escrow_id, moved, .. }
        | E::EscrowVoided { escrow_id, moved }
        | E::EscrowPosted { escrow_id, moved, .. }
        | E::VoucherRedeemed { voucher: Voucher { escrow_id, .. }, moved }
        | E::HoldbackDecided { escrow_id, moved, .. }
        | E::PostsVested { escrow_id, moved }
        | E::EscrowObjected { escrow_id, moved }
        | E::EscrowClosed { escrow_id, moved } => of_escrow(escrow_id, Some(&moved)),
        E::EarningsClaimed { escrow_id, moved, .. } => of_escrow(escrow_id, Some(&moved)),
        E::ForwardedReturned { escrow_id, payer, amount } => {
            let accounts = vec![(payer.clone(), plus(Asset::Near, amount))];
            Told { escrow_id: Some(escrow_id), payer: Some(payer), accounts, ..Told::default() }
        }
        E::ClosingAsked { escrow_id, .. } | E::EscrowExtended { escrow_id, .. } => of_escrow(escrow_id, None),
        E::FeesWithdrawn { owner, .. } => one(owner, Vec::new()),
        E::ShareTaken { account, asset, amount, .. } => {
            Told { purpose: Some(SHARE_OF_ROYALTIES.to_owned()), ..one(account, plus(asset, amount)) }
        }
        E::FeesReturned { .. } | E::PausedSet { .. } | E::TokenSet { .. } | E::SplitOpened { .. } => Told::default(),
    }
}

/// Heights are skipped, and old blocks are collected.
fn is_missing(error: &RpcError) -> bool {
    matches!(error, RpcError::Refused { name, .. } if name == "UNKNOWN_BLOCK" || name == "GARBAGE_COLLECTED_BLOCK")
}

/// What the payer wanted, in a few words.
fn purpose(msg: &serde_json::Value) -> String {
    match PaymentMsg::deserialize(msg) {
        Ok(PaymentMsg::Run(terms)) => format!("a run of {} rounds", terms.rounds),
        Ok(PaymentMsg::Lease(terms)) => format!("a lease of offer {}", terms.offer_id),
        Ok(PaymentMsg::Stake { node_id }) => format!("the stake of node {node_id}"),
        Ok(PaymentMsg::Bond) => "a bond".to_owned(),
        Ok(PaymentMsg::Licence { name }) => format!("{LICENCE_OF}{name}"),
        Ok(PaymentMsg::Use { name }) => format!("{METERED_USE_OF}{name}"),
        Err(_) => "a payment".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_primitives::BasisPoints;

    fn account(name: &str) -> AccountId {
        AccountId::new(name).unwrap()
    }

    /// Escrow 4 closed: 70 to bob, 2 of fee, 20 and a storage deposit of 8 back to the payer.
    fn closed(asset: Asset) -> BillingEvent {
        let credits = vec![(account("bob.starling"), Amount(70))];
        let (fee, refund, storage) = (Amount(2), Amount(20), Amount(8));
        let moved = Moved { asset, credits, fee, refund, storage, state: "closed".to_owned(), removed: true };
        BillingEvent::EscrowClosed { escrow_id: EscrowId(4), moved }
    }

    #[test]
    fn history__should_show_who_gained_by_a_post_and_a_refund() {
        let escrows = BTreeMap::from([(EscrowId(4), (account("alice.starling"), "a run of 3 rounds".to_owned()))]);
        let told = tell(closed(Asset::Near), &escrows);
        assert_eq!((told.escrow_id, told.purpose.as_deref()), (Some(EscrowId(4)), Some("a run of 3 rounds")));
        assert_eq!(told.payer, Some(account("alice.starling")));
        assert_eq!(
            told.accounts,
            vec![(account("alice.starling"), plus(Asset::Near, Amount(28))), (account("bob.starling"), plus(Asset::Near, Amount(70)))]
        );
    }

    #[test]
    fn history__should_show_money_that_left() {
        let told =
            tell(BillingEvent::Withdrawn { account: account("alice.starling"), asset: Asset::Near, amount: Amount(5) }, &BTreeMap::new());
        assert_eq!(told.accounts, vec![(account("alice.starling"), minus(Asset::Near, Amount(5)))]);
    }

    #[test]
    fn history__should_tell_tokens_from_near() {
        let asset = Asset::Nep141(account("usd.starling"));
        let escrows = BTreeMap::from([(EscrowId(4), (account("alice.starling"), "a payment".to_owned()))]);
        let accounts = tell(closed(asset.clone()), &escrows).accounts;
        let alices = [plus(Asset::Near, Amount(8)), plus(asset.clone(), Amount(20))].concat();
        assert_eq!(accounts, vec![(account("alice.starling"), alices), (account("bob.starling"), plus(asset.clone(), Amount(70)))]);
        let told = tell(BillingEvent::Deposited { account: account("alice.starling"), asset: asset.clone(), amount: Amount(5) }, &escrows);
        assert_eq!(told.accounts, vec![(account("alice.starling"), plus(asset, Amount(5)))]);
    }

    /// A payment of 50 with 3 and 4 for records.
    fn paid(asset: Asset, source: Source) -> Told {
        let [payer, target] = ["alice.starling", "compute.starling"].map(account);
        let (amount, storage, forwarded) = (Amount(50), Amount(3), Amount(4));
        let (escrow_id, fee, msg) = (EscrowId(4), BasisPoints::ZERO, serde_json::json!({}));
        tell(BillingEvent::PaymentHeld { escrow_id, payer, target, asset, amount, fee, storage, forwarded, source, msg }, &BTreeMap::new())
    }

    #[test]
    fn history__should_show_what_a_payment_took_and_from_where() {
        let alice = account("alice.starling");
        let told = paid(Asset::Near, Source::Attached);
        assert_eq!((told.from_wallet, told.accounts), (minus(Asset::Near, Amount(57)), vec![(alice.clone(), Vec::new())]));
        let told = paid(Asset::Near, Source::Balance);
        assert_eq!((told.from_wallet, told.accounts), (Vec::new(), vec![(alice.clone(), minus(Asset::Near, Amount(57)))]));
        let usd = Asset::Nep141(account("usd.starling"));
        let told = paid(usd.clone(), Source::Transferred);
        assert_eq!((told.payer, told.from_wallet), (Some(alice), minus(usd, Amount(50))));
    }

    #[tokio::test]
    async fn history__should_pass_heights_without_a_block_with_few_questions() {
        use crate::chain::fake::{Answers, FakeChain};
        use std::sync::atomic::Ordering::Relaxed;

        // Each tenth height has none, and there is a long gap.
        let skipped = (1..2_000).filter(|height| height % 10 == 0 || (500..900).contains(height)).collect();
        let chain = Arc::new(FakeChain(Answers { height: 2_000, skipped, ..Answers::default() }.into()));
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("db.sqlite")).await.unwrap();
        let [billing, compute, hub, market] = ["billing", "compute", "hub", "market"].map(|name| account(&format!("{name}.starling")));
        let deployment = Deployment { chain_id: "test".to_owned(), instance: 1, billing, compute, hub, market };
        Historian::new(chain.clone(), db.clone(), deployment, None).catch_up().await.unwrap();
        assert_eq!(db.cursor(CURSOR).await.unwrap(), Some(2_000));
        let asked = chain.0.lock().unwrap().asked.load(Relaxed);
        assert!((1_600..3_000).contains(&asked), "{asked} questions for 1,440 blocks: those behind the long gap were found from the head");
    }
}
