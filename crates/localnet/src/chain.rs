//! The chain: its head, its state, and making the next block.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use borsh::{BorshDeserialize, BorshSerialize};
use near_parameters::RuntimeConfig;
use near_primitives::hash::CryptoHash;
use near_primitives::merkle::merklize;
use near_primitives::transaction::SignedTransaction;
use near_primitives::types::{Balance, BlockHeight, Gas, ProtocolVersion};
use near_vm_runner::ContractRuntimeCache;

use crate::error::{LocalnetError, StateError, StoreError};
use crate::runtime::{BlockContext, BlockResult, Work, add, run_block};
use crate::state::{Changes, State, next_state_root};
use crate::store::{BlockBatch, Loaded, Pending, PoolKey, Store, StoredOutcome};

/// Nominal time between blocks: what a skipped block adds to the clock.
pub(crate) const BLOCK_TIME_NS: u64 = 1_000_000_000;

/// One block, final as soon as it is made.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// Height; heights may be skipped.
    pub height: BlockHeight,
    /// Hash of everything below.
    pub hash: CryptoHash,
    /// Hash of the block before; of nothing for the genesis.
    pub prev_hash: CryptoHash,
    /// Height of the block before; `None` for the genesis.
    pub prev_height: Option<BlockHeight>,
    /// Number of blocks up to this one, skipped heights not counted.
    pub ordinal: u64,
    /// Nanoseconds since 1970, more than in the block before.
    pub timestamp_ns: u64,
    /// NEAR's epoch, counted from 1.
    pub epoch_height: u64,
    /// What contracts take their randomness from.
    pub random_value: CryptoHash,
    /// Root of the state after this block.
    pub state_root: CryptoHash,
    /// Merkle root over the outcomes.
    pub outcome_root: CryptoHash,
    /// Price of gas in yoctoNEAR.
    pub gas_price: Balance,
    /// Gas burnt in this block.
    pub gas_used: Gas,
    /// Tokens burnt in this block.
    pub burnt: Balance,
    /// All tokens there are after this block.
    pub total_supply: Balance,
    /// Transactions that this block took in.
    pub transactions: Vec<CryptoHash>,
    /// Receipts that were made in this block.
    pub receipts: Vec<CryptoHash>,
}

impl Block {
    pub(crate) fn seal(mut self) -> Self {
        self.hash = CryptoHash::default();
        self.hash = CryptoHash::hash_borsh(&self);
        self
    }
}

/// Where a block's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock, plus what was fast-forwarded.
    Wall,
    /// One second more with each block: equal input gives equal blocks.
    Steps,
}

/// What does not change while a chain lives.
pub(crate) struct Settings {
    pub(crate) chain_id: Arc<str>,
    pub(crate) protocol_version: ProtocolVersion,
    pub(crate) config: Arc<RuntimeConfig>,
    pub(crate) gas_price: Balance,
    pub(crate) gas_limit: Gas,
    pub(crate) epoch_length_blocks: u64,
    pub(crate) transaction_validity_blocks: u64,
    pub(crate) seed: [u8; 32],
    pub(crate) clock: Clock,
    pub(crate) cache: Box<dyn ContractRuntimeCache>,
    /// Where the compiled contracts of a chain in memory lie, for as long as it lives.
    pub(crate) _cache_folder: Option<Arc<tempfile::TempDir>>,
}

pub(crate) struct Chain {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) state: State,
    pub(crate) head: Block,
    pending: Pending,
    clock_offset_ns: u64,
}

/// Transactions that waited in a folder for a block.
pub(crate) type Waiting = Vec<(PoolKey, SignedTransaction)>;

impl Chain {
    /// Opens the chain of `folder`, or starts it with the genesis state.
    pub(crate) fn open(
        settings: Settings,
        folder: Option<&Path>,
        genesis: impl FnOnce() -> Result<(State, Balance), LocalnetError>,
    ) -> Result<(Self, Waiting), LocalnetError> {
        let store = Store::open(folder)?;
        if let Some(loaded) = store.load()? {
            return Ok(Self::resume(settings, store, loaded)?);
        }
        let (state, total_supply) = genesis()?;
        let changes: Changes = state.iter().map(|(key, value)| (key.clone(), Some(Arc::clone(value)))).collect();
        let head = Block {
            height: 0,
            hash: CryptoHash::default(),
            prev_hash: CryptoHash::default(),
            prev_height: None,
            ordinal: 1,
            timestamp_ns: match settings.clock {
                Clock::Wall => wall_clock_ns(),
                Clock::Steps => BLOCK_TIME_NS,
            },
            epoch_height: 1,
            random_value: CryptoHash::hash_borsh((&settings.seed, &*settings.chain_id)),
            state_root: next_state_root(&CryptoHash::default(), &changes),
            outcome_root: CryptoHash::default(),
            gas_price: settings.gas_price,
            gas_used: Gas::ZERO,
            burnt: Balance::ZERO,
            total_supply,
            transactions: Vec::new(),
            receipts: Vec::new(),
        }
        .seal();
        let pending = Pending::default();
        store.init(
            &settings.chain_id,
            &BlockBatch {
                block: &head,
                changes: &changes,
                transactions: &[],
                outcomes: &[],
                receipts: &[],
                pending: &pending,
                clock_offset_ns: 0,
                taken: &[],
            },
        )?;
        Ok((Self { settings, store, state, head, pending, clock_offset_ns: 0 }, Vec::new()))
    }

    fn resume(settings: Settings, store: Store, loaded: Loaded) -> Result<(Self, Waiting), StoreError> {
        if *settings.chain_id != *loaded.chain_id {
            return Err(StoreError::OtherChain { found: loaded.chain_id, expected: settings.chain_id.to_string() });
        }
        let chain = Self {
            settings,
            store,
            state: loaded.state,
            head: loaded.head,
            pending: loaded.pending,
            clock_offset_ns: loaded.clock_offset_ns,
        };
        Ok((chain, loaded.pool))
    }

    /// Whether no receipt waits for a block.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.incoming.is_empty() && self.pending.delayed.is_empty()
    }

    /// The context of a block at `height`, or of a view when it is the head's.
    pub(crate) fn context(&self, height: BlockHeight, timestamp_ns: u64, random_value: CryptoHash) -> BlockContext {
        let settings = &self.settings;
        BlockContext {
            height,
            timestamp_ns,
            epoch_height: self.epoch_height(height),
            random_value,
            gas_price: settings.gas_price,
            gas_limit: settings.gas_limit,
            protocol_version: settings.protocol_version,
            chain_id: Arc::clone(&settings.chain_id),
            config: Arc::clone(&settings.config),
            cache: settings.cache.handle(),
        }
    }

    pub(crate) fn epoch_height(&self, height: BlockHeight) -> u64 {
        1 + height / self.settings.epoch_length_blocks.max(1)
    }

    /// Whether a transaction signed over `block_hash` may still enter the block at `height`.
    pub(crate) fn is_current(&self, block_hash: &CryptoHash, height: BlockHeight) -> Result<bool, StoreError> {
        let signed_at = self.store.height_of(block_hash)?;
        let period = self.settings.transaction_validity_blocks;
        Ok(signed_at.is_some_and(|signed_at| height.saturating_sub(signed_at) <= period))
    }

    /// Makes the next block, `skip` heights and their time further on; the caller syncs the store.
    pub(crate) fn produce(&mut self, waiting: Waiting, skip: u64) -> Result<(), LocalnetError> {
        let height = self.head.height.checked_add(1).and_then(|next| next.checked_add(skip));
        let height = height.ok_or(StateError::Overflow)?;
        self.clock_offset_ns = self.clock_offset_ns.checked_add(skip.saturating_mul(BLOCK_TIME_NS)).ok_or(StateError::Overflow)?;
        let timestamp_ns = self.next_timestamp_ns(skip);
        let random_value = CryptoHash::hash_borsh((&self.settings.seed, &self.head.hash, height));
        let context = self.context(height, timestamp_ns, random_value);
        let (taken, transactions): (Vec<PoolKey>, Vec<SignedTransaction>) = waiting.into_iter().unzip();
        let work = self.take_work(transactions, height)?;
        let result = match run_block(&context, &self.state, work) {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(height, %error, "the block could not be made");
                return Err(error.into());
            }
        };
        self.append(&context, result, &taken)
    }

    fn take_work(&self, transactions: Vec<SignedTransaction>, height: BlockHeight) -> Result<Work, StoreError> {
        let mut work = Work { delayed: self.pending.delayed.clone(), incoming: self.pending.incoming.clone(), ..Work::default() };
        for transaction in transactions {
            if self.is_current(transaction.transaction.block_hash(), height)? {
                work.transactions.push(transaction);
            }
        }
        Ok(work)
    }

    fn next_timestamp_ns(&self, skip: u64) -> u64 {
        let least = self.head.timestamp_ns.saturating_add(1);
        match self.settings.clock {
            Clock::Wall => least.max(wall_clock_ns().saturating_add(self.clock_offset_ns)),
            Clock::Steps => self.head.timestamp_ns.saturating_add(BLOCK_TIME_NS.saturating_mul(skip.saturating_add(1))),
        }
    }

    fn append(&mut self, context: &BlockContext, result: BlockResult, taken: &[PoolKey]) -> Result<(), LocalnetError> {
        let hashes: Vec<Vec<CryptoHash>> =
            result.outcomes.iter().map(near_primitives::transaction::ExecutionOutcomeWithId::to_hashes).collect();
        let (outcome_root, proofs) = merklize(&hashes);
        let supply = add(self.head.total_supply, result.minted)?;
        let block = Block {
            height: context.height,
            hash: CryptoHash::default(),
            prev_hash: self.head.hash,
            prev_height: Some(self.head.height),
            ordinal: self.head.ordinal + 1,
            timestamp_ns: context.timestamp_ns,
            epoch_height: context.epoch_height,
            random_value: context.random_value,
            state_root: next_state_root(&self.head.state_root, &result.changes),
            outcome_root,
            gas_price: context.gas_price,
            gas_used: result.gas_used,
            burnt: result.burnt,
            total_supply: supply.checked_sub(result.burnt).ok_or(StateError::Overflow)?,
            transactions: result.included.iter().map(SignedTransaction::get_hash).collect(),
            receipts: result.created.iter().map(|receipt| *receipt.receipt_id()).collect(),
        }
        .seal();
        let outcomes: Vec<StoredOutcome> = result
            .outcomes
            .into_iter()
            .zip(proofs)
            .map(|(outcome, proof)| StoredOutcome { height: block.height, block_hash: block.hash, proof, outcome })
            .collect();
        let pending = Pending { delayed: result.delayed, incoming: result.outgoing };
        self.store.write_block(&BlockBatch {
            block: &block,
            changes: &result.changes,
            transactions: &result.included,
            outcomes: &outcomes,
            receipts: &result.created,
            pending: &pending,
            clock_offset_ns: self.clock_offset_ns,
            taken,
        })?;
        self.state.apply(&result.changes);
        self.head = block;
        self.pending = pending;
        Ok(())
    }

    /// A block that only sets records; the supply follows the accounts' new amounts.
    pub(crate) fn patch(&mut self, changes: Changes, total_supply: Balance) -> Result<(), LocalnetError> {
        let height = self.head.height + 1;
        let random_value = CryptoHash::hash_borsh((&self.settings.seed, &self.head.hash, height));
        let context = self.context(height, self.next_timestamp_ns(0), random_value);
        let result = BlockResult {
            changes,
            included: Vec::new(),
            outcomes: Vec::new(),
            outgoing: self.pending.incoming.clone(),
            delayed: self.pending.delayed.clone(),
            created: Vec::new(),
            gas_used: Gas::ZERO,
            burnt: Balance::ZERO,
            minted: Balance::ZERO,
        };
        self.head.total_supply = total_supply;
        self.append(&context, result, &[])
    }
}

fn wall_clock_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
