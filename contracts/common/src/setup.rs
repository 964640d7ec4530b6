//! What each contract is told at deployment, and what follows from it.

use crate::{current, predecessor, require, require_one_yocto};
use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::env;
use starling_contract_api::{Deployment, InitArgs};
use starling_primitives::AccountId;
use starling_protocol::signing::Domain;

/// Owner, deployment and pause of a contract.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct Setup {
    /// Approves upgrades and pauses; never the coordinator.
    pub owner: AccountId,
    /// The deployment that the contract is part of.
    pub deployment: Deployment,
    /// Whether what comes in is refused. What leaves never is.
    pub paused: bool,
}

impl Setup {
    /// Takes the arguments of `new`. Panics unless this account is `own(&deployment)` and the chain is the deployment's.
    pub fn new(args: &InitArgs, own: impl Fn(&Deployment) -> &AccountId) -> Self {
        require(*own(&args.deployment) == current(), "the deployment names another account for this contract");
        require(args.deployment.chain_id == env::chain_id(), "the deployment names another chain");
        Self { owner: args.owner.clone(), deployment: args.deployment.clone(), paused: false }
    }

    /// The domain of what is signed for this contract. It takes the chain's name from the chain itself: a fork under another name takes no old signature.
    pub fn domain(&self) -> Domain {
        Domain { chain_id: env::chain_id(), contract: current(), instance: self.deployment.instance }
    }

    /// Panics while the contract is paused.
    pub fn require_running(&self) {
        require(!self.paused, "the contract is paused: it takes nothing new, and money leaves as before");
    }

    /// Panics unless the owner calls with one yocto.
    pub fn require_owner(&self) {
        require_one_yocto();
        require(predecessor() == self.owner, "only the owner may do this");
    }

    /// Panics unless `billing` calls.
    pub fn require_billing(&self) {
        require(predecessor() == self.deployment.billing, "only billing may do this");
    }

    /// `set_paused` of each contract.
    pub fn set_paused(&mut self, paused: bool) {
        self.require_owner();
        self.paused = paused;
    }
}
