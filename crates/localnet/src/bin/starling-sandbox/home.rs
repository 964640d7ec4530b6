//! The folder of a sandbox: what `init` writes, others rewrite, and `run` reads.
//!
//! Names and places are neard's. What only validators need is not written, and not read where somebody adds it.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use near_crypto::{KeyFile, KeyType, SecretKey};
use near_primitives::account::id::AccountIdRef;
use near_primitives::account::{AccessKey, Account, AccountContract};
use near_primitives::state_record::StateRecord;
use near_primitives::types::{Balance, BlockHeight, ProtocolVersion};
use near_primitives::version::PROTOCOL_VERSION;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use starling_localnet::{Localnet, LocalnetBuilder};

use crate::arguments::InitOptions;
use crate::error::SandboxError;

const CONFIG: &str = "config.json";
const GENESIS: &str = "genesis.json";
const ROOT_KEY: &str = "validator_key.json";
const DATA: &str = "data";

/// Who holds nearly everything, by default.
const ROOT: &AccountIdRef = AccountIdRef::new_or_panic("test.near");
/// What that account holds, as in neard's test chains.
const ROOT_BALANCE: Balance = Balance::from_near(1_000_000_000);

/// Between empty blocks.
const BLOCK_INTERVAL: Duration = Duration::from_millis(600);
/// The same with `--fast`.
const FAST_BLOCK_INTERVAL: Duration = Duration::from_millis(120);

const RPC_PORT: u16 = 3030;
const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Config {
    rpc: RpcConfig,
    consensus: ConsensusConfig,
}

#[derive(Serialize, Deserialize)]
struct RpcConfig {
    addr: SocketAddr,
    limits_config: RpcLimits,
}

#[derive(Serialize, Deserialize)]
struct RpcLimits {
    /// In bytes.
    json_payload_max_size: usize,
}

#[derive(Serialize, Deserialize)]
struct ConsensusConfig {
    /// Between empty blocks; nothing of both makes none.
    min_block_production_delay: Duration,
}

#[derive(Serialize, Deserialize)]
struct Genesis {
    chain_id: String,
    protocol_version: ProtocolVersion,
    #[serde(default)]
    genesis_height: BlockHeight,
    /// In blocks.
    epoch_length: u64,
    /// In yoctoNEAR a unit of gas.
    min_gas_price: Balance,
    /// In blocks.
    transaction_validity_period: u64,
    /// In yoctoNEAR.
    total_supply: Balance,
    records: Vec<StateRecord>,
}

/// What `run` needs of a folder.
pub(crate) struct Settings {
    pub(crate) builder: LocalnetBuilder,
    pub(crate) rpc_address: SocketAddr,
    pub(crate) body_limit_bytes: usize,
    pub(crate) block_interval: Option<Duration>,
}

/// Makes the folder and the files that it lacks.
pub(crate) fn init(home: &Path, options: &InitOptions) -> Result<(), SandboxError> {
    fs::create_dir_all(home).map_err(|source| SandboxError::File { path: home.to_owned(), source })?;
    write_new(&home.join(CONFIG), &config(options.fast))?;
    let root_key = home.join(ROOT_KEY);
    let account_id = options.account_id.clone().unwrap_or_else(|| ROOT.to_owned());
    let key = match &options.test_seed {
        Some(seed) => SecretKey::from_seed(KeyType::ED25519, seed),
        None => SecretKey::from_random(KeyType::ED25519),
    };
    write_new(&root_key, &KeyFile { account_id, public_key: key.public_key(), secret_key: key })?;
    // The account of a key that was there already.
    let root = read_json::<KeyFile>(&root_key)?;
    let chain_id = options.chain_id.clone().unwrap_or_else(|| "sandbox".to_owned());
    write_new(&home.join(GENESIS), &genesis(chain_id, root))
}

fn config(fast: bool) -> Config {
    Config {
        rpc: RpcConfig {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), RPC_PORT),
            limits_config: RpcLimits { json_payload_max_size: BODY_LIMIT_BYTES },
        },
        consensus: ConsensusConfig { min_block_production_delay: if fast { FAST_BLOCK_INTERVAL } else { BLOCK_INTERVAL } },
    }
}

fn genesis(chain_id: String, root: KeyFile) -> Genesis {
    let account = Account::new(ROOT_BALANCE, Balance::ZERO, AccountContract::None, 0);
    let records = vec![
        StateRecord::Account { account_id: root.account_id.clone(), account },
        StateRecord::access_key(root.account_id, root.public_key, AccessKey::full_access()),
    ];
    Genesis {
        chain_id,
        protocol_version: PROTOCOL_VERSION,
        genesis_height: 0,
        epoch_length: 500,
        min_gas_price: Balance::from_yoctonear(100_000_000),
        transaction_validity_period: 86_400,
        total_supply: ROOT_BALANCE,
        records,
    }
}

/// Reads what `init` wrote and others changed.
pub(crate) fn read(home: &Path) -> Result<Settings, SandboxError> {
    let config = read_json::<Config>(&home.join(CONFIG))?;
    let genesis = read_json::<Genesis>(&home.join(GENESIS))?;
    if genesis.genesis_height != 0 {
        return Err(SandboxError::GenesisHeight(genesis.genesis_height));
    }
    let held = held_by_accounts(&genesis.records);
    if held != genesis.total_supply {
        return Err(SandboxError::TotalSupply { stated: genesis.total_supply.as_yoctonear(), held: held.as_yoctonear() });
    }
    let builder = Localnet::builder()
        .chain_id(genesis.chain_id)
        .protocol_version(genesis.protocol_version)
        .epoch_length_blocks(genesis.epoch_length)
        .gas_price(genesis.min_gas_price)
        .transaction_validity_blocks(genesis.transaction_validity_period)
        .genesis_records(genesis.records)
        .data_dir(home.join(DATA));
    Ok(Settings {
        builder,
        rpc_address: config.rpc.addr,
        body_limit_bytes: config.rpc.limits_config.json_payload_max_size,
        block_interval: Some(config.consensus.min_block_production_delay).filter(|interval| !interval.is_zero()),
    })
}

fn held_by_accounts(records: &[StateRecord]) -> Balance {
    let amounts = records.iter().map(|record| match record {
        StateRecord::Account { account, .. } => account.amount().saturating_add(account.locked()),
        _ => Balance::ZERO,
    });
    amounts.fold(Balance::ZERO, Balance::saturating_add)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SandboxError> {
    let text = fs::read(path).map_err(|source| SandboxError::File { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| SandboxError::Content { path: path.to_owned(), source })
}

/// Writes a file that is not there yet, readable by its owner alone.
fn write_new(path: &Path, content: &impl Serialize) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::File { path: PathBuf::from(path), source };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => {
            serde_json::to_writer_pretty(file, content).map_err(|source| SandboxError::Content { path: PathBuf::from(path), source })
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
