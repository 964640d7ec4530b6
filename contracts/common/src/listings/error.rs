//! Why `hub` and `market` refuse.

use starling_primitives::{AccountId, Amount, AmountError, AssetName, AssetNameError, EscrowId, TextError, TimestampMs};
use starling_protocol::listing::{Kind, ListingError};

/// Why a call was refused. The transaction fails, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShelfError {
    /// Models belong to `hub`, tools and data sets to `market`.
    #[error("this contract takes no listing of kind {0:?}: models go to hub, tools and data sets to market")]
    WrongKind(Kind),
    /// The name is in use.
    #[error("{0} is published already: add a version to it, or choose another name")]
    Taken(AssetName),
    /// No such listing.
    #[error("there is no listing {0}")]
    NoSuchListing(AssetName),
    /// Only its publisher may change a listing.
    #[error("only {0} may do this")]
    NotThePublisher(AccountId),
    /// A title is needed.
    #[error("a listing needs a title")]
    NoTitle,
    /// The publisher holds no licence of a parent.
    #[error("a licence of {0} is needed to publish what was made from it")]
    ParentNotLicensed(AssetName),
    /// A parent was taken off the list.
    #[error("{0} was taken off the list: nothing new is published from it")]
    ParentDelisted(AssetName),
    /// A payment for another contract.
    #[error("licences and uses are sold here, nothing else")]
    NotTaken,
    /// There is nothing to buy.
    #[error("{0} needs no licence: its price is 0; who wants to rate it takes one by take_licence")]
    Free(AssetName),
    /// A metered use is paid by vouchers of a key that the payer names.
    #[error("name the key whose vouchers pay for your use: bounds.voucher")]
    NoVoucherKey,
    /// There is no such use.
    #[error("there is no use of {0} by this account")]
    NoSuchUse(AssetName),
    /// The use is not over.
    #[error("the use is open until {0:?}")]
    UseOpen(TimestampMs),
    /// It must be bought.
    #[error("{0} has a price: buy a licence through billing")]
    NotFree(AssetName),
    /// The publisher needs no licence.
    #[error("{0} is your own: you need no licence")]
    OwnListing(AssetName),
    /// Licences are bought once.
    #[error("you hold a licence of {0} already")]
    LicensedAlready(AssetName),
    /// Another payment for the same licence may still open.
    #[error("a payment of yours for {name} is under way; possible again from {until:?}")]
    UnderWay {
        /// What is bought.
        name: AssetName,
        /// When a new payment is taken if that one never opens.
        until: TimestampMs,
    },
    /// Nothing is known of the escrow.
    #[error("escrow {0} waits for nothing here")]
    NoSuchPayment(EscrowId),
    /// The payment may still open.
    #[error("the payment may still be opened until {0:?}")]
    MayStillOpen(TimestampMs),
    /// The attached or forwarded storage deposit is too small.
    #[error("attach or forward at least {0} yoctoNEAR for storage")]
    StorageTooSmall(Amount),
    /// The name has not the form of one.
    #[error(transparent)]
    Name(#[from] AssetNameError),
    /// A text is too long or holds a control character.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The rule of listings refused.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}
