//! `hub` and `market` on the embedded chain: publishing, licences and uses paid through `billing` in NEAR and tokens, royalties to the unit, ratings, and what strangers cannot do.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod licences;
mod lineage;
mod metered;
mod prices;
mod publishing;
mod ratings;
mod shops;
mod splits;
mod walks;
