//! What the chain says of itself: status, configuration, and the honest little there is about validators.

use near_parameters::RuntimeConfigView;
use near_primitives::version::PROTOCOL_VERSION;
use near_primitives::views::EpochValidatorInfo;
use serde_json::{Value, json};

use super::{Answer, Rpc, internal, to_value};
use crate::chain::Chain;

/// Who is named as the author of blocks; no such account need exist.
pub(super) const PRODUCER: &str = "localnet";

/// A key that nobody has, where the format demands one.
const NO_KEY: &str = "ed25519:11111111111111111111111111111111";

pub(super) fn network_info() -> Value {
    json!({
        "active_peers": [], "num_active_peers": 0, "peer_max_count": 0,
        "sent_bytes_per_sec": 0, "received_bytes_per_sec": 0, "known_producers": [],
    })
}

impl Rpc {
    pub(super) fn status(&self) -> Answer {
        let head = self.localnet.head();
        let genesis = self.localnet.block(0).map_err(|error| internal(&error))?;
        let genesis_hash = genesis.as_ref().map(|block| block.hash).unwrap_or_default();
        let genesis_time = genesis.as_ref().map_or(0, |block| block.timestamp_ns);
        let (protocol_version, epoch_length) = {
            let chain = self.localnet.read();
            (chain.settings.protocol_version, chain.settings.epoch_length_blocks)
        };
        Ok(json!({
            "version": { "version": env!("CARGO_PKG_VERSION"), "build": "starling-localnet", "commit": "", "rustc_version": "" },
            "chain_id": self.localnet.chain_id(),
            "protocol_version": protocol_version,
            "latest_protocol_version": PROTOCOL_VERSION,
            "rpc_addr": self.address.to_string(),
            "validators": [],
            "sync_info": {
                "latest_block_hash": head.hash,
                "latest_block_height": head.height,
                "latest_state_root": head.state_root,
                "latest_block_time": iso_time(head.timestamp_ns),
                "syncing": false,
                "earliest_block_hash": genesis_hash,
                "earliest_block_height": 0,
                "earliest_block_time": iso_time(genesis_time),
                "epoch_id": self.epoch_id(head.epoch_height),
                "epoch_start_height": (head.epoch_height - 1) * epoch_length,
            },
            "validator_account_id": null,
            "validator_public_key": null,
            "node_public_key": NO_KEY,
            "node_key": null,
            "uptime_sec": self.started.elapsed().as_secs(),
            "genesis_hash": genesis_hash,
        }))
    }

    pub(super) fn validators(&self) -> Answer {
        let head = self.localnet.head();
        let epoch_length = self.localnet.read().settings.epoch_length_blocks;
        to_value(&EpochValidatorInfo {
            current_validators: Vec::new(),
            next_validators: Vec::new(),
            current_fishermen: Vec::new(),
            next_fishermen: Vec::new(),
            current_proposals: Vec::new(),
            prev_epoch_kickout: Vec::new(),
            epoch_start_height: (head.epoch_height - 1) * epoch_length,
            epoch_height: head.epoch_height,
            validator_reward_paid_prev_epoch: std::collections::HashMap::new(),
        })
    }

    /// The protocol's fees and limits as they are in force; figures about validators are zero.
    pub(super) fn protocol_config(&self) -> Answer {
        let chain = self.localnet.read();
        let settings = &chain.settings;
        let runtime_config = to_value(&RuntimeConfigView::from((*settings.config).clone()))?;
        let mut config = genesis_fields(&chain)?;
        if let Value::Object(config) = &mut config {
            config.insert("runtime_config".to_owned(), runtime_config);
        }
        Ok(config)
    }

    pub(super) fn genesis_config(&self) -> Answer {
        let chain = self.localnet.read();
        let genesis = chain.store.block(0).map_err(|error| internal(&error))?;
        let mut config = genesis_fields(&chain)?;
        if let Value::Object(config) = &mut config {
            let supply = genesis.map(|block| block.total_supply).unwrap_or_default();
            for (name, value) in [
                ("total_supply", json!(supply)),
                ("validators", json!([])),
                ("num_block_producer_seats_per_shard", json!([1])),
                ("avg_hidden_validator_seats_per_shard", json!([0])),
            ] {
                config.insert(name.to_owned(), value);
            }
        }
        Ok(config)
    }
}

fn genesis_fields(chain: &Chain) -> Answer {
    let settings = &chain.settings;
    let genesis = chain.store.block(0).map_err(|error| internal(&error))?;
    Ok(json!({
        "protocol_version": settings.protocol_version,
        "genesis_time": iso_time(genesis.map_or(0, |block| block.timestamp_ns)),
        "chain_id": &*settings.chain_id,
        "genesis_height": 0,
        "num_block_producer_seats": 1,
        "dynamic_resharding": false,
        "protocol_upgrade_stake_threshold": [4, 5],
        "epoch_length": settings.epoch_length_blocks,
        "gas_limit": settings.gas_limit,
        "min_gas_price": settings.gas_price,
        "max_gas_price": settings.gas_price,
        "block_producer_kickout_threshold": 0,
        "chunk_producer_kickout_threshold": 0,
        "chunk_validator_only_kickout_threshold": 0,
        "target_validator_mandates_per_shard": 0,
        "online_min_threshold": [9, 10],
        "online_max_threshold": [99, 100],
        "gas_price_adjustment_rate": [0, 1],
        "transaction_validity_period": settings.transaction_validity_blocks,
        "protocol_reward_rate": [0, 1],
        "max_inflation_rate": [0, 1],
        "num_blocks_per_year": 31_536_000,
        "protocol_treasury_account": PRODUCER,
        "fishermen_threshold": "0",
        "minimum_stake_divisor": 10,
        "minimum_stake_ratio": [0, 1],
        "max_kickout_stake_perc": 100,
        "minimum_validators_per_shard": 1,
        "num_chunk_only_producer_seats": 0,
        "num_chunk_producer_seats": 1,
        "num_chunk_validator_seats": 0,
        "shuffle_shard_assignment_for_chunk_producers": false,
        "use_production_config": false,
        "shard_layout": { "V0": { "num_shards": 1, "version": 0 } },
    }))
}

/// RFC 3339 in UTC with nanoseconds.
fn iso_time(timestamp_ns: u64) -> String {
    let (seconds, nanos) = (timestamp_ns / 1_000_000_000, timestamp_ns % 1_000_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date, by the civil calendar with years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn iso_time__should_name_the_civil_date() {
        assert_eq!(iso_time(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(iso_time(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(iso_time(1_795_229_999_000_000_000), "2026-11-21T02:59:59.000000000Z");
    }
}
