//! Which network this is, and what an account's money did.

use serde::{Deserialize, Serialize};
use starling_contract_api::Deployment;
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, EscrowId, TimestampMs};

/// What a dashboard or a program needs to talk to chain and coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Name for people: embedded chain, testnet, mainnet.
    pub name: String,
    /// Contracts and chain.
    pub deployment: Deployment,
    /// NEAR JSON-RPC for the browser.
    pub rpc_url: String,
    /// Origin of the development wallet, on the embedded chain only.
    pub dev_wallet_url: Option<String>,
    /// Whether the chain's RPC offers `POST /faucet`.
    pub faucet: bool,
    /// Explorer address with `{tx}` in it, where there is one.
    pub explorer_url: Option<String>,
    /// The coordinator's own account: pays gas of rounds and posts, moves no money.
    pub coordinator: AccountId,
    /// Who pays gas for accounts that hold no NEAR, if anyone.
    #[serde(default)]
    pub sponsor: Option<crate::sponsor::SponsorInfo>,
    /// The fee now; frozen in each escrow when it is paid.
    pub fee: BasisPoints,
    /// Version of this program.
    pub version: String,
}

/// How the purpose of a licence's payment begins; its name follows.
pub const LICENCE_OF: &str = "a licence of ";
/// How the purpose of a deposit for uses begins; the listing's name follows.
pub const METERED_USE_OF: &str = "metered use of ";
/// The purpose of what an ancestor's share brought.
pub const SHARE_OF_ROYALTIES: &str = "a share of royalties";

/// One line of an account's history, from events of final blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Grows with time; give it as `before` to page.
    pub seq: u64,
    /// When its block was made.
    pub at: TimestampMs,
    /// Name of the event, such as `deposited`, `escrow_held`, `posted`, `refunded`.
    pub event: String,
    /// What it did to the account's free balances: a line for each asset that moved.
    #[serde(default)]
    pub changes: Vec<BalanceChange>,
    /// What a payment took from the account's wallet, where it did not come from the balances. Nothing of what was read before this was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_wallet: Vec<BalanceChange>,
    /// The escrow, if one is concerned.
    pub escrow_id: Option<EscrowId>,
    /// Who pays that escrow, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<AccountId>,
    /// What it was for, in a few words, such as `run 3`.
    pub purpose: Option<String>,
    /// Hash of the transaction.
    pub tx: String,
    /// Who signed it: the chain's RPC asks for it beside the hash. Nothing of what was read before this was kept.
    #[serde(default)]
    pub signer: Option<AccountId>,
}

/// A change of one balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceChange {
    /// What it is counted in.
    pub asset: Asset,
    /// By how much.
    pub change: Change,
}

/// More or less of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// More.
    Plus(Amount),
    /// Less.
    Minus(Amount),
}
