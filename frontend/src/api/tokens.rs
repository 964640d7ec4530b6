//! Tokens that billing takes: what they say of themselves, and amounts of any asset in words.

use super::{Failure, Outcome, chain};
use starling_contract_api::{
    billing::Billing,
    token::{Metadata, Token},
};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, Asset};
use std::collections::BTreeMap;

/// A token on billing's list, or once on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    /// Whether more of it is taken.
    pub(crate) listed: bool,
    /// What it says of itself, if that can be shown.
    pub(crate) metadata: Option<Metadata>,
}

/// All tokens by contract.
pub(crate) type Tokens = BTreeMap<AccountId, TokenInfo>;

/// Reads the list, and of new tokens what they say of themselves.
pub(crate) async fn read(network: &NetworkInfo, known: &Tokens) -> Outcome<Tokens> {
    let mut tokens = Tokens::new();
    for totals in chain::view(&network.rpc_url, &Billing(network.deployment.billing.clone()).tokens()).await? {
        let metadata = match known.get(&totals.token) {
            Some(TokenInfo { metadata: Some(metadata), .. }) => Some(metadata.clone()),
            // A token need not say anything: then its smallest units are shown.
            _ => chain::view(&network.rpc_url, &Token(totals.token.clone()).metadata()).await.ok().and_then(Metadata::checked),
        };
        tokens.insert(totals.token, TokenInfo { listed: totals.listed, metadata });
    }
    Ok(tokens)
}

fn metadata<'a>(tokens: &'a Tokens, asset: &Asset) -> Option<&'a Metadata> {
    match asset {
        Asset::Near => None,
        Asset::Nep141(token) => tokens.get(token)?.metadata.as_ref(),
    }
}

/// Four decimals; a token that does not say how many it has is shown in its smallest units.
pub(crate) fn words(tokens: &Tokens, asset: &Asset, amount: Amount) -> String {
    match (asset, metadata(tokens, asset)) {
        (Asset::Near, _) => amount.display_near(),
        (Asset::Nep141(_), Some(metadata)) => metadata.words(amount),
        (Asset::Nep141(token), None) => format!("{amount} units of {token}"),
    }
}

/// Every digit.
pub(crate) fn exact(tokens: &Tokens, asset: &Asset, amount: Amount) -> String {
    match (asset, metadata(tokens, asset)) {
        (Asset::Near, _) => amount.exact_near(),
        (Asset::Nep141(token), Some(metadata)) => format!("{} of {token}", metadata.exact(amount)),
        (Asset::Nep141(token), None) => format!("{amount} units of {token}"),
    }
}

/// A short name: NEAR, a symbol, or the contract's name.
pub(crate) fn name(tokens: &Tokens, asset: &Asset) -> String {
    match (asset, metadata(tokens, asset)) {
        (Asset::Near, _) => "NEAR".to_owned(),
        (Asset::Nep141(_), Some(metadata)) => metadata.symbol.clone(),
        (Asset::Nep141(token), None) => token.to_string(),
    }
}

/// Reads what a person wrote.
pub(crate) fn parse(tokens: &Tokens, asset: &Asset, text: &str) -> Outcome<Amount> {
    let wrong = |what: String| Failure::new("amount", format!("The amount is not understood: {what}. Nothing was signed."));
    match (asset, metadata(tokens, asset)) {
        (Asset::Near, _) => Amount::parse_near(text).map_err(|error| wrong(error.to_string())),
        (Asset::Nep141(_), Some(metadata)) => {
            metadata.parse(text).ok_or_else(|| wrong(format!("write a number such as 1.5, with at most {} decimals", metadata.decimals)))
        }
        (Asset::Nep141(_), None) => text.trim().parse().map_err(|_| wrong("write a whole number of the token's smallest units".to_owned())),
    }
}
