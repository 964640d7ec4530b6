//! Reading the chain: accounts, keys, contract views, blocks and outcomes.

use near_crypto::PublicKey;
use near_primitives::account::{AccessKey, Account};
use near_primitives::errors::FunctionCallError;
use near_primitives::hash::CryptoHash;
use near_primitives::receipt::Receipt;
use near_primitives::transaction::ExecutionStatus;
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance, BlockHeight};
use near_primitives::views::{
    ExecutionOutcomeView, ExecutionOutcomeWithIdView, FinalExecutionOutcomeView, FinalExecutionStatus, TxExecutionStatus,
};

use crate::chain::{Block, Chain};
use crate::error::LocalnetError;
use crate::node::Localnet;
use crate::runtime::{ViewCall, ViewOutcome, view_call};
use crate::state::{access_key_prefix, contract_data_prefix, decode};
use crate::store::StoredOutcome;

/// Greatest state of a contract that is shown at once, in bytes, as on public nodes.
const STATE_VIEW_LIMIT_BYTES: u64 = 50_000;

/// Keys and values of a contract's storage, in order of the keys.
pub type ContractRecords = Vec<(Vec<u8>, Vec<u8>)>;

impl Chain {
    pub(crate) fn account(&self, account_id: &AccountId) -> Result<Option<Account>, LocalnetError> {
        let key = TrieKey::Account { account_id: account_id.clone() }.to_vec();
        Ok(decode(self.state.get(&key))?)
    }

    pub(crate) fn access_key(&self, account_id: &AccountId, public_key: &PublicKey) -> Result<Option<AccessKey>, LocalnetError> {
        let key = TrieKey::access_key(account_id.clone(), public_key).to_vec();
        Ok(decode(self.state.get(&key))?)
    }

    /// Runs a view on an account that has a contract.
    pub(crate) fn view(&self, account_id: &AccountId, account: &Account, method_name: &str, args: &[u8]) -> ViewOutcome {
        let head = &self.head;
        let context = self.context(head.height, head.timestamp_ns, head.random_value);
        view_call(&context, &self.state, &ViewCall { account_id, account, method_name, args })
    }

    pub(crate) fn code(&self, account_id: &AccountId) -> Option<Vec<u8>> {
        let key = TrieKey::ContractCode { account_id: account_id.clone() }.to_vec();
        self.state.get(&key).map(|code| code.to_vec())
    }

    /// The transaction's outcome with those of its receipts, in the order of nearcore: each before what it made.
    fn outcomes(&self, hash: &CryptoHash) -> Result<Vec<StoredOutcome>, LocalnetError> {
        let mut outcomes = Vec::new();
        let mut open = vec![*hash];
        while let Some(id) = open.pop() {
            if let Some(outcome) = self.store.outcome(&id)? {
                open.extend(outcome.outcome.outcome.receipt_ids.iter().rev());
                outcomes.push(outcome);
            }
        }
        Ok(outcomes)
    }

    pub(crate) fn transaction_status(&self, hash: &CryptoHash) -> Result<Option<TransactionStatus>, LocalnetError> {
        let Some(stored) = self.store.transaction(hash)? else {
            return Ok(None);
        };
        let outcomes = self.outcomes(hash)?;
        let status = final_status(hash, &outcomes);
        let progress = self.progress(&outcomes)?;
        let mut views = outcomes.into_iter().map(outcome_view);
        let Some(transaction_outcome) = views.next() else {
            return Ok(None);
        };
        let outcome = FinalExecutionOutcomeView {
            status,
            transaction: stored.transaction.into(),
            transaction_outcome,
            receipts_outcome: views.collect(),
        };
        Ok(Some(TransactionStatus { outcome, progress }))
    }

    /// How far a transaction has come: whether receipts, or only refunds, are still to run.
    fn progress(&self, outcomes: &[StoredOutcome]) -> Result<TxExecutionStatus, LocalnetError> {
        let done: std::collections::HashSet<CryptoHash> = outcomes.iter().map(|outcome| outcome.outcome.id).collect();
        let mut progress = TxExecutionStatus::Final;
        for outcome in outcomes {
            for id in outcome.outcome.outcome.receipt_ids.iter().filter(|id| !done.contains(id)) {
                let receipt = self.store.receipt(id)?;
                if !receipt.is_some_and(|receipt| receipt.predecessor_id().is_system()) {
                    return Ok(TxExecutionStatus::IncludedFinal);
                }
                progress = TxExecutionStatus::Executed;
            }
        }
        Ok(progress)
    }
}

/// A transaction that is in a block, and how far it has come.
#[derive(Debug, Clone)]
pub struct TransactionStatus {
    /// Its outcome and those of the receipts that have run.
    pub outcome: FinalExecutionOutcomeView,
    /// `IncludedFinal` while receipts are under way, `Executed` when only refunds are, `Final` at the end.
    pub progress: TxExecutionStatus,
}

/// The result of the first leaf: the value or the error that the transaction stands for.
fn final_status(hash: &CryptoHash, outcomes: &[StoredOutcome]) -> FinalExecutionStatus {
    let mut looked_up = *hash;
    loop {
        let Some(found) = outcomes.iter().find(|outcome| outcome.outcome.id == looked_up) else {
            let started = looked_up != *hash;
            return if started { FinalExecutionStatus::Started } else { FinalExecutionStatus::NotStarted };
        };
        match &found.outcome.outcome.status {
            ExecutionStatus::SuccessReceiptId(id) => looked_up = *id,
            ExecutionStatus::SuccessValue(value) => {
                return FinalExecutionStatus::SuccessValue(value.clone());
            }
            ExecutionStatus::Failure(error) => return FinalExecutionStatus::Failure(error.clone()),
            ExecutionStatus::Unknown => return FinalExecutionStatus::Started,
        }
    }
}

pub(crate) fn outcome_view(stored: StoredOutcome) -> ExecutionOutcomeWithIdView {
    ExecutionOutcomeWithIdView {
        proof: stored.proof,
        block_hash: stored.block_hash,
        id: stored.outcome.id,
        outcome: ExecutionOutcomeView::from(stored.outcome.outcome),
    }
}

impl Localnet {
    /// The account, or `None`.
    ///
    /// # Errors
    /// Only damaged state.
    pub fn account(&self, account_id: &AccountId) -> Result<Option<Account>, LocalnetError> {
        self.read().account(account_id)
    }

    /// What the account holds; nothing when it does not exist.
    ///
    /// # Errors
    /// Only damaged state.
    pub fn balance(&self, account_id: &AccountId) -> Result<Balance, LocalnetError> {
        Ok(self.account(account_id)?.map_or(Balance::ZERO, |account| account.amount()))
    }

    /// One of the account's access keys, or `None`.
    ///
    /// # Errors
    /// Only damaged state.
    pub fn access_key(&self, account_id: &AccountId, public_key: &PublicKey) -> Result<Option<AccessKey>, LocalnetError> {
        self.read().access_key(account_id, public_key)
    }

    /// All access keys of the account, with the bytes of their public keys in borsh.
    ///
    /// # Errors
    /// Only damaged state.
    pub fn access_keys(&self, account_id: &AccountId) -> Result<Vec<(Vec<u8>, AccessKey)>, LocalnetError> {
        let chain = self.read();
        let prefix = access_key_prefix(account_id);
        let mut keys = Vec::new();
        for (key, value) in chain.state.with_prefix(&prefix) {
            if let Some(access_key) = decode(Some(value))? {
                keys.push((key[prefix.len()..].to_vec(), access_key));
            }
        }
        Ok(keys)
    }

    /// The account's code, or `None`.
    #[must_use]
    pub fn code(&self, account_id: &AccountId) -> Option<Vec<u8>> {
        self.read().code(account_id)
    }

    /// The contract's records whose keys start with `prefix`.
    ///
    /// # Errors
    /// [`LocalnetError::UnknownAccount`]; [`LocalnetError::StateTooLarge`] over 50 kB without the code, as on public nodes.
    pub fn contract_state(&self, account_id: &AccountId, prefix: &[u8]) -> Result<ContractRecords, LocalnetError> {
        let chain = self.read();
        let account = chain.account(account_id)?.ok_or_else(|| LocalnetError::UnknownAccount(account_id.clone()))?;
        let code = chain.code(account_id).map_or(0, |code| u64::try_from(code.len()).unwrap_or(u64::MAX));
        if account.storage_usage().saturating_sub(code) > STATE_VIEW_LIMIT_BYTES {
            return Err(LocalnetError::StateTooLarge(account_id.clone()));
        }
        let own = contract_data_prefix(account_id);
        let mut full = own.clone();
        full.extend_from_slice(prefix);
        let records = chain.state.with_prefix(&full);
        Ok(records.map(|(key, value)| (key[own.len()..].to_vec(), value.to_vec())).collect())
    }

    /// Calls a view method in the context of the last block.
    ///
    /// # Errors
    /// [`LocalnetError::UnknownAccount`], [`LocalnetError::NoContract`], [`LocalnetError::ViewFailed`].
    pub fn view(&self, contract: &AccountId, method: &str, args: &[u8]) -> Result<Vec<u8>, LocalnetError> {
        let chain = self.read();
        let account = chain.account(contract)?.ok_or_else(|| LocalnetError::UnknownAccount(contract.clone()))?;
        if account.contract().is_none() {
            return Err(LocalnetError::NoContract(contract.clone()));
        }
        let outcome = chain.view(contract, &account, method, args);
        outcome.result.map_err(|error| LocalnetError::ViewFailed {
            message: match error.error {
                FunctionCallError::ExecutionError(message) => message,
                _ => error.message,
            },
            logs: outcome.logs,
        })
    }

    /// The block at `height`, or `None` when the height was skipped or is to come.
    ///
    /// # Errors
    /// A failing store.
    pub fn block(&self, height: BlockHeight) -> Result<Option<Block>, LocalnetError> {
        Ok(self.read().store.block(height)?)
    }

    /// The block with this hash.
    ///
    /// # Errors
    /// A failing store.
    pub fn block_by_hash(&self, hash: &CryptoHash) -> Result<Option<Block>, LocalnetError> {
        let chain = self.read();
        match chain.store.height_of(hash)? {
            Some(height) => Ok(chain.store.block(height)?),
            None => Ok(None),
        }
    }

    /// A receipt by its id.
    ///
    /// # Errors
    /// A failing store.
    pub fn receipt(&self, id: &CryptoHash) -> Result<Option<Receipt>, LocalnetError> {
        Ok(self.read().store.receipt(id)?)
    }

    /// A transaction's outcome and how far it has come; `None` when no block holds it.
    ///
    /// # Errors
    /// A failing store.
    pub fn tx_status(&self, hash: &CryptoHash) -> Result<Option<TransactionStatus>, LocalnetError> {
        self.read().transaction_status(hash)
    }

    /// A transaction's outcome.
    ///
    /// # Errors
    /// [`LocalnetError::UnknownTransaction`] when no block holds it.
    pub fn tx_outcome(&self, hash: &CryptoHash) -> Result<FinalExecutionOutcomeView, LocalnetError> {
        let status = self.tx_status(hash)?.ok_or(LocalnetError::UnknownTransaction(*hash))?;
        Ok(status.outcome)
    }

    /// All tokens that accounts hold, locked ones included.
    ///
    /// # Errors
    /// Only damaged state.
    pub fn sum_of_balances(&self) -> Result<Balance, LocalnetError> {
        let chain = self.read();
        let mut sum = Balance::ZERO;
        for (_, value) in chain.state.with_prefix(&[near_primitives::trie_key::col::ACCOUNT]) {
            if let Some(account) = decode::<Account>(Some(value))? {
                sum = sum.saturating_add(account.amount()).saturating_add(account.locked());
            }
        }
        Ok(sum)
    }

    /// Number of transactions in blocks.
    ///
    /// # Errors
    /// A failing store.
    pub fn transaction_count(&self) -> Result<u64, LocalnetError> {
        Ok(self.read().store.transaction_count()?)
    }
}
