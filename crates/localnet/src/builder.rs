//! How a chain is set up.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use near_crypto::PublicKey;
use near_parameters::{RuntimeConfig, RuntimeConfigStore};
use near_primitives::account::{AccessKey, AccessKeyPermission, Account, AccountContract};
use near_primitives::state_record::StateRecord;
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance, Gas, ProtocolVersion};
use near_primitives::version::PROTOCOL_VERSION;
use near_vm_runner::{ContractRuntimeCache, FilesystemContractRuntimeCache, noop_background_spawner};

use crate::chain::{Chain, Clock, Settings};
use crate::error::{LocalnetError, StateError, StoreError};
use crate::node::Localnet;
use crate::patch::with_records;
use crate::runtime::add;
use crate::state::{State, encode};

/// The least protocol version whose rules for gas prices this crate has.
const LEAST_PROTOCOL_VERSION: ProtocolVersion = 85;

/// NEAR's least gas price: 0.0001 NEAR a Tgas.
const GAS_PRICE: Balance = Balance::from_yoctonear(100_000_000);

/// Compiled contracts kept in memory, and on disk in bytes.
const CACHED_CONTRACTS: usize = 64;
const CACHE_DISK_BYTES: u64 = 1 << 30;

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockMode {
    /// A transaction makes blocks at once, one for each hop of its receipts, until none is left. Sending returns after that.
    OnDemand,
    /// A transaction waits for others that are sent with it, then blocks are made until no receipt is left. Transactions of one key that
    /// arrive together out of order all run, as on NEAR. Sending returns at once.
    Gathered {
        /// For how long no other may have arrived; each one makes the wait begin again, ten times at most.
        wait: Duration,
        /// After how long without work an empty block is made; without it, none is.
        idle: Option<Duration>,
    },
    /// A block at this interval, whether there is work or not.
    Interval(Duration),
    /// Only [`Localnet::produce_block`] makes blocks: a test can put transactions of its own between two hops.
    Manual,
}

/// An account that exists from the first block.
#[derive(Debug, Clone)]
pub struct GenesisAccount {
    /// Its name; any valid one, top-level or not.
    pub account_id: AccountId,
    /// Its full-access key.
    pub public_key: PublicKey,
    /// What it holds, in yoctoNEAR.
    pub balance: Balance,
}

/// Builds a [`Localnet`]; see [`Localnet::builder`].
#[derive(Debug, Clone)]
pub struct LocalnetBuilder {
    chain_id: String,
    accounts: Vec<GenesisAccount>,
    records: Vec<StateRecord>,
    protocol_version: ProtocolVersion,
    data_dir: Option<PathBuf>,
    contract_cache: Option<PathBuf>,
    block_mode: BlockMode,
    clock: Clock,
    seed: [u8; 32],
    gas_price: Balance,
    registrar: Option<AccountId>,
    epoch_length_blocks: u64,
    transaction_validity_blocks: u64,
}

impl Default for LocalnetBuilder {
    fn default() -> Self {
        Self {
            chain_id: "localnet".to_owned(),
            accounts: Vec::new(),
            records: Vec::new(),
            protocol_version: PROTOCOL_VERSION,
            data_dir: None,
            contract_cache: None,
            block_mode: BlockMode::OnDemand,
            clock: Clock::Wall,
            seed: [0; 32],
            gas_price: GAS_PRICE,
            registrar: None,
            epoch_length_blocks: 500,
            transaction_validity_blocks: 86_400,
        }
    }
}

impl LocalnetBuilder {
    /// Names the chain: what `env::chain_id()` and the RPC's `status` say. Default: `localnet`.
    #[must_use]
    pub fn chain_id(mut self, chain_id: impl Into<String>) -> Self {
        self.chain_id = chain_id.into();
        self
    }

    /// Adds an account to the first block; ignored when the data folder holds a chain already.
    #[must_use]
    pub fn account(mut self, account_id: AccountId, public_key: PublicKey, balance: Balance) -> Self {
        self.accounts.push(GenesisAccount { account_id, public_key, balance });
        self
    }

    /// Adds state records to the first block, after its accounts: more accounts, their keys, code and data, as in the `records` of NEAR's
    /// `genesis.json`. Each account's storage usage is counted from what it has, whatever its record says. Ignored when the data folder
    /// holds a chain already.
    #[must_use]
    pub fn genesis_records(mut self, records: Vec<StateRecord>) -> Self {
        self.records.extend(records);
        self
    }

    /// Which protocol's fees and rules hold. Default: the newest stable one of this build.
    #[must_use]
    pub fn protocol_version(mut self, version: ProtocolVersion) -> Self {
        self.protocol_version = version;
        self
    }

    /// Keeps the chain in this folder, across restarts and `kill -9`. Default: memory only.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Keeps compiled contracts in this folder. Whoever can write there can run code in this process. Default: inside the data folder, or a temporary folder shared by the chains of this process.
    #[must_use]
    pub fn contract_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.contract_cache = Some(folder.into());
        self
    }

    /// When blocks are made. Default: [`BlockMode::OnDemand`].
    #[must_use]
    pub fn block_mode(mut self, mode: BlockMode) -> Self {
        self.block_mode = mode;
        self
    }

    /// Where time comes from. Default: [`Clock::Wall`].
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Seed of the contracts' randomness; with [`Clock::Steps`] equal input gives equal blocks.
    #[must_use]
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = seed;
        self
    }

    /// Price of gas in yoctoNEAR; it does not move. Default: NEAR's least, 10^8.
    #[must_use]
    pub fn gas_price(mut self, price: Balance) -> Self {
        self.gas_price = price;
        self
    }

    /// Who may create short top-level accounts. Default: the protocol's `registrar`.
    #[must_use]
    pub fn registrar(mut self, account_id: AccountId) -> Self {
        self.registrar = Some(account_id);
        self
    }

    /// Blocks in one of NEAR's epochs. Default: 500.
    #[must_use]
    pub fn epoch_length_blocks(mut self, blocks: u64) -> Self {
        self.epoch_length_blocks = blocks;
        self
    }

    /// For how many blocks a transaction may be sent after the block it names. Default: 86,400, as on NEAR.
    #[must_use]
    pub fn transaction_validity_blocks(mut self, blocks: u64) -> Self {
        self.transaction_validity_blocks = blocks;
        self
    }

    /// Opens or starts the chain.
    ///
    /// # Errors
    /// [`LocalnetError::Genesis`] for two accounts of one name, records without their account, or balances that overflow,
    /// [`LocalnetError::PatchRefused`] for a record of a kind that cannot be set, [`LocalnetError::ProtocolVersion`], and [`StoreError`] when
    /// the folder cannot be used or holds another chain.
    pub fn build(self) -> Result<Localnet, LocalnetError> {
        let config = self.config()?;
        let (cache, cache_folder) = self.open_cache().map_err(StoreError::Folder)?;
        let settings = Settings {
            chain_id: Arc::from(self.chain_id.as_str()),
            protocol_version: self.protocol_version,
            gas_price: self.gas_price,
            gas_limit: Gas::from_teragas(1_000),
            epoch_length_blocks: self.epoch_length_blocks,
            transaction_validity_blocks: self.transaction_validity_blocks,
            seed: self.seed,
            clock: self.clock,
            cache,
            _cache_folder: cache_folder,
            config: Arc::clone(&config),
        };
        let (accounts, records) = (self.accounts, self.records);
        let folder = self.data_dir;
        let genesis = || {
            let (state, supply) = genesis_state(&accounts, &config)?;
            with_records(state, supply, records, &config.fees.storage_usage_config)
        };
        let (chain, waiting) = Chain::open(settings, folder.as_deref(), genesis)?;
        Localnet::start(chain, waiting, self.block_mode)
    }

    fn config(&self) -> Result<Arc<RuntimeConfig>, LocalnetError> {
        static CONFIGS: LazyLock<RuntimeConfigStore> = LazyLock::new(|| RuntimeConfigStore::new(None));
        let asked = self.protocol_version;
        if !(LEAST_PROTOCOL_VERSION..=PROTOCOL_VERSION).contains(&asked) {
            return Err(LocalnetError::ProtocolVersion { asked, least: LEAST_PROTOCOL_VERSION, greatest: PROTOCOL_VERSION });
        }
        let mut config = Arc::clone(CONFIGS.get_config(asked));
        if let Some(registrar) = &self.registrar {
            Arc::make_mut(&mut config).account_creation_config.registrar_account_id = registrar.clone();
        }
        Ok(config)
    }

    fn open_cache(&self) -> std::io::Result<Cache> {
        let folder = match (&self.contract_cache, &self.data_dir) {
            (Some(folder), _) => folder.clone(),
            (None, Some(folder)) => folder.join("contracts"),
            (None, None) => return shared_cache(),
        };
        std::fs::create_dir_all(&folder)?;
        Ok((Box::new(file_cache(&folder)?), None))
    }
}

fn file_cache(folder: &Path) -> std::io::Result<FilesystemContractRuntimeCache> {
    FilesystemContractRuntimeCache::with_memory_cache(
        folder,
        None::<&str>,
        "compiled",
        CACHED_CONTRACTS,
        None,
        CACHE_DISK_BYTES,
        noop_background_spawner(),
    )
}

/// A cache of compiled contracts, and the temporary folder it lies in, if it does.
type Cache = (Box<dyn ContractRuntimeCache>, Option<Arc<tempfile::TempDir>>);

/// The cache that all chains in memory share; the folder goes with the last of them.
struct SharedCache {
    cache: FilesystemContractRuntimeCache,
    folder: Weak<tempfile::TempDir>,
}

fn shared_cache() -> std::io::Result<Cache> {
    static SHARED: Mutex<Option<SharedCache>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(SharedCache { cache, folder }) = shared.as_ref()
        && let Some(folder) = folder.upgrade()
    {
        return Ok((cache.handle(), Some(folder)));
    }
    let folder = Arc::new(tempfile::Builder::new().prefix("localnet-contracts-").tempdir()?);
    let cache = file_cache(folder.path())?;
    let handle = cache.handle();
    *shared = Some(SharedCache { cache, folder: Arc::downgrade(&folder) });
    Ok((handle, Some(folder)))
}

/// The records of the first block, and all tokens in it.
fn genesis_state(accounts: &[GenesisAccount], config: &RuntimeConfig) -> Result<(State, Balance), LocalnetError> {
    let mut state = State::default();
    let mut supply = Balance::ZERO;
    let storage = &config.fees.storage_usage_config;
    for genesis in accounts {
        let account_id = &genesis.account_id;
        let account_key = TrieKey::Account { account_id: account_id.clone() }.to_vec();
        if state.get(&account_key).is_some() {
            return Err(LocalnetError::Genesis(format!("{account_id} is there twice")));
        }
        let key = AccessKey { nonce: 0, permission: AccessKeyPermission::FullAccess };
        let key_bytes = crate::runtime::key_bytes(&genesis.public_key, &key, storage.num_extra_bytes_record)?;
        let bytes = storage.num_bytes_account.checked_add(key_bytes).ok_or(StateError::Overflow)?;
        let account = Account::new(genesis.balance, Balance::ZERO, AccountContract::None, bytes);
        state.insert(account_key, encode(&account)?);
        state.insert(TrieKey::access_key(account_id.clone(), &genesis.public_key).to_vec(), encode(&key)?);
        supply = add(supply, genesis.balance).map_err(|_| LocalnetError::Genesis("the balances sum to more than 2^128".to_owned()))?;
    }
    Ok((state, supply))
}
