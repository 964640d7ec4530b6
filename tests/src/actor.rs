//! Someone with an account and a key.

use crate::Harness;
use near_workspaces::{Account, types::SecretKey};
use starling_contract_api::rpc::Signer;
use starling_primitives::{AccountId, PublicKey, Signature};

/// An account with one of its keys: full access, or one that was added for a purpose.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Its name.
    pub account: AccountId,
    /// Its key.
    pub signer: Signer,
    pub(crate) near: Account,
}

impl Actor {
    pub(crate) fn new(harness: &Harness, signer: Signer) -> anyhow::Result<Self> {
        let secret: SecretKey = signer.secret_text().parse()?;
        let near = Account::from_secret_key(signer.account().as_str().parse()?, secret, &harness.worker);
        Ok(Self { account: signer.account().clone(), signer, near })
    }

    /// The key's public half.
    pub fn public_key(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// Signs bytes that a contract will check.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        self.signer.sign_bytes(bytes)
    }
}
