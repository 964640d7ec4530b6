//! A chain with a rich root account, for these tests.

use near_crypto::Signer;
use near_primitives::types::{AccountId, Balance, Gas};
use near_primitives::views::{FinalExecutionOutcomeView, FinalExecutionStatus};
use starling_localnet::testing::{signer_from_seed, tiny_contract};
use starling_localnet::{Clock, Localnet, LocalnetBuilder};

pub(crate) fn id(name: &str) -> AccountId {
    name.parse().expect("a valid account id")
}

pub(crate) fn near(amount: u128) -> Balance {
    Balance::from_near(amount)
}

pub(crate) fn tgas(amount: u64) -> Gas {
    Gas::from_teragas(amount)
}

pub(crate) fn signer(name: &str) -> Signer {
    signer_from_seed(&id(name), name)
}

pub(crate) fn builder() -> LocalnetBuilder {
    Localnet::builder().chain_id("localnet-test").account(id("root"), signer("root").public_key(), near(1_000_000)).clock(Clock::Steps)
}

pub(crate) fn chain() -> Localnet {
    builder().build().expect("the chain starts")
}

/// An account under root with 100 NEAR, its name being its seed.
pub(crate) fn account(chain: &Localnet, name: &str) -> Signer {
    let signer = signer(name);
    chain.create_account(&crate::common::signer("root"), &id(name), signer.public_key(), near(100)).expect("the account is created");
    signer
}

/// An account with the tiny contract.
pub(crate) fn contract(chain: &Localnet, name: &str) -> Signer {
    let signer = account(chain, name);
    chain.deploy(&signer, tiny_contract()).expect("the contract is deployed");
    signer
}

pub(crate) fn call(chain: &Localnet, signer: &Signer, contract: &str, method: &str, args: &[u8]) -> FinalExecutionOutcomeView {
    chain.call(signer, &id(contract), method, args.to_vec(), tgas(100), Balance::ZERO).expect("the transaction is accepted")
}

pub(crate) fn value(outcome: &FinalExecutionOutcomeView) -> Vec<u8> {
    match &outcome.status {
        FinalExecutionStatus::SuccessValue(value) => value.clone(),
        other => panic!("expected success, found {other:?}"),
    }
}

pub(crate) fn failure(outcome: &FinalExecutionOutcomeView) -> String {
    match &outcome.status {
        FinalExecutionStatus::Failure(error) => error.to_string(),
        other => panic!("expected a failure, found {other:?}"),
    }
}

/// The books balance: what there was is what accounts hold and what was burnt.
pub(crate) fn assert_supply_holds(chain: &Localnet) {
    let mut burnt = Balance::ZERO;
    let mut block = chain.head();
    let supply = block.total_supply;
    assert_eq!(chain.sum_of_balances().expect("the state is sound"), supply);
    while let Some(height) = block.prev_height {
        burnt = burnt.checked_add(block.burnt).expect("no overflow");
        block = chain.block(height).expect("the store works").expect("the block is there");
    }
    assert_eq!(block.total_supply.checked_sub(burnt), Some(supply));
}
