//! Blocks, chunks and receipts as views. Each block has one chunk, of one shard.

use near_crypto::Signature;
use near_jsonrpc_primitives::errors::RpcError;
use near_jsonrpc_primitives::types::blocks::RpcBlockError;
use near_jsonrpc_primitives::types::chunks::{ChunkReference, RpcChunkError};
use near_jsonrpc_primitives::types::gas_price::RpcGasPriceError;
use near_jsonrpc_primitives::types::receipts::{ReceiptReference, RpcReceiptError};
use near_primitives::hash::CryptoHash;
use near_primitives::sharding::ChunkHash;
use near_primitives::types::{BlockReference, Gas, ShardId};
use near_primitives::views::{BlockHeaderView, BlockView, ChunkHeaderView, ChunkView, GasPriceView, ReceiptView, SignedTransactionView};
use serde_json::{Value, json};

use super::info::PRODUCER;
use super::params::{block_reference, named, parse};
use super::{Answer, Rpc, internal, to_value};
use crate::chain::Block;
use crate::error::LocalnetError;

/// Name of an epoch: a hash of chain and number, as nodes name it by a block's hash.
fn epoch_id(chain_id: &str, epoch_height: u64) -> CryptoHash {
    CryptoHash::hash_borsh(("epoch", chain_id, epoch_height))
}

/// Name of a block's only chunk.
fn chunk_hash(block: &Block) -> CryptoHash {
    CryptoHash::hash_borsh(("chunk", block.hash))
}

impl Rpc {
    fn state_root_before(&self, block: &Block) -> Result<CryptoHash, LocalnetError> {
        let Some(height) = block.prev_height else {
            return Ok(CryptoHash::default());
        };
        Ok(self.localnet.block(height)?.map_or_else(CryptoHash::default, |before| before.state_root))
    }

    pub(super) fn epoch_id(&self, epoch_height: u64) -> CryptoHash {
        epoch_id(&self.localnet.chain_id(), epoch_height)
    }

    fn header(&self, block: &Block) -> Result<BlockHeaderView, LocalnetError> {
        let prev_state_root = self.state_root_before(block)?;
        Ok(BlockHeaderView {
            height: block.height,
            prev_height: block.prev_height,
            epoch_id: self.epoch_id(block.epoch_height),
            next_epoch_id: self.epoch_id(block.epoch_height + 1),
            hash: block.hash,
            prev_hash: block.prev_hash,
            prev_state_root,
            block_body_hash: Some(chunk_hash(block)),
            outcome_root: block.outcome_root,
            chunks_included: 1,
            timestamp: block.timestamp_ns,
            timestamp_nanosec: block.timestamp_ns,
            random_value: block.random_value,
            chunk_mask: vec![true],
            gas_price: block.gas_price,
            block_ordinal: Some(block.ordinal),
            total_supply: block.total_supply,
            last_final_block: block.hash,
            last_ds_final_block: block.hash,
            latest_protocol_version: self.localnet.read().settings.protocol_version,
            ..BlockHeaderView::default()
        })
    }

    fn chunk_header(&self, block: &Block) -> Result<ChunkHeaderView, LocalnetError> {
        Ok(ChunkHeaderView {
            chunk_hash: chunk_hash(block),
            prev_block_hash: block.prev_hash,
            outcome_root: block.outcome_root,
            prev_state_root: self.state_root_before(block)?,
            encoded_merkle_root: CryptoHash::default(),
            encoded_length: 0,
            height_created: block.height,
            height_included: block.height,
            shard_id: ShardId::new(0),
            gas_used: block.gas_used,
            gas_limit: self.gas_limit(),
            rent_paid: near_primitives::types::Balance::ZERO,
            validator_reward: near_primitives::types::Balance::ZERO,
            balance_burnt: block.burnt,
            outgoing_receipts_root: CryptoHash::default(),
            tx_root: CryptoHash::hash_borsh(&block.transactions),
            validator_proposals: Vec::new(),
            congestion_info: None,
            bandwidth_requests: None,
            proposed_split: None,
            signature: Signature::default(),
        })
    }

    fn gas_limit(&self) -> Gas {
        self.localnet.read().settings.gas_limit
    }

    pub(super) fn block(&self, params: Value) -> Answer {
        let reference = block_reference(&params)?;
        let block = self.block_or(&reference, |error_message| RpcBlockError::UnknownBlock { error_message }.into())?;
        let view = BlockView {
            author: PRODUCER.parse().map_err(|error| internal(&error))?,
            header: self.header(&block).map_err(|error| internal(&error))?,
            chunks: vec![self.chunk_header(&block).map_err(|error| internal(&error))?],
        };
        to_value(&view)
    }

    fn block_or(&self, reference: &BlockReference, unknown: impl FnOnce(String) -> RpcError) -> Result<Block, RpcError> {
        let found = self.find_block(reference).map_err(|error| internal(&error))?;
        found.ok_or_else(|| {
            unknown(match reference {
                BlockReference::BlockId(near_primitives::types::BlockId::Height(height)) => {
                    format!("BLOCK HEIGHT: {height}")
                }
                BlockReference::BlockId(near_primitives::types::BlockId::Hash(hash)) => {
                    format!("BLOCK: {hash}")
                }
                other => format!("{other:?}"),
            })
        })
    }

    pub(super) fn chunk(&self, params: Value) -> Answer {
        let params = match params {
            Value::Array(values) if values.len() == 1 => json!({ "chunk_id": values[0] }),
            other => named(other, &["block_id", "shard_id"]),
        };
        let block = match parse::<ChunkReference>(params)? {
            ChunkReference::BlockShardId { block_id, shard_id } => {
                if shard_id != ShardId::new(0) {
                    return Err(RpcChunkError::InvalidShardId { shard_id }.into());
                }
                self.block_or(&BlockReference::BlockId(block_id), |error_message| RpcChunkError::UnknownBlock { error_message }.into())?
            }
            ChunkReference::ChunkHash { chunk_id } => self.block_of_chunk(&chunk_id)?,
        };
        to_value(&self.chunk_view(&block).map_err(|error| internal(&error))?)
    }

    fn block_of_chunk(&self, chunk_id: &CryptoHash) -> Result<Block, RpcError> {
        let mut height = Some(self.localnet.head().height);
        // A chunk's name holds no height; clients ask for new ones, so the search goes back from the head.
        for _ in 0..CHUNK_SEARCH_BLOCKS {
            let Some(at) = height else { break };
            let Some(block) = self.localnet.block(at).map_err(|error| internal(&error))? else {
                break;
            };
            if chunk_hash(&block) == *chunk_id {
                return Ok(block);
            }
            height = block.prev_height;
        }
        Err(RpcChunkError::UnknownChunk { chunk_hash: ChunkHash(*chunk_id) }.into())
    }

    fn chunk_view(&self, block: &Block) -> Result<ChunkView, LocalnetError> {
        let chain = self.localnet.read();
        let mut transactions: Vec<SignedTransactionView> = Vec::new();
        for hash in &block.transactions {
            transactions.extend(chain.store.transaction(hash)?.map(|stored| stored.transaction.into()));
        }
        let mut receipts: Vec<ReceiptView> = Vec::new();
        for id in &block.receipts {
            receipts.extend(chain.store.receipt(id)?.map(ReceiptView::from));
        }
        drop(chain);
        Ok(ChunkView {
            author: PRODUCER.parse().map_err(|_| LocalnetError::Genesis(PRODUCER.to_owned()))?,
            header: self.chunk_header(block)?,
            transactions,
            receipts,
        })
    }

    pub(super) fn receipt(&self, params: Value) -> Answer {
        let reference: ReceiptReference = parse(named(params, &["receipt_id"]))?;
        let id = reference.receipt_id;
        match self.localnet.receipt(&id).map_err(|error| internal(&error))? {
            Some(receipt) => to_value(&ReceiptView::from(receipt)),
            None => Err(RpcReceiptError::UnknownReceipt { receipt_id: id }.into()),
        }
    }

    pub(super) fn gas_price(&self, params: Value) -> Answer {
        let reference = block_reference(&params)?;
        let block = self.block_or(&reference, |error_message| RpcGasPriceError::UnknownBlock { error_message }.into())?;
        to_value(&GasPriceView { gas_price: block.gas_price })
    }
}

/// How far back a chunk is looked for by its hash.
const CHUNK_SEARCH_BLOCKS: usize = 10_000;
