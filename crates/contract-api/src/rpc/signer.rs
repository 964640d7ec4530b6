//! Keys of native programs, in NEAR's credential file form.

use near_primitives::types::AccountId as NearAccountId;
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, PublicKey, Signature};
use std::{fs, io, path::Path};

/// An account with one of its ed25519 keys. Debug shows the public key only.
#[derive(Clone)]
pub struct Signer {
    account: AccountId,
    key: ed25519_dalek::SigningKey,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {path} cannot be used: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no NEAR credential.
    #[error("the key file {0} is not a NEAR credential: it must hold account_id, public_key and private_key (ed25519)")]
    Malformed(String),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers for a key")]
    Random,
}

#[derive(Serialize, Deserialize)]
struct Credential {
    account_id: AccountId,
    public_key: PublicKey,
    private_key: String,
}

impl Signer {
    /// A new random key for an account.
    pub fn generate(account: AccountId) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| KeyError::Random)?;
        Ok(Self::from_seed(account, seed))
    }

    /// The key that a seed gives.
    pub fn from_seed(account: AccountId, seed: [u8; 32]) -> Self {
        Self { account, key: ed25519_dalek::SigningKey::from_bytes(&seed) }
    }

    /// The same key, as a key of another account.
    pub fn on(&self, account: AccountId) -> Self {
        Self { account, key: self.key.clone() }
    }

    /// Reads a NEAR credential file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = fs::read_to_string(path).map_err(|source| KeyError::File { path: path.display().to_string(), source })?;
        let malformed = || KeyError::Malformed(path.display().to_string());
        let credential: Credential = serde_json::from_str(&text).map_err(|_| malformed())?;
        let secret = credential.private_key.strip_prefix("ed25519:").ok_or_else(malformed)?;
        let pair: [u8; 64] = bs58::decode(secret).into_vec().map_err(|_| malformed())?.try_into().map_err(|_| malformed())?;
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(&pair).map_err(|_| malformed())?;
        if key.verifying_key().to_bytes() != credential.public_key.0 {
            return Err(malformed());
        }
        Ok(Self { account: credential.account_id, key })
    }

    /// Writes a NEAR credential file that only its owner may read; replaces none.
    pub fn write_file(&self, path: &Path) -> Result<(), KeyError> {
        let credential = Credential { account_id: self.account.clone(), public_key: self.public_key(), private_key: self.secret_text() };
        let text = serde_json::to_string_pretty(&credential).map_err(|_| KeyError::Malformed(path.display().to_string()))?;
        let failed = |source| KeyError::File { path: path.display().to_string(), source };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
    }

    /// Whose key it is.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Signs any bytes.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        Signature(ed25519_dalek::Signer::sign(&self.key, bytes).to_bytes())
    }

    /// The secret in NEAR's text form. A secret: for files and for NEAR's own libraries only.
    pub fn secret_text(&self) -> String {
        format!("ed25519:{}", bs58::encode(self.key.to_keypair_bytes()).into_string())
    }

    pub(super) fn near_account(&self) -> NearAccountId {
        near_account(&self.account)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({}, {})", self.account, self.public_key())
    }
}

pub(super) fn near_account(account: &AccountId) -> NearAccountId {
    account.as_str().parse().expect("our account names follow NEAR's rule")
}

/// Strict ed25519: refuses small-order keys and malleable signatures.
pub fn verify(key: &PublicKey, bytes: &[u8], signature: &Signature) -> bool {
    let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&key.0) else {
        return false;
    };
    key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
}
