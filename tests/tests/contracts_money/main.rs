//! `billing` and `compute` on the embedded chain, reached by near-workspaces: every balance to the yocto.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod attached;
mod authority;
mod balances;
mod bonds;
mod books;
mod callbacks;
mod deadlines;
mod delegates;
mod escrows;
mod gas;
mod keys;
mod leases;
mod private_offers;
mod records;
mod relayers;
mod reputation;
mod rosters;
mod runs;
mod token_walks;
mod token_work;
mod tokens;
mod twice;
mod vouchers;
mod walks;

use starling_tests::Harness;

/// A chain with the two contracts that these tests need.
async fn money() -> anyhow::Result<Harness> {
    Harness::start_with(&["billing", "compute"]).await
}
