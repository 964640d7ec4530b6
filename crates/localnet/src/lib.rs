//! An embedded NEAR chain: the real virtual machine, the protocol's own fees, no binary to download.
//!
//! A [`Localnet`] is a handle to a chain in this process, made by [`Localnet::builder`] and cloned at will. Contracts run in
//! `near-vm-runner` with the gas and fee tables of `near-parameters`; transactions, receipts, promises, yields, refunds
//! and storage staking follow nearcore's rules. `DIFFERENCES.md` lists where they do not, and why.
//!
//! ```
//! use near_primitives::types::{AccountId, Balance, Gas};
//! use starling_localnet::{Localnet, testing};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root: AccountId = "root".parse()?;
//! let app: AccountId = "app.root".parse()?;
//! let root_signer = testing::signer_from_seed(&root, "root");
//! let app_signer = testing::signer_from_seed(&app, "app");
//! let chain = Localnet::builder()
//!     .chain_id("example")
//!     .account(root, root_signer.public_key(), Balance::from_near(1_000))
//!     .build()?;
//! chain.create_account(&root_signer, &app, app_signer.public_key(), Balance::from_near(10))?;
//! chain.deploy(&app_signer, testing::tiny_contract())?;
//! let gas = Gas::from_teragas(10);
//! testing::expect_success(chain.call(&root_signer, &app, "set", b"hello".to_vec(), gas, Balance::ZERO)?)?;
//! assert_eq!(chain.view(&app, "get", b"")?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! | to do | call |
//! |---|---|
//! | send, look up | [`Localnet::send_tx`], [`Localnet::tx_outcome`], [`Localnet::tx_status`], [`Localnet::check`] |
//! | read | [`Localnet::view`], [`Localnet::account`], [`Localnet::balance`], [`Localnet::access_key`], [`Localnet::contract_state`], [`Localnet::block`] |
//! | time | [`Localnet::produce_block`], [`Localnet::fast_forward`], [`BlockMode`], [`Clock`] |
//! | set state by hand | [`Localnet::patch_state`] |
//! | short ways for tests | [`Localnet::create_account`], [`Localnet::deploy`], [`Localnet::call`], [`Localnet::transfer`], [`Localnet::transact`], [`testing`] |
//! | NEAR's JSON-RPC, faucet | [`serve`] with [`RpcOptions`] and [`Faucet`] |
//!
//! A block is final as soon as it is made. With [`BlockMode::OnDemand`], the default, sending a transaction makes one block for each hop of
//! its receipts until none is left; with a data folder everything is on disk before sending returns.
//!
//! # In the place of NEAR's sandbox
//!
//! Tests that are written with `near_workspaces::sandbox()` run on this chain unchanged when `NEAR_SANDBOX_BIN_PATH` names this crate's program
//! `starling-sandbox`; so does whatever else starts its sandbox with the crate `near-sandbox`, or as a process with the same words:
//!
//! ```sh
//! cargo build --package starling-localnet
//! NEAR_SANDBOX_BIN_PATH=$PWD/target/debug/starling-sandbox cargo test
//! ```
//!
//! `starling-sandbox --home DIR init --fast` writes `genesis.json`, `config.json` and `validator_key.json`; `starling-sandbox --home DIR run` reads
//! what has become of them. near-workspaces downloads nothing when the variable is set; its feature `install`, on by default, would download a
//! binary while it is built without.
//!
//! A test that has a [`Localnet`] of its own connects near-workspaces to it with
//! `near_workspaces::sandbox().rpc_addr(&server.url()).validator_key(ValidatorKey::Known(account, key))`, where the account is one of the genesis.

mod builder;
mod chain;
mod error;
mod faucet;
mod fees;
mod node;
mod patch;
mod rpc;
mod runtime;
mod state;
mod store;
pub mod testing;
mod trie_cost;
mod view;

pub use builder::{BlockMode, GenesisAccount, LocalnetBuilder};
pub use chain::{Block, Clock};
pub use error::{LocalnetError, StateError, StoreError};
pub use faucet::Faucet;
pub use node::Localnet;
pub use rpc::{RpcOptions, RpcServer, serve, serve_on};
pub use view::{ContractRecords, TransactionStatus};
