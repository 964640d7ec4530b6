//! Short ways to act on a chain, for tests and scripts that want no socket.

mod tiny;

use near_crypto::{InMemorySigner, KeyType, PublicKey, SecretKey, Signer};
use near_primitives::account::AccessKey;
use near_primitives::action::{AddKeyAction, CreateAccountAction, DeployContractAction, TransferAction};
use near_primitives::transaction::{Action, FunctionCallAction, SignedTransaction, Transaction, TransactionV0};
use near_primitives::types::{AccountId, Balance, Gas};
use near_primitives::views::{FinalExecutionOutcomeView, FinalExecutionStatus};

use crate::builder::BlockMode;
use crate::error::LocalnetError;
use crate::node::Localnet;

pub use tiny::tiny_contract;

/// A signer whose key follows from a text: for tests only.
#[must_use]
pub fn signer_from_seed(account_id: &AccountId, seed: &str) -> Signer {
    let secret_key = SecretKey::from_seed(KeyType::ED25519, seed);
    InMemorySigner::from_secret_key(account_id.clone(), secret_key)
}

impl Localnet {
    /// Signs `actions` with the key's next nonce over the last block's hash.
    ///
    /// # Errors
    /// [`LocalnetError::UnknownAccount`] when the signer's key is not on its account.
    pub fn sign(&self, signer: &Signer, receiver_id: &AccountId, actions: Vec<Action>) -> Result<SignedTransaction, LocalnetError> {
        let signer_id = signer.get_account_id();
        let key = self.access_key(&signer_id, &signer.public_key())?.ok_or_else(|| LocalnetError::UnknownAccount(signer_id.clone()))?;
        let transaction = Transaction::V0(TransactionV0 {
            signer_id,
            public_key: signer.public_key(),
            nonce: key.nonce + 1,
            receiver_id: receiver_id.clone(),
            block_hash: self.head().hash,
            actions,
        });
        let hash = transaction.get_hash_and_size().0;
        Ok(SignedTransaction::new(signer.sign(hash.as_ref()), transaction))
    }

    /// Signs, sends, and runs the transaction to its end, whatever the block mode; the outcome may be a failure.
    ///
    /// # Errors
    /// As [`Localnet::send_tx`].
    pub fn transact(
        &self,
        signer: &Signer,
        receiver_id: &AccountId,
        actions: Vec<Action>,
    ) -> Result<FinalExecutionOutcomeView, LocalnetError> {
        let hash = self.send_tx(self.sign(signer, receiver_id, actions)?)?;
        while self.block_mode() == BlockMode::Manual && !self.is_finished(&hash)? {
            self.produce_block()?;
        }
        let mut head = self.watch_head();
        while !self.is_finished(&hash)? {
            head.borrow_and_update();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.tx_outcome(&hash)
    }

    fn is_finished(&self, hash: &near_primitives::hash::CryptoHash) -> Result<bool, LocalnetError> {
        let status = self.tx_status(hash)?;
        Ok(status.is_some_and(|status| status.progress == near_primitives::views::TxExecutionStatus::Final))
    }

    /// Creates an account with one full-access key.
    ///
    /// # Errors
    /// [`LocalnetError::ExecutionFailed`] when the chain refuses it.
    pub fn create_account(
        &self,
        creator: &Signer,
        account_id: &AccountId,
        public_key: PublicKey,
        balance: Balance,
    ) -> Result<FinalExecutionOutcomeView, LocalnetError> {
        let key = AddKeyAction { public_key, access_key: AccessKey::full_access() };
        let actions = vec![
            Action::CreateAccount(CreateAccountAction {}),
            Action::Transfer(TransferAction { deposit: balance }),
            Action::AddKey(Box::new(key)),
        ];
        expect_success(self.transact(creator, account_id, actions)?)
    }

    /// Deploys a contract to the signer's account.
    ///
    /// # Errors
    /// [`LocalnetError::ExecutionFailed`].
    pub fn deploy(&self, signer: &Signer, code: Vec<u8>) -> Result<FinalExecutionOutcomeView, LocalnetError> {
        let action = Action::DeployContract(DeployContractAction { code });
        expect_success(self.transact(signer, &signer.get_account_id(), vec![action])?)
    }

    /// Calls a method and gives the outcome, success or failure.
    ///
    /// # Errors
    /// As [`Localnet::send_tx`]: only when the transaction is refused.
    pub fn call(
        &self,
        signer: &Signer,
        contract: &AccountId,
        method: &str,
        args: Vec<u8>,
        gas: Gas,
        deposit: Balance,
    ) -> Result<FinalExecutionOutcomeView, LocalnetError> {
        let call = FunctionCallAction { method_name: method.to_owned(), args, gas, deposit };
        self.transact(signer, contract, vec![Action::FunctionCall(Box::new(call))])
    }

    /// Sends tokens.
    ///
    /// # Errors
    /// [`LocalnetError::ExecutionFailed`].
    pub fn transfer(&self, signer: &Signer, receiver_id: &AccountId, amount: Balance) -> Result<FinalExecutionOutcomeView, LocalnetError> {
        let action = Action::Transfer(TransferAction { deposit: amount });
        expect_success(self.transact(signer, receiver_id, vec![action])?)
    }
}

/// Turns a failed outcome into an error.
///
/// # Errors
/// [`LocalnetError::ExecutionFailed`] with the chain's reason.
pub fn expect_success(outcome: FinalExecutionOutcomeView) -> Result<FinalExecutionOutcomeView, LocalnetError> {
    match &outcome.status {
        FinalExecutionStatus::SuccessValue(_) => Ok(outcome),
        FinalExecutionStatus::Failure(error) => Err(LocalnetError::ExecutionFailed(error.to_string())),
        FinalExecutionStatus::NotStarted | FinalExecutionStatus::Started => {
            Err(LocalnetError::ExecutionFailed("the transaction did not finish".to_owned()))
        }
    }
}
