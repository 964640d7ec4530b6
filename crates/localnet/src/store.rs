//! Blocks, outcomes and state in one database: a file in the data folder, or memory.
//!
//! A block is one database transaction, so a crash leaves whole blocks. Blocks are first written without waiting for the
//! disk; [`Store::sync`] makes all of them durable, and runs before anything is acknowledged.

use std::collections::VecDeque;
use std::path::Path;

use borsh::{BorshDeserialize, BorshSerialize};
use near_primitives::hash::CryptoHash;
use near_primitives::merkle::MerklePath;
use near_primitives::receipt::Receipt;
use near_primitives::transaction::{ExecutionOutcomeWithId, SignedTransaction};
use near_primitives::types::BlockHeight;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use crate::chain::Block;
use crate::error::{StateError, StoreError};
use crate::state::{Changes, State};

type Bytes = &'static [u8];
const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
const STATE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("state");
const BLOCKS: TableDefinition<'_, u64, Bytes> = TableDefinition::new("blocks");
const HEIGHTS: TableDefinition<'_, Bytes, u64> = TableDefinition::new("heights");
const TRANSACTIONS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("transactions");
const OUTCOMES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("outcomes");
const RECEIPTS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("receipts");
const POOL: TableDefinition<'_, u64, Bytes> = TableDefinition::new("pool");

/// The transaction pool's greatest key is the order of arrival.
pub(crate) type PoolKey = u64;

/// A transaction and the block that took it in.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredTransaction {
    pub(crate) height: BlockHeight,
    pub(crate) transaction: SignedTransaction,
}

/// What a transaction or receipt did, and where.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredOutcome {
    pub(crate) height: BlockHeight,
    pub(crate) block_hash: CryptoHash,
    pub(crate) proof: MerklePath,
    pub(crate) outcome: ExecutionOutcomeWithId,
}

/// Receipts on their way from block to block.
#[derive(Debug, Clone, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Pending {
    pub(crate) delayed: VecDeque<Receipt>,
    pub(crate) incoming: Vec<Receipt>,
}

/// Everything a block adds.
pub(crate) struct BlockBatch<'a> {
    pub(crate) block: &'a Block,
    pub(crate) changes: &'a Changes,
    pub(crate) transactions: &'a [SignedTransaction],
    pub(crate) outcomes: &'a [StoredOutcome],
    pub(crate) receipts: &'a [Receipt],
    pub(crate) pending: &'a Pending,
    pub(crate) clock_offset_ns: u64,
    /// Pool entries that this block used up.
    pub(crate) taken: &'a [PoolKey],
}

/// What a data folder held.
pub(crate) struct Loaded {
    pub(crate) chain_id: String,
    pub(crate) head: Block,
    pub(crate) state: State,
    pub(crate) pending: Pending,
    pub(crate) clock_offset_ns: u64,
    pub(crate) pool: Vec<(PoolKey, SignedTransaction)>,
}

pub(crate) struct Store {
    database: Database,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

fn pack<T: BorshSerialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    borsh::to_vec(value).map_err(|error| StateError::Encode(error).into())
}

fn unpack<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, StoreError> {
    T::try_from_slice(bytes).map_err(|error| StateError::Decode(error).into())
}

impl Store {
    /// Opens the file `chain.redb` in `folder`, made when missing; without a folder, memory.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, StoreError> {
        let opened = |error: redb::DatabaseError| StoreError::Open(Box::new(error.into()));
        let database = match folder {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(StoreError::Folder)?;
                Database::create(folder.join("chain.redb")).map_err(opened)?
            }
            None => Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).map_err(opened)?,
        };
        let store = Self { database };
        let transaction = store.begin(Durability::Immediate)?;
        {
            transaction.open_table(META).map_err(failed)?;
            transaction.open_table(STATE).map_err(failed)?;
            transaction.open_table(BLOCKS).map_err(failed)?;
            transaction.open_table(HEIGHTS).map_err(failed)?;
            transaction.open_table(TRANSACTIONS).map_err(failed)?;
            transaction.open_table(OUTCOMES).map_err(failed)?;
            transaction.open_table(RECEIPTS).map_err(failed)?;
            transaction.open_table(POOL).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(store)
    }

    fn begin(&self, durability: Durability) -> Result<WriteTransaction, StoreError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(durability).map_err(failed)?;
        Ok(transaction)
    }

    /// Writes the first block of a new chain.
    pub(crate) fn init(&self, chain_id: &str, genesis: &BlockBatch<'_>) -> Result<(), StoreError> {
        let transaction = self.begin(Durability::Immediate)?;
        {
            let mut meta = transaction.open_table(META).map_err(failed)?;
            meta.insert("chain_id", chain_id.as_bytes()).map_err(failed)?;
        }
        write_batch(&transaction, genesis)?;
        transaction.commit().map_err(failed)
    }

    /// Writes a block, to be made durable by [`Store::sync`].
    pub(crate) fn write_block(&self, batch: &BlockBatch<'_>) -> Result<(), StoreError> {
        let transaction = self.begin(Durability::None)?;
        write_batch(&transaction, batch)?;
        transaction.commit().map_err(failed)
    }

    /// Waits until every block written so far is on disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.begin(Durability::Immediate)?.commit().map_err(failed)
    }

    /// Keeps a transaction that waits for a block, durably.
    pub(crate) fn keep_waiting(&self, key: PoolKey, waiting: &SignedTransaction) -> Result<(), StoreError> {
        let transaction = self.begin(Durability::Immediate)?;
        {
            let mut pool = transaction.open_table(POOL).map_err(failed)?;
            pool.insert(key, pack(waiting)?.as_slice()).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Reads the chain of this folder; `None` when it is new.
    pub(crate) fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let meta = transaction.open_table(META).map_err(failed)?;
        let Some(chain_id) = meta.get("chain_id").map_err(failed)? else {
            return Ok(None);
        };
        let chain_id = String::from_utf8_lossy(chain_id.value()).into_owned();
        let missing = || StoreError::from(StateError::Inconsistent("the chain's head is missing"));
        let blocks = transaction.open_table(BLOCKS).map_err(failed)?;
        let head = blocks.last().map_err(failed)?.ok_or_else(missing)?;
        let head: Block = unpack(head.1.value())?;
        let pending = meta.get("pending").map_err(failed)?.ok_or_else(missing)?;
        let pending: Pending = unpack(pending.value())?;
        let offset = meta.get("clock_offset_ns").map_err(failed)?.ok_or_else(missing)?;
        let clock_offset_ns: u64 = unpack(offset.value())?;
        let mut state = State::default();
        for record in transaction.open_table(STATE).map_err(failed)?.iter().map_err(failed)? {
            let (key, value) = record.map_err(failed)?;
            state.insert(key.value().to_vec(), value.value().into());
        }
        let mut pool = Vec::new();
        for entry in transaction.open_table(POOL).map_err(failed)?.iter().map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            pool.push((key.value(), unpack(value.value())?));
        }
        Ok(Some(Loaded { chain_id, head, state, pending, clock_offset_ns, pool }))
    }

    fn read<T: BorshDeserialize>(&self, table: TableDefinition<'_, Bytes, Bytes>, id: &CryptoHash) -> Result<Option<T>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(table).map_err(failed)?;
        let found = table.get(id.as_bytes().as_slice()).map_err(failed)?;
        found.map(|bytes| unpack(bytes.value())).transpose()
    }

    pub(crate) fn transaction(&self, hash: &CryptoHash) -> Result<Option<StoredTransaction>, StoreError> {
        self.read(TRANSACTIONS, hash)
    }

    pub(crate) fn outcome(&self, id: &CryptoHash) -> Result<Option<StoredOutcome>, StoreError> {
        self.read(OUTCOMES, id)
    }

    pub(crate) fn receipt(&self, id: &CryptoHash) -> Result<Option<Receipt>, StoreError> {
        self.read(RECEIPTS, id)
    }

    pub(crate) fn block(&self, height: BlockHeight) -> Result<Option<Block>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(BLOCKS).map_err(failed)?;
        let found = table.get(height).map_err(failed)?;
        found.map(|bytes| unpack(bytes.value())).transpose()
    }

    pub(crate) fn height_of(&self, hash: &CryptoHash) -> Result<Option<BlockHeight>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(HEIGHTS).map_err(failed)?;
        Ok(table.get(hash.as_bytes().as_slice()).map_err(failed)?.map(|height| height.value()))
    }

    /// Number of transactions that were ever taken into a block.
    pub(crate) fn transaction_count(&self) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        transaction.open_table(TRANSACTIONS).map_err(failed)?.len().map_err(failed)
    }
}

fn write_batch(transaction: &WriteTransaction, batch: &BlockBatch<'_>) -> Result<(), StoreError> {
    let mut meta = transaction.open_table(META).map_err(failed)?;
    meta.insert("pending", pack(batch.pending)?.as_slice()).map_err(failed)?;
    meta.insert("clock_offset_ns", pack(&batch.clock_offset_ns)?.as_slice()).map_err(failed)?;
    let mut state = transaction.open_table(STATE).map_err(failed)?;
    for (key, value) in batch.changes {
        match value {
            Some(value) => state.insert(key.as_slice(), value.as_ref()).map_err(failed)?,
            None => state.remove(key.as_slice()).map_err(failed)?,
        };
    }
    let block = batch.block;
    let mut blocks = transaction.open_table(BLOCKS).map_err(failed)?;
    blocks.insert(block.height, pack(block)?.as_slice()).map_err(failed)?;
    let mut heights = transaction.open_table(HEIGHTS).map_err(failed)?;
    heights.insert(block.hash.as_bytes().as_slice(), block.height).map_err(failed)?;
    let mut transactions = transaction.open_table(TRANSACTIONS).map_err(failed)?;
    for signed in batch.transactions {
        let stored = StoredTransaction { height: block.height, transaction: signed.clone() };
        let hash = signed.get_hash();
        transactions.insert(hash.as_bytes().as_slice(), pack(&stored)?.as_slice()).map_err(failed)?;
    }
    let mut outcomes = transaction.open_table(OUTCOMES).map_err(failed)?;
    for outcome in batch.outcomes {
        let id = outcome.outcome.id;
        outcomes.insert(id.as_bytes().as_slice(), pack(outcome)?.as_slice()).map_err(failed)?;
    }
    let mut receipts = transaction.open_table(RECEIPTS).map_err(failed)?;
    for receipt in batch.receipts {
        let id = receipt.receipt_id();
        receipts.insert(id.as_bytes().as_slice(), pack(receipt)?.as_slice()).map_err(failed)?;
    }
    let mut pool = transaction.open_table(POOL).map_err(failed)?;
    for key in batch.taken {
        pool.remove(*key).map_err(failed)?;
    }
    Ok(())
}
