//! `hub`: models with versions, lineage and licences.
//!
//! Its entry methods are those of every listing contract ([`starling_contract_common::listings`]); it takes models.

// What `#[near]` writes finds our JSON and state by this name.
extern crate starling_contract_common as near_sdk;

use starling_contract_common::{listing_contract, listings::prelude::*};

listing_contract! {
    standard: HUB_STANDARD,
    kinds: [Kind::Model],
    own: |deployment| &deployment.hub,
}
