//! Session keys: function-call keys that may spend a balance within a cap, without a confirmation each time.

use crate::{BillingError, Contract, ContractExt, EscrowRecord, log};
use near_sdk::{env, near};
use starling_contract_api::{
    billing::SESSION_KEY_BYTES,
    events::{BillingEvent, Source},
    payment::storage_cost,
};
use starling_contract_common::{OrPanic, attached, now, predecessor, require_one_yocto, require_strong_key};
use starling_primitives::{AccountId, Amount, PublicKey, TimestampMs};
use starling_protocol::session_key::{MAX_KEYS, MAX_TARGETS, SessionKey};

/// How NEAR marks an ed25519 key.
const ED25519: u8 = 0;

#[near]
impl Contract {
    /// Registers a key of the caller that may spend up to `cap` of the balance on `targets` until `expires_at`. The cap is the greatest loss.
    ///
    /// Access: the account's full-access key. Deposit: 1 yocto. Gas: 10 T. State change: the key's record, at the caller's storage credit. Events: `session_key_added`. Refund: none.
    #[payable]
    pub fn add_session_key(&mut self, public_key: PublicKey, cap: Amount, expires_at: TimestampMs, targets: Vec<AccountId>) {
        require_one_yocto();
        require_strong_key(&public_key);
        let account = predecessor();
        let key = SessionKey { cap, spent: Amount::ZERO, expires_at, targets: targets.clone() };
        self.add_key(&account, public_key, key, now()).or_panic();
        log(&BillingEvent::SessionKeyAdded { account, public_key, cap, expires_at, targets });
    }

    /// Takes a key's right away.
    ///
    /// Access: the account's full-access key. Deposit: 1 yocto. Gas: 10 T. State change: the record goes, its storage credit is free. Events: `session_key_removed`. Refund: none.
    #[payable]
    pub fn remove_session_key(&mut self, public_key: PublicKey) {
        require_one_yocto();
        let account = predecessor();
        self.remove_key(&account, &public_key).or_panic();
        log(&BillingEvent::SessionKeyRemoved { account, public_key });
    }
}

impl Contract {
    /// Who says that `payer` spends `total` on `target`: a full-access key by one yocto, or a session key within its cap.
    ///
    /// A session key counts only where the caller is the signer: within a delegate action the signer is the relayer.
    pub(crate) fn authorise_spending(
        &mut self,
        payer: &AccountId,
        total: Amount,
        target: &AccountId,
        now: TimestampMs,
    ) -> Result<Source, BillingError> {
        match attached() {
            Amount(1) => return Ok(Source::Balance),
            Amount(0) if env::signer_account_id().as_str() == payer.as_str() => {}
            _ => return Err(BillingError::NoAuthority),
        }
        let signer = signer_key().ok_or(BillingError::NoAuthority)?;
        let mut keys = self.keys.get(payer).ok_or(BillingError::NoAuthority)?;
        let (_, key) = keys.iter_mut().find(|(key, _)| *key == signer).ok_or(BillingError::NoAuthority)?;
        *key = key.spend(total, target, now)?;
        self.keys.insert(payer, &keys);
        Ok(Source::SessionKey(signer))
    }

    /// Whether the caller may stop an escrow of its own: a full-access key by one yocto, or the session key that opened the escrow, while it is registered.
    pub(crate) fn require_opener(&self, record: &EscrowRecord, now: TimestampMs) -> Result<(), BillingError> {
        let payer = &record.escrow.payer;
        match attached() {
            Amount(1) => return Ok(()),
            Amount(0) if env::signer_account_id().as_str() == payer.as_str() => {}
            _ => return Err(BillingError::NoAuthority),
        }
        let opener = record.opened_by.filter(|opener| signer_key() == Some(*opener)).ok_or(BillingError::NoAuthority)?;
        let keys = self.keys.get(payer).unwrap_or_default();
        let holds = keys.iter().any(|(key, terms)| *key == opener && now < terms.expires_at);
        if holds { Ok(()) } else { Err(BillingError::NoAuthority) }
    }

    fn add_key(&mut self, account: &AccountId, public_key: PublicKey, key: SessionKey, now: TimestampMs) -> Result<(), BillingError> {
        let mut keys = self.keys.get(account).unwrap_or_default();
        let known = keys.iter().any(|(other, _)| *other == public_key);
        if known || keys.len() >= MAX_KEYS || key.targets.is_empty() || key.targets.len() > MAX_TARGETS || key.expires_at <= now {
            return Err(BillingError::SessionKeyTerms);
        }
        let mut record = self.account_record(account)?;
        record.use_storage(SESSION_KEY_BYTES)?;
        keys.push((public_key, key));
        self.accounts.insert(account, &record);
        self.keys.insert(account, &keys);
        Ok(())
    }

    fn remove_key(&mut self, account: &AccountId, public_key: &PublicKey) -> Result<(), BillingError> {
        let mut keys = self.keys.get(account).ok_or(BillingError::NoSuchKey)?;
        let place = keys.iter().position(|(key, _)| key == public_key).ok_or(BillingError::NoSuchKey)?;
        keys.remove(place);
        if keys.is_empty() {
            self.keys.remove(account)
        } else {
            self.keys.insert(account, &keys)
        }
        let mut record = self.account_record(account)?;
        record.storage_used = record.storage_used.checked_sub(storage_cost(SESSION_KEY_BYTES))?;
        self.accounts.insert(account, &record);
        Ok(())
    }
}

fn signer_key() -> Option<PublicKey> {
    match env::signer_account_pk().as_bytes() {
        [ED25519, key @ ..] => key.try_into().ok().map(PublicKey),
        _ => None,
    }
}
