//! An embedded NEAR chain: the real virtual machine, the protocol's own fees, no binary to download.
//!
//! Work in progress: see the items.

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
pub use rpc::{RpcOptions, RpcServer, serve};
pub use view::TransactionStatus;
