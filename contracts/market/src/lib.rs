//! `market`: research tools (declarative: prompts and an evaluation, never code) and data sets.
//!
//! Its entry methods are those of every listing contract ([`starling_contract_common::listings`]); it takes tools and data sets.

// What `#[near]` writes finds our JSON and state by this name.
extern crate starling_contract_common as near_sdk;

use starling_contract_common::{listing_contract, listings::prelude::*};

listing_contract! {
    standard: MARKET_STANDARD,
    kinds: [Kind::Tool, Kind::Dataset],
    own: |deployment| &deployment.market,
}
