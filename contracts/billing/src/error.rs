//! Why `billing` refuses.

use starling_contract_api::billing::MAX_TOKENS;
use starling_primitives::{AccountId, Amount, AmountError, Asset, EscrowId};
use starling_protocol::{
    escrow::EscrowError,
    session_key::{MAX_KEYS, MAX_TARGETS, SessionKeyError},
    split::SplitError,
};

/// Why a call was refused. The transaction fails, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// The account has no record.
    #[error("{0} is not registered: call deposit or storage_deposit first")]
    NotRegistered(AccountId),
    /// The record is gone or never was.
    #[error("there is no escrow {0}: it never was, or it is spent")]
    NoSuchEscrow(EscrowId),
    /// The attached deposit is too small.
    #[error("attach at least {needed} yoctoNEAR, {attached} are attached")]
    DepositTooSmall {
        /// What is needed.
        needed: Amount,
        /// What is attached.
        attached: Amount,
    },
    /// The balance is too small.
    #[error("the balance is too small: {needed} units of {asset} are needed, {balance} are there")]
    BalanceTooSmall {
        /// What is needed.
        needed: Amount,
        /// What is there.
        balance: Amount,
        /// Of which asset.
        asset: Asset,
    },
    /// The token was never on the list, or is not any more, or cannot be put on it.
    #[error("{0} is not a token that is taken: the owner lists at most {MAX_TOKENS} by set_token, never this contract")]
    TokenNotListed(AccountId),
    /// Nobody opened it.
    #[error("there is no split {0}: open it with its shares by open_split")]
    NoSuchSplit(AccountId),
    /// The contract is paused.
    #[error("the contract is paused: it takes no new payments, and money leaves as before")]
    Paused,
    /// Too little gas for the question and its callback.
    #[error("attach more gas: 100 Tgas to pay, 180 to pay by ft_transfer_call, 80 to confirm")]
    TooLittleGas,
    /// A voucher's signature is not the key's.
    #[error("the voucher is not signed by the escrow's voucher key for this chain, contract and instance")]
    NotSigned,
    /// The storage credit is too small.
    #[error("the storage credit is too small: {needed} yoctoNEAR are needed, {available} are free; call storage_deposit")]
    StorageTooSmall {
        /// What is needed.
        needed: Amount,
        /// What is free.
        available: Amount,
    },
    /// Something is left.
    #[error("the account cannot end its registration: {0}")]
    StillInUse(&'static str),
    /// Nothing to send.
    #[error("there is nothing to withdraw")]
    NothingToWithdraw,
    /// Too many escrows of one payer.
    #[error("the payer has too many escrows that are not spent")]
    TooManyEscrows,
    /// Neither one yocto nor a session key.
    #[error("attach exactly 1 yoctoNEAR, or call with a registered session key of the same account")]
    NoAuthority,
    /// The key cannot be registered.
    #[error(
        "the session key: it wants 1 to {MAX_TARGETS} targets and an expiry ahead, may be registered once, and an account has {MAX_KEYS} at most"
    )]
    SessionKeyTerms,
    /// The key is not there.
    #[error("there is no such session key")]
    NoSuchKey,
    /// Not the payer, or not the arbiter.
    #[error("only the escrow's {0} may do this")]
    NotYours(&'static str),
    /// The target is this contract.
    #[error("billing cannot be paid through itself")]
    OwnTarget,
    /// Books and escrow disagree; never reached.
    #[error("the books do not balance")]
    Unbalanced,
    /// The rule of escrow refused.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// The session key's rule refused.
    #[error(transparent)]
    SessionKey(#[from] SessionKeyError),
    /// The split's rule refused.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}
