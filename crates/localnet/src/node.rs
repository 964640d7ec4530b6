//! [`Localnet`]: the handle through which everything is asked of a chain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use near_primitives::hash::CryptoHash;
use near_primitives::state_record::StateRecord;
use near_primitives::transaction::SignedTransaction;
use near_primitives::types::BlockHeight;
use tokio::sync::watch;

use crate::builder::{BlockMode, LocalnetBuilder};
use crate::chain::{Block, Chain, Waiting};
use crate::error::LocalnetError;
use crate::runtime::{Refusal, verify};
use crate::state::StateUpdate;
use crate::store::PoolKey;

/// Transactions that may wait for a block.
const POOL_LIMIT: usize = 10_000;
/// Transactions that one block takes in.
const TRANSACTIONS_PER_BLOCK: usize = 1_000;
/// How many times the wait for others may begin again.
const GATHERING_LIMIT: u32 = 10;
/// Heights that one fast-forward may skip.
const SKIP_LIMIT: u64 = 1_000_000_000;

/// An embedded NEAR chain. Clones are handles to the same chain; it ends with the last of them.
#[derive(Clone)]
pub struct Localnet {
    inner: Arc<Inner>,
}

struct Inner {
    chain: RwLock<Chain>,
    pool: Mutex<Waiting>,
    next_pool_key: AtomicU64,
    mode: BlockMode,
    /// Wakes the thread that makes blocks of what was gathered.
    arrived: SyncSender<()>,
    head: watch::Sender<BlockHeight>,
}

impl std::fmt::Debug for Localnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Localnet").field("mode", &self.inner.mode).finish_non_exhaustive()
    }
}

impl Localnet {
    /// A new chain's settings, with their defaults.
    #[must_use]
    pub fn builder() -> LocalnetBuilder {
        LocalnetBuilder::default()
    }

    pub(crate) fn start(chain: Chain, waiting: Waiting, mode: BlockMode) -> Result<Self, LocalnetError> {
        let next_key = waiting.last().map_or(0, |(key, _)| key + 1);
        let (head, _) = watch::channel(chain.head.height);
        let (arrived, arrivals) = sync_channel(1);
        let localnet = Self {
            inner: Arc::new(Inner {
                chain: RwLock::new(chain),
                pool: Mutex::new(waiting),
                next_pool_key: AtomicU64::new(next_key),
                mode,
                arrived,
                head,
            }),
        };
        match mode {
            // What a stopped process left unfinished.
            BlockMode::OnDemand => localnet.run_until_idle()?,
            BlockMode::Gathered { wait, idle } => {
                localnet.run_until_idle()?;
                keep_gathering(Arc::downgrade(&localnet.inner), arrivals, wait, idle);
            }
            BlockMode::Interval(interval) => keep_producing(Arc::downgrade(&localnet.inner), interval),
            BlockMode::Manual => {}
        }
        Ok(localnet)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Chain> {
        self.inner.chain.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Chain> {
        self.inner.chain.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, Waiting> {
        self.inner.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the height of the last block.
    #[must_use]
    pub fn watch_head(&self) -> watch::Receiver<BlockHeight> {
        self.inner.head.subscribe()
    }

    /// The last block, which is final.
    #[must_use]
    pub fn head(&self) -> Block {
        self.read().head.clone()
    }

    /// The chain's name.
    #[must_use]
    pub fn chain_id(&self) -> String {
        self.read().settings.chain_id.to_string()
    }

    /// When this chain makes blocks.
    #[must_use]
    pub fn block_mode(&self) -> BlockMode {
        self.inner.mode
    }

    /// Hands in a transaction and gives its hash. With [`BlockMode::OnDemand`] all its receipts have run when this returns; otherwise it
    /// waits for a block, durably. A transaction that is known already changes nothing.
    ///
    /// # Errors
    /// [`LocalnetError::InvalidTransaction`] when it could not enter the next block, or was overtaken by one that made it invalid;
    /// [`LocalnetError::PoolFull`].
    pub fn send_tx(&self, transaction: SignedTransaction) -> Result<CryptoHash, LocalnetError> {
        let hash = transaction.get_hash();
        if self.knows(&hash)? {
            return Ok(hash);
        }
        self.check(&transaction)?;
        if self.inner.mode != BlockMode::OnDemand {
            self.enqueue(transaction)?;
            return Ok(hash);
        }
        self.enqueue(transaction.clone())?;
        self.run_until_idle()?;
        if !self.knows(&hash)? {
            self.check(&transaction)?;
        }
        Ok(hash)
    }

    /// Whether a transaction is in a block or waits for one.
    pub(crate) fn knows(&self, hash: &CryptoHash) -> Result<bool, LocalnetError> {
        if self.pool().iter().any(|(_, waiting)| waiting.get_hash() == *hash) {
            return Ok(true);
        }
        Ok(self.read().store.transaction(hash)?.is_some())
    }

    /// Checks that a transaction could enter the next block.
    ///
    /// # Errors
    /// [`LocalnetError::InvalidTransaction`].
    pub fn check(&self, transaction: &SignedTransaction) -> Result<(), LocalnetError> {
        let chain = self.read();
        let settings = &chain.settings;
        verify::check_well_formed(&settings.config, settings.protocol_version, transaction)?;
        let height = chain.head.height + 1;
        if !chain.is_current(transaction.transaction.block_hash(), height)? {
            return Err(near_primitives::errors::InvalidTxError::Expired.into());
        }
        let mut update = StateUpdate::new(&chain.state);
        let charged = verify::verify_and_charge(&settings.config, &mut update, &transaction.transaction, height, settings.gas_price);
        match charged {
            Ok(_) => Ok(()),
            Err(Refusal::Invalid(error)) => Err(error.into()),
            Err(Refusal::State(error)) => Err(error.into()),
        }
    }

    /// The chain is always locked before the pool: a block in the making holds both.
    fn enqueue(&self, transaction: SignedTransaction) -> Result<(), LocalnetError> {
        let chain = (self.inner.mode != BlockMode::OnDemand).then(|| self.read());
        let mut pool = self.pool();
        if pool.len() >= POOL_LIMIT {
            return Err(LocalnetError::PoolFull(pool.len()));
        }
        let key: PoolKey = self.inner.next_pool_key.fetch_add(1, Ordering::Relaxed);
        if let Some(chain) = chain {
            chain.store.keep_waiting(key, &transaction)?;
        }
        pool.push((key, transaction));
        // A full channel has its signal already; a closed one has nobody who waits.
        let _ = self.inner.arrived.try_send(());
        Ok(())
    }

    /// The next block's transactions: in order of arrival, those of one key in order of their nonces.
    fn take_batch(&self) -> Waiting {
        let mut pool = self.pool();
        let count = pool.len().min(TRANSACTIONS_PER_BLOCK);
        let mut batch: Waiting = pool.drain(..count).collect();
        let signer = |entry: &(PoolKey, SignedTransaction)| {
            let body = &entry.1.transaction;
            (body.signer_id().clone(), body.public_key().clone())
        };
        // Each key's places stay its own; within them the nonces rise.
        let mut places = std::collections::HashMap::<_, Vec<usize>>::new();
        for (place, entry) in batch.iter().enumerate() {
            places.entry(signer(entry)).or_default().push(place);
        }
        for places in places.into_values().filter(|places| places.len() > 1) {
            let mut own: Waiting = places.iter().map(|place| batch[*place].clone()).collect();
            own.sort_by_key(|(_, transaction)| transaction.transaction.nonce().nonce());
            for (place, entry) in places.into_iter().zip(own) {
                batch[place] = entry;
            }
        }
        batch
    }

    fn run_until_idle(&self) -> Result<(), LocalnetError> {
        let mut chain = self.write();
        let mut produced = false;
        loop {
            let batch = self.take_batch();
            if batch.is_empty() && chain.is_idle() {
                break;
            }
            chain.produce(batch, 0)?;
            produced = true;
        }
        if produced {
            self.publish(&chain)?;
        }
        Ok(())
    }

    /// Makes what was written durable, then tells those who wait.
    fn publish(&self, chain: &Chain) -> Result<(), LocalnetError> {
        chain.store.sync()?;
        self.inner.head.send_replace(chain.head.height);
        Ok(())
    }

    /// Makes one block of what waits: transactions and the receipts of the block before.
    ///
    /// # Errors
    /// A failing store; the block did not happen then.
    pub fn produce_block(&self) -> Result<Block, LocalnetError> {
        let mut chain = self.write();
        let batch = self.take_batch();
        chain.produce(batch, 0)?;
        self.publish(&chain)?;
        Ok(chain.head.clone())
    }

    /// Makes one block that is `blocks` heights and as many seconds further on; the heights between stay empty.
    ///
    /// # Errors
    /// [`LocalnetError::JumpTooFar`] over 10^9 blocks.
    pub fn fast_forward(&self, blocks: u64) -> Result<Block, LocalnetError> {
        if blocks > SKIP_LIMIT {
            return Err(LocalnetError::JumpTooFar(SKIP_LIMIT));
        }
        let mut chain = self.write();
        let batch = self.take_batch();
        chain.produce(batch, blocks.saturating_sub(1))?;
        while matches!(self.inner.mode, BlockMode::OnDemand | BlockMode::Gathered { .. }) && !chain.is_idle() {
            chain.produce(Waiting::new(), 0)?;
        }
        self.publish(&chain)?;
        Ok(chain.head.clone())
    }

    /// Sets state records as they are, in a block of their own. The total supply follows the accounts' new amounts.
    ///
    /// # Errors
    /// [`LocalnetError::PatchRefused`] for records other than accounts, data, code and access keys; nothing has changed then.
    pub fn patch_state(&self, records: Vec<StateRecord>) -> Result<Block, LocalnetError> {
        let mut chain = self.write();
        let (changes, supply) = crate::patch::changes_of(&chain.state, chain.head.total_supply, records)?;
        chain.patch(changes, supply)?;
        self.publish(&chain)?;
        Ok(chain.head.clone())
    }
}

/// Makes a block every `interval` for as long as the chain has a handle.
fn keep_producing(inner: Weak<Inner>, interval: Duration) {
    make_blocks(move || {
        loop {
            std::thread::sleep(interval);
            let Some(inner) = inner.upgrade() else { return };
            report(Localnet { inner }.produce_block());
        }
    });
}

/// Makes blocks of what arrives together, and an empty one after `idle` without any, for as long as the chain has a handle.
fn keep_gathering(inner: Weak<Inner>, arrivals: Receiver<()>, wait: Duration, idle: Option<Duration>) {
    let next = move || {
        let first = match idle {
            Some(idle) => arrivals.recv_timeout(idle),
            None => arrivals.recv().map_err(RecvTimeoutError::from),
        };
        let until = Instant::now() + wait.saturating_mul(GATHERING_LIMIT);
        while first.is_ok() && Instant::now() < until && arrivals.recv_timeout(wait).is_ok() {}
        first
    };
    make_blocks(move || {
        loop {
            let arrived = next();
            let Some(inner) = inner.upgrade() else { return };
            let localnet = Localnet { inner };
            match arrived {
                Ok(()) => report(localnet.run_until_idle()),
                Err(RecvTimeoutError::Timeout) => report(localnet.produce_block()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

fn make_blocks(work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new().name("localnet-blocks".to_owned()).spawn(work);
    if let Err(error) = spawned {
        tracing::error!(%error, "the thread that makes blocks did not start");
    }
}

fn report<T>(made: Result<T, LocalnetError>) {
    if let Err(error) = made {
        tracing::error!(%error, "no block was made");
    }
}
