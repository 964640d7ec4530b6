//! `billing`: balances, escrow, fees, session keys, in NEAR and in the NEP-141 tokens on its list.
//!
//! Callable by anyone unless said otherwise; *payer* means the escrow's payer with one yocto attached.

use crate::{
    AboutEscrow, Ask, Call, ONE_YOCTO, View,
    payment::{PayArgs, storage_cost},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, EscrowId, PublicKey, Signature, TimestampMs};
use starling_protocol::{
    escrow::{Escrow, MAX_PAYEES, Posting, Share},
    session_key::SessionKey,
    signing::Voucher,
};

/// Bytes of an account's record at its largest, without tokens.
pub const ACCOUNT_BYTES: u64 = 240;
/// Bytes of a token's balance in an account's record, taken from the account's storage credit when the first of the token comes in.
pub const TOKEN_BALANCE_BYTES: u64 = 90;
/// Bytes of an escrow's record and its place in the payer's list, without its payees.
pub const ESCROW_BASE_BYTES: u64 = 710;
/// Bytes of a payee in an escrow's record.
pub const PAYEE_BYTES: u64 = 132;
/// Bytes that an objection window adds to an escrow's record, without its payees.
pub const VESTING_BYTES: u64 = 96;
/// Bytes that an objection window adds to a payee.
pub const VESTING_PAYEE_BYTES: u64 = 128;
/// Bytes of a session key at its largest.
pub const SESSION_KEY_BYTES: u64 = 740;
/// Bytes of a split's record, without its recipients and tokens.
pub const SPLIT_BASE_BYTES: u64 = 130;
/// Bytes of a recipient in a split's record.
pub const RECIPIENT_BYTES: u64 = 86;
/// Bytes of a token in a split's record, without its recipients; taken from its account's storage credit when the first of the token is taken.
pub const SPLIT_TOKEN_BYTES: u64 = 73;
/// Bytes of what a recipient has taken of a token.
pub const TAKEN_BYTES: u64 = 16;
/// The most tokens that were ever on the list.
pub const MAX_TOKENS: usize = 16;
/// The most escrows of one payer that are not spent yet.
pub const MAX_ESCROWS: usize = 256;

/// Gas of a withdrawal of tokens: the token's `ft_transfer`, and a callback that can read whatever the token answers.
const TOKEN_WITHDRAWAL_TGAS: u64 = 40;

/// The storage deposit of an escrow with at most so many payees.
pub fn escrow_storage(max_payees: u16) -> Amount {
    storage_cost(ESCROW_BASE_BYTES + PAYEE_BYTES * u64::from(max_payees))
}

/// The storage deposit of an escrow with at most so many payees and an objection window; never more than [`Billing::pay_storage`].
pub fn vesting_escrow_storage(max_payees: u16) -> Amount {
    let (base, payee) = (ESCROW_BASE_BYTES + VESTING_BYTES, PAYEE_BYTES + VESTING_PAYEE_BYTES);
    storage_cost(base + payee * u64::from(max_payees))
}

/// The storage deposit of a split with so many recipients, its account not counted.
pub fn split_storage(recipients: usize) -> Amount {
    storage_cost(SPLIT_BASE_BYTES + RECIPIENT_BYTES * u64::try_from(recipients).unwrap_or(u64::MAX))
}

/// What opening a split with so many recipients takes: its storage, and its account's.
pub fn split_deposit(recipients: usize) -> Amount {
    Amount(split_storage(recipients).0.saturating_add(storage_cost(ACCOUNT_BYTES).0))
}

/// A split, and what each recipient may take now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitView {
    /// Its account, whose balances are divided.
    pub account: AccountId,
    /// Who has which share.
    pub shares: Vec<Share>,
    /// By asset, what is due to each, in the order of the shares.
    pub due: Vec<(Asset, Vec<Amount>)>,
}

/// An account in `billing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Free balances by asset; what may be withdrawn or spent.
    pub balances: Vec<(Asset, Amount)>,
    /// NEP-145 storage credit, total and free.
    pub storage: StorageBalance,
    /// Session keys.
    pub keys: Vec<(PublicKey, SessionKey)>,
}

/// NEP-145's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageBalance {
    /// Paid for storage.
    pub total: Amount,
    /// Of it not used.
    pub available: Amount,
}

/// NEP-145's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageBalanceBounds {
    /// What registering costs.
    pub min: Amount,
    /// No greatest.
    pub max: Option<Amount>,
}

/// An escrow with its number and what its parts sum to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowView {
    /// Its number.
    pub id: EscrowId,
    /// The record.
    pub escrow: Escrow,
    /// Free to be posted or returned.
    pub available: Amount,
    /// Not vested, or held back and undecided. A post whose objection window has passed is in it until the next call.
    pub pending: Amount,
    /// Earned for good, fee included.
    pub posted: Amount,
    /// Storage deposit that the payer put down for this record, returned when it goes.
    pub storage: Amount,
}

/// The contract's own sums in NEAR, for anyone who checks the invariant: holdings = balances + escrows + fees + storage + reserve + surplus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// All free balances in NEAR.
    pub balances: Amount,
    /// All that lies in escrows in NEAR (available, pending, unclaimed).
    pub escrows: Amount,
    /// The fee account.
    pub fees: Amount,
    /// All storage deposits.
    pub storage: Amount,
    /// NEAR that is leaving in transfers whose outcome is not known yet.
    pub in_flight: Amount,
    /// The account's whole balance, storage stake included, when asked.
    pub holdings: Amount,
}

/// The contract's own sums in one token. Invariant: what the token says that `billing` holds = balances + escrows + fees + surplus; a transfer that is under way
/// may have left already or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTotals {
    /// The token's contract.
    pub token: AccountId,
    /// Whether more of it is taken. What is here leaves in any case.
    pub listed: bool,
    /// All free balances.
    pub balances: Amount,
    /// All that lies in escrows.
    pub escrows: Amount,
    /// The fee account.
    pub fees: Amount,
    /// What is leaving in transfers whose outcome is not known yet.
    pub in_flight: Amount,
}

/// How `billing` is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Approves upgrades and pauses.
    pub owner: AccountId,
    /// The deployment it belongs to.
    pub deployment: crate::Deployment,
    /// The fee on what is posted, frozen in each escrow when it is paid.
    pub fee: BasisPoints,
    /// Whether new payments are refused. Money always leaves.
    pub paused: bool,
}

/// The arguments of [`Billing::post`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the method's arguments")]
pub struct PostArgs<'a> {
    pub escrow_id: EscrowId,
    pub seq: u64,
    pub postings: &'a [Posting],
    pub close: bool,
}

/// The contract at an account.
#[derive(Clone, Debug)]
pub struct Billing(pub AccountId);

impl Billing {
    /// NEP-145: registers `account` (or the caller). The rest above `min` stays as storage credit.
    pub fn storage_deposit(&self, account: Option<&AccountId>, registration_only: bool, deposit: Amount) -> Call {
        Call::new(&self.0, "storage_deposit", json!({"account_id": account, "registration_only": registration_only}), 10, deposit)
    }

    /// NEP-145: takes back unused storage credit. One yocto.
    pub fn storage_withdraw(&self, amount: Option<Amount>) -> Call {
        Call::new(&self.0, "storage_withdraw", json!({"amount": amount}), 15, ONE_YOCTO)
    }

    /// Credits the attached NEAR to the caller's balance, less what registering costs if the caller is new.
    pub fn deposit(&self, amount: Amount) -> Call {
        Call::new(&self.0, "deposit", json!({}), 10, amount)
    }

    /// NEP-145: ends the caller's registration and returns the storage deposit. One yocto; refused while anything is left (balance, escrows, session keys), `force` or not.
    pub fn storage_unregister(&self) -> Call {
        Call::new(&self.0, "storage_unregister", json!({"force": false}), 20, ONE_YOCTO)
    }

    /// Sends NEAR from the caller's balance to the caller; all of it when no amount is named. One yocto; a session key cannot.
    pub fn withdraw(&self, amount: Option<Amount>) -> Call {
        Call::new(&self.0, "withdraw", json!({"amount": amount}), 20, ONE_YOCTO)
    }

    /// Sends a token from the caller's balance to the caller; all of it when no amount is named. One yocto, which the token gets.
    pub fn withdraw_token(&self, token: &AccountId, amount: Option<Amount>) -> Call {
        let asset = Asset::Nep141(token.clone());
        Call::new(&self.0, "withdraw", json!({"amount": amount, "asset": asset}), TOKEN_WITHDRAWAL_TGAS, ONE_YOCTO)
    }

    /// Pays from the attached NEAR: holds `amount` for the target and asks it. Gives a [`crate::payment::PayResult`].
    /// `deposit` must cover `amount`, `storage`, [`Billing::pay_storage`] and, for a new caller, registration; what is left is credited to the caller's balance.
    pub fn pay(&self, args: &PayArgs, deposit: Amount) -> Call {
        Call::new(&self.0, "pay", json!(args), 100, deposit)
    }

    /// What a payment must add for billing's own record at its largest. The unused part is credited to the payer when the target answered, the rest when the record goes.
    pub fn pay_storage() -> Amount {
        escrow_storage(MAX_PAYEES)
    }

    /// Pays from the caller's balance (storage too): one yocto, or a session key within its cap.
    pub fn pay_from_balance(&self, args: &PayArgs, with_session_key: bool) -> Call {
        Call::new(&self.0, "pay_from_balance", json!(args), 100, if with_session_key { Amount::ZERO } else { ONE_YOCTO })
    }

    /// Pays a token from the caller's balance, and storage from its NEAR. One yocto: a session key spends NEAR only.
    pub fn pay_tokens_from_balance(&self, token: &AccountId, args: &PayArgs) -> Call {
        let mut call = self.pay_from_balance(args, false);
        call.args["asset"] = json!(Asset::Nep141(token.clone()));
        call
    }

    /// Asks the target again for its answer (its view `payment_answer`) when the first callback was lost; anyone, until `hold_deadline`. Of an open escrow it repeats
    /// `on_opened`. Gives a [`crate::payment::PayResult`].
    pub fn confirm(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "confirm", json!({"escrow_id": escrow_id}), 80, Amount::ZERO)
    }

    /// Returns a `Held` escrow after `hold_deadline`; anyone.
    pub fn void(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "void", json!({"escrow_id": escrow_id}), 30, Amount::ZERO)
    }

    /// New cumulative totals; the escrow's arbiter only. An old `seq` changes nothing. `close` ends posting and returns what is available.
    pub fn post(&self, escrow_id: EscrowId, seq: u64, postings: &[Posting], close: bool) -> Call {
        self.ask_post(escrow_id, seq, postings, close).into()
    }

    /// [`Billing::post`], asked by a contract.
    pub fn ask_post<'a>(&self, escrow_id: EscrowId, seq: u64, postings: &'a [Posting], close: bool) -> Ask<PostArgs<'a>> {
        Ask::new(&self.0, "post", PostArgs { escrow_id, seq, postings, close }, 60, Amount::ZERO)
    }

    /// Brings a voucher that the escrow's voucher key signed; anyone. An old `seq` changes nothing.
    pub fn redeem(&self, voucher: &Voucher, signature: &Signature) -> Call {
        Call::new(&self.0, "redeem", json!({"voucher": voucher, "signature": signature}), 20, Amount::ZERO)
    }

    /// Accepts the result: the holdback is earned. Payer.
    pub fn acknowledge(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "acknowledge", json!({"escrow_id": escrow_id}), 30, ONE_YOCTO)
    }

    /// Refuses the holdback while the availability window is open: it is returned, and counted publicly. Payer.
    pub fn refuse(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "refuse", json!({"escrow_id": escrow_id}), 60, ONE_YOCTO)
    }

    /// Objects to what has not vested: it is returned, nothing is posted any more, and the target hears of it. Payer, or the session key that opened the escrow.
    pub fn object(&self, escrow_id: EscrowId, with_session_key: bool) -> Call {
        let deposit = if with_session_key { Amount::ZERO } else { ONE_YOCTO };
        Call::new(&self.0, "object", json!({"escrow_id": escrow_id}), 60, deposit)
    }

    /// Asks for closing: seven days later anyone may close. Payer.
    pub fn ask_closing(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "ask_closing", json!({"escrow_id": escrow_id}), 10, ONE_YOCTO)
    }

    /// Moves the expiry later. Payer.
    pub fn extend(&self, escrow_id: EscrowId, until: TimestampMs) -> Call {
        Call::new(&self.0, "extend", json!({"escrow_id": escrow_id, "until": until}), 10, ONE_YOCTO)
    }

    /// Closes an escrow past expiry and grace, or past the closing period; anyone. Never calls the arbiter.
    pub fn close(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "close", json!({"escrow_id": escrow_id}), 30, Amount::ZERO)
    }

    /// Lets posts vest whose objection window is over, and the holdback once the availability window is; anyone.
    pub fn vest(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "vest", json!({"escrow_id": escrow_id}), 30, Amount::ZERO)
    }

    /// Credits what an account earned before it was registered, or has by a fixed part of all that is posted; anyone.
    pub fn claim(&self, escrow_id: EscrowId, account: &AccountId) -> Call {
        Call::new(&self.0, "claim", json!({"escrow_id": escrow_id, "account_id": account}), 20, Amount::ZERO)
    }

    /// Opens the split of these shares, and registers its account; anyone, once. `deposit` is for storage, [`split_deposit`]; the rest comes back.
    pub fn open_split(&self, shares: &[Share], deposit: Amount) -> Call {
        Call::new(&self.0, "open_split", json!({"shares": shares}), 20, deposit)
    }

    /// Credits a recipient with its share of what has come to a split; anyone.
    pub fn take_share(&self, split: &AccountId, recipient: &AccountId, asset: &Asset) -> Call {
        let args = json!({"split": split, "account_id": recipient, "asset": asset});
        Call::new(&self.0, "take_share", args, 20, Amount::ZERO)
    }

    /// Registers a function-call key that may spend up to `cap` on `targets`. One yocto. Stored at the caller's storage credit.
    pub fn add_session_key(&self, public_key: &PublicKey, cap: Amount, expires_at: TimestampMs, targets: &[AccountId]) -> Call {
        Call::new(
            &self.0,
            "add_session_key",
            json!({"public_key": public_key, "cap": cap, "expires_at": expires_at, "targets": targets}),
            10,
            ONE_YOCTO,
        )
    }

    /// Takes a session key's right away. One yocto.
    pub fn remove_session_key(&self, public_key: &PublicKey) -> Call {
        Call::new(&self.0, "remove_session_key", json!({"public_key": public_key}), 10, ONE_YOCTO)
    }

    /// Sends the fees to the owner; owner only.
    pub fn withdraw_fees(&self) -> Call {
        Call::new(&self.0, "withdraw_fees", json!({}), 20, ONE_YOCTO)
    }

    /// Sends the fees in a token to the owner; owner only.
    pub fn withdraw_token_fees(&self, token: &AccountId) -> Call {
        let asset = Asset::Nep141(token.clone());
        Call::new(&self.0, "withdraw_fees", json!({"asset": asset}), TOKEN_WITHDRAWAL_TGAS, ONE_YOCTO)
    }

    /// Takes a NEP-141 token from now on, or takes no more of it; owner only. `billing` must be registered with the token besides ([`crate::token::Token::register`]).
    pub fn set_token(&self, token: &AccountId, listed: bool) -> Call {
        Call::new(&self.0, "set_token", json!({"token": token, "listed": listed}), 10, ONE_YOCTO)
    }

    /// Refuses or takes new payments; owner only.
    pub fn set_paused(&self, paused: bool) -> Call {
        Call::new(&self.0, "set_paused", json!({"paused": paused}), 10, ONE_YOCTO)
    }

    /// How it is set up.
    pub fn config(&self) -> View<Config> {
        View::new(&self.0, "config", json!({}))
    }

    /// The contract's sums.
    pub fn totals(&self) -> View<Totals> {
        View::new(&self.0, "totals", json!({}))
    }

    /// The contract's sums in each token that was ever on the list; [`MAX_TOKENS`] at most.
    pub fn tokens(&self) -> View<Vec<TokenTotals>> {
        View::new(&self.0, "tokens", json!({}))
    }

    /// An account, or nothing if it is not registered.
    pub fn account(&self, account: &AccountId) -> View<Option<Account>> {
        View::new(&self.0, "account", json!({"account_id": account}))
    }

    /// A split that was opened, by its account.
    pub fn split(&self, split: &AccountId) -> View<Option<SplitView>> {
        View::new(&self.0, "split", json!({"split": split}))
    }

    /// NEP-145.
    pub fn storage_balance_of(&self, account: &AccountId) -> View<Option<StorageBalance>> {
        View::new(&self.0, "storage_balance_of", json!({"account_id": account}))
    }

    /// NEP-145.
    pub fn storage_balance_bounds(&self) -> View<StorageBalanceBounds> {
        View::new(&self.0, "storage_balance_bounds", json!({}))
    }

    /// [`Billing::pay_storage`], as the contract says it.
    pub fn storage_price(&self) -> View<Amount> {
        View::new(&self.0, "storage_price", json!({}))
    }

    /// An escrow. Spent ones are removed; their story is in the events.
    pub fn escrow(&self, escrow_id: EscrowId) -> View<Option<EscrowView>> {
        View::new(&self.0, "escrow", json!({"escrow_id": escrow_id}))
    }

    /// [`Billing::escrow`], asked by a contract.
    pub fn ask_escrow(&self, escrow_id: EscrowId, tgas: u64) -> Ask<AboutEscrow> {
        Ask::new(&self.0, "escrow", AboutEscrow { escrow_id }, tgas, Amount::ZERO)
    }

    /// Escrows that an account pays, by number, from `from` on: `limit` at most, and no more than fit a page. Ask on behind the last until none comes.
    pub fn escrows_of(&self, payer: &AccountId, from: u64, limit: u32) -> View<Vec<EscrowView>> {
        View::new(&self.0, "escrows_of", json!({"payer": payer, "from": from, "limit": limit}))
    }
}
