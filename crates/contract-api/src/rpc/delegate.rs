//! What an account signed for somebody else to send (NEP-366), and accounts that somebody else makes for it.

use super::{Action, AddKeyAction, CreateAccountAction, Outcome, RpcClient, RpcError, Signer, TransferAction};
use near_primitives::{account::AccessKey, action::delegate::SignedDelegateAction, types::Balance};
use starling_primitives::{AccountId, Amount, PublicKey};

/// One call that `sender` signed and somebody else may send. Its signature was checked; whether its key belongs to the sender, and its nonce, the chain says.
#[derive(Clone, Debug)]
pub struct Delegated {
    /// What was signed.
    pub call: DelegatedCall,
    signed: SignedDelegateAction,
}

/// What stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegatedCall {
    /// Who signed.
    pub sender: AccountId,
    /// The contract.
    pub contract: AccountId,
    /// The method.
    pub method: String,
    /// Length of the arguments.
    pub args_bytes: usize,
    /// Attached gas.
    pub gas: u64,
    /// Attached yoctoNEAR, which whoever sends it pays.
    pub deposit: Amount,
}

/// Why it cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegatedError {
    /// Not the bytes of a signed delegate action.
    #[error("these are not the bytes of a signed delegate action (NEP-366, borsh)")]
    Malformed,
    /// The signature is not of its key.
    #[error("the signature is not one of the delegate action by the key that it names")]
    Signature,
    /// Other than one function call.
    #[error("a delegate action that is sent for someone holds exactly one function call")]
    NotOneCall,
}

impl Delegated {
    /// Reads and checks the borsh of a signed delegate action.
    pub fn read(bytes: &[u8]) -> Result<Self, DelegatedError> {
        let signed: SignedDelegateAction = borsh::from_slice(bytes).map_err(|_| DelegatedError::Malformed)?;
        if !signed.verify() {
            return Err(DelegatedError::Signature);
        }
        let delegate = &signed.delegate_action;
        let actions = delegate.get_actions();
        let [Action::FunctionCall(call)] = actions.as_slice() else {
            return Err(DelegatedError::NotOneCall);
        };
        let account = |name: &near_primitives::types::AccountId| AccountId::new(name.as_str()).map_err(|_| DelegatedError::Malformed);
        let what = DelegatedCall {
            sender: account(&delegate.sender_id)?,
            contract: account(&delegate.receiver_id)?,
            method: call.method_name.clone(),
            args_bytes: call.args.len(),
            gas: call.gas.as_gas(),
            deposit: Amount(call.deposit.as_yoctonear()),
        };
        Ok(Self { call: what, signed })
    }
}

impl RpcClient {
    /// Sends what another account signed, at `relayer`'s cost. A delegate action that the chain refuses is [`RpcError::Failed`]; a call that fails inside it
    /// shows in [`Outcome::receipt_failures`] alone.
    pub async fn relay(&self, relayer: &Signer, delegated: Delegated) -> Result<Outcome, RpcError> {
        self.transact(relayer, &delegated.call.sender, vec![Action::from(delegated.signed)]).await
    }

    /// Makes an account with a full-access key and `balance`, at `payer`'s cost; it must be one directly below `payer`. With nothing on it, it lives by NEP-448.
    pub async fn create_account(&self, payer: &Signer, account: &AccountId, key: &PublicKey, balance: Amount) -> Result<Outcome, RpcError> {
        let mut actions = vec![
            Action::CreateAccount(CreateAccountAction {}),
            Action::AddKey(Box::new(AddKeyAction {
                public_key: near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(key.0)),
                access_key: AccessKey::full_access(),
            })),
        ];
        if !balance.is_zero() {
            actions.push(Action::Transfer(TransferAction { deposit: Balance::from_yoctonear(balance.0) }));
        }
        self.transact(payer, account, actions).await
    }
}

#[cfg(test)]
#[path = "delegate_tests.rs"]
mod tests;
