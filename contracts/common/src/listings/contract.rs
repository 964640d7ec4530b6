//! The entry methods that `hub` and `market` share.

/// Writes a listing contract: its state and its entry methods. `standard` names its events, `kinds` is what it takes, `own` its account in the deployment.
///
/// An entry method parses, authorises, asks the [`Shelf`](crate::listings::Shelf), which follows the rules of `starling_protocol::listing`, logs, and only then makes promises.
#[macro_export]
macro_rules! listing_contract {
    (standard: $standard:expr, kinds: $kinds:expr, own: $own:expr $(,)?) => {
        /// What this contract takes.
        const KINDS: &[::starling_protocol::listing::Kind] = &$kinds;

        /// The state.
        #[derive(::near_sdk::PanicOnDefault)]
        #[::near_sdk::near(contract_state, contract_metadata(standard(standard = "nep297", version = "1.0.0")))]
        pub struct Contract {
            setup: Setup,
            shelf: Shelf,
        }

        impl Forms<Self> for Contract {
            const VERSION: u8 = STATE_VERSION;

            fn from_version(version: u8, bytes: &[u8]) -> Option<Self> {
                let (setup, shelf) = earlier_state(version, bytes)?;
                Some(Self { setup, shelf })
            }
        }

        #[::near_sdk::near]
        impl Contract {
            /// Sets the contract up, once.
            ///
            /// Access: whoever deploys, in the same transaction. Deposit: none. State change: owner and deployment; fee and stake are other contracts' matter. Events: none.
            #[init]
            pub fn new(owner: AccountId, deployment: Deployment, fee: BasisPoints, min_stake: Amount) -> Self {
                Self { setup: Setup::new(&InitArgs { owner, deployment, fee, min_stake }, $own), shelf: Shelf::new() }
            }

            /// Publishes under the caller's name; its ancestors' shares are fixed for good. The arguments are those of [`PublishArgs`]. Answers the name.
            ///
            /// Access: anyone; each parent must be on the list here, and the caller licensed where it has a price. Deposit: storage, `storage_price` at most. Gas: 30 T.
            /// State change: a listing with its first version. Events: `listing_published`. Refund: what storage does not need.
            #[payable]
            pub fn publish(&mut self) -> AssetName {
                self.setup.require_running();
                let usage = env::storage_usage();
                let event = self.shelf.publish(input(), predecessor(), KINDS, now()).or_panic();
                log(&event);
                charge_growth(usage);
                match event {
                    ListingEvent::ListingPublished { listing } => listing.name,
                    _ => env::panic_str("publishing answers a listing"),
                }
            }

            /// Adds a version. Earlier versions stay as they are.
            ///
            /// Access: its publisher. Deposit: storage. Gas: 30 T. State change: one more version. Events: `version_added`. Refund: what storage does not need.
            #[payable]
            pub fn add_version(&mut self, name: AssetName, files: Vec<File>, run_id: Option<RunId>, note: Text<280>) {
                self.setup.require_running();
                let usage = env::storage_usage();
                log(&self.shelf.add_version(name, files, run_id, note, &predecessor(), now()).or_panic());
                charge_growth(usage);
            }

            /// Changes the prices of licences and uses to come and what they are counted in; payments under way and open uses keep theirs.
            ///
            /// Access: its publisher's full-access key. Deposit: 1 yocto, and storage where the prices need more. Gas: 10 T. State change: the prices. Events: `price_set`.
            /// Refund: what storage does not need, and what the prices need less.
            #[payable]
            pub fn set_price(&mut self, name: AssetName, asset: Asset, price: Amount, price_per_use: Option<Amount>) {
                require_deposit();
                let usage = env::storage_usage();
                log(&self.shelf.set_price(name, asset, price, price_per_use, &predecessor()).or_panic());
                charge_change(usage);
            }

            /// Takes a listing off the list for good. Licences stay valid, and what was made from it keeps its shares.
            ///
            /// Access: its publisher. Deposit: 1 yocto. Gas: 10 T. State change: no licence is sold and nothing is published from it any more. Events: `listing_delisted`. Refund: none.
            #[payable]
            pub fn delist(&mut self, name: AssetName) {
                require_one_yocto();
                log(&self.shelf.delist(name, &predecessor()).or_panic());
            }

            /// Sells a licence or metered use, or refuses by failing: a licence for another amount or asset than the price, a second time, or of what needs none; a use for less than its
            /// price, or without a voucher key.
            ///
            /// Access: `billing`. Deposit: storage, forwarded from the payer. Gas: 30 T. State change: a licence or use that waits for `on_opened`. Events: `licence_paid` or `use_paid`.
            /// Refund: with `on_opened` or `forget_payment`. Answers the escrow's terms. A licence: ancestors' shares and the publisher's rest posted at once, then closed. A use: vouchers
            /// of the payer's key, divided by the same shares, for six days and a day's grace.
            #[payable]
            pub fn on_payment(
                &mut self,
                escrow_id: EscrowId,
                payer: AccountId,
                asset: Asset,
                amount: Amount,
                bounds: Bounds,
                msg: PaymentMsg,
            ) -> OpenTerms {
                self.setup.require_billing();
                self.setup.require_running();
                let offered = PaymentOffered { escrow_id, payer, asset, amount, bounds, msg };
                let (event, terms) = self.shelf.accept(offered, attached(), now()).or_panic();
                log(&event);
                terms
            }

            /// Hears that an escrow is open: the licence holds, or the use is open. A repeated notice changes nothing.
            ///
            /// Access: `billing`. Deposit: none. Gas: 10 T. State change: the licence and the listing's count of those sold, or the use. Events: `licence_granted` or `use_opened`.
            /// Refund: what was forwarded for storage and is not needed, to the holder's account.
            pub fn on_opened(&mut self, escrow_id: EscrowId) {
                self.setup.require_billing();
                let Some((event, holder, back)) = self.shelf.grant(escrow_id).or_panic() else {
                    return;
                };
                log(&event);
                send(&holder, back);
            }

            /// Takes a licence of what costs nothing, for good: whatever it costs later, and so that it can be rated.
            ///
            /// Access: anyone but the publisher. Deposit: storage. Gas: 20 T. State change: the licence. Events: `licence_taken`. Refund: what storage does not need.
            #[payable]
            pub fn take_licence(&mut self, name: AssetName) {
                self.setup.require_running();
                let (event, back) = self.shelf.take(name, predecessor(), attached(), now()).or_panic();
                log(&event);
                refund(back);
            }

            /// Rates a listing with 1 to 5 stars and a few words, in the place of what the caller said before.
            ///
            /// Access: a full-access key of whoever holds a licence, never the publisher. Deposit: storage, 1 yocto at least. Gas: 20 T. State change: the rating, and the listing's
            /// sum. Events: `rated`. Refund: what storage does not need, and what a shorter text needs less.
            #[payable]
            pub fn rate(&mut self, name: AssetName, stars: Stars, text: Text<280>) {
                self.setup.require_running();
                require_deposit();
                let usage = env::storage_usage();
                log(&self.shelf.rate(name, stars, text, predecessor(), now()).or_panic());
                charge_change(usage);
            }

            /// Removes a metered use that is over.
            ///
            /// Access: anyone, after its time. Deposit: none. Gas: 20 T. State change: the record goes. Events: `use_forgotten`. Refund: the storage deposit, to the holder's account.
            pub fn forget_use(&mut self, holder: AccountId, name: AssetName) {
                let (event, back) = self.shelf.forget_use(&holder, name, now()).or_panic();
                log(&event);
                send(&holder, back);
            }

            /// Removes a purchase that was accepted here and never opened.
            ///
            /// Access: anyone, an hour after the hold deadline. Deposit: none. Gas: 20 T. State change: the record goes. Events: `payment_forgotten`.
            /// Refund: the storage deposit, to the payer's account.
            pub fn forget_payment(&mut self, escrow_id: EscrowId) {
                let (event, holder, back) = self.shelf.forget(escrow_id, now()).or_panic();
                log(&event);
                send(&holder, back);
            }

            /// Refuses or takes new listings, versions and payments. Licences and payments under way go on.
            ///
            /// Access: owner. Deposit: 1 yocto. Gas: 10 T. State change: the pause. Events: `paused_set`. Refund: none.
            #[payable]
            pub fn set_paused(&mut self, paused: bool) {
                self.setup.set_paused(paused);
                log(&ListingEvent::PausedSet { paused });
            }

            /// How the contract is set up.
            pub fn config(&self) -> Config {
                Config { owner: self.setup.owner.clone(), deployment: self.setup.deployment.clone(), paused: self.setup.paused }
            }

            /// What a listing of one version costs to store at its largest.
            pub fn storage_price(&self) -> Amount {
                bytes_cost(LISTING_BYTES)
            }

            /// A listing with its last version only.
            pub fn listing(&self, name: AssetName) -> Option<Listing> {
                self.shelf.listing(&name)
            }

            /// The versions of a listing from number `from` on (counted from 0), as many as fit a page.
            pub fn versions(&self, name: AssetName, from: u32, limit: u32) -> Vec<Version> {
                self.shelf.versions(&name, from, limit)
            }

            /// How many places `listings` goes through, delisted ones included.
            pub fn listings_count(&self, category: Option<Category>) -> u64 {
                self.shelf.listings_count(category)
            }

            /// Listings from place `from` on, delisted ones included, each with its last version only: as many as fit a page.
            pub fn listings(&self, category: Option<Category>, from: u64, limit: u32) -> Vec<Listing> {
                self.shelf.listings(category, from, limit)
            }

            /// What was answered to a payment that is still pending; nothing else.
            pub fn payment_answer(&self, escrow_id: EscrowId) -> Option<OpenTerms> {
                self.shelf.answer(escrow_id)
            }

            /// A holder's licence of a listing.
            pub fn licence(&self, holder: AccountId, name: AssetName) -> Option<Licence> {
                self.shelf.licence(holder, name)
            }

            /// How many places `licences_of` goes through, pending ones included.
            pub fn licences_count(&self, holder: AccountId) -> u64 {
                self.shelf.licences_count(&holder)
            }

            /// A holder's licences of the `limit` places from place `from` on; 8 places at most.
            pub fn licences_of(&self, holder: AccountId, from: u64, limit: u32) -> Vec<Licence> {
                self.shelf.licences_of(&holder, from, limit)
            }

            /// Whether an account may use an asset now: it costs nothing, is its own, is licensed, or a metered use of it is open.
            pub fn may_use(&self, account: AccountId, name: AssetName) -> bool {
                self.shelf.may_use(&account, &name, now())
            }

            /// An account's last metered use of an asset, open or over.
            pub fn metered_use(&self, holder: AccountId, name: AssetName) -> Option<MeteredUse> {
                self.shelf.metered_use(holder, name)
            }

            /// What a holder says of a listing.
            pub fn rating(&self, rater: AccountId, name: AssetName) -> Option<Rating> {
                self.shelf.rating(rater, name)
            }

            /// Ratings of a listing at the `limit` places from place `from` on, in the order in which their raters first spoke; 8 places at most.
            pub fn ratings(&self, name: AssetName, from: u64, limit: u32) -> Vec<Rating> {
                self.shelf.ratings(&name, from, limit)
            }
        }

        $crate::upgrade_methods!($standard, |_| Amount::ZERO);

        fn log(event: &ListingEvent) {
            emit($standard, event);
        }
    };
}

/// What the entry methods are written with.
pub mod prelude {
    pub use crate::{
        Forms, OrPanic, Setup, attached, bytes_cost, charge_change, charge_growth, emit, input,
        listings::{STATE_VERSION, Shelf, earlier_state},
        now, predecessor, refund, require_deposit, require_one_yocto, send,
    };
    pub use near_sdk::env;
    pub use starling_contract_api::{
        Deployment, InitArgs,
        hub::{Config, HUB_STANDARD, LISTING_BYTES, Licence, ListingEvent, MARKET_STANDARD, MeteredUse, PublishArgs},
        payment::{PaymentMsg, PaymentOffered},
    };
    pub use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, EscrowId, RunId, Text};
    pub use starling_protocol::{
        escrow::{Bounds, OpenTerms},
        listing::{Category, File, Kind, Listing, Rating, Stars, Version},
    };
}
