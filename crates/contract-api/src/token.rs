//! NEP-141 tokens, as far as `billing` and those who pay with them speak to one.

use crate::{
    Ask, Call, ONE_YOCTO, View,
    billing::{Billing, StorageBalance, StorageBalanceBounds},
    payment::PayArgs,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_primitives::{AccountId, Amount};

/// Gas of `ft_transfer`, as `billing` gives it.
const FT_TRANSFER_TGAS: u64 = 15;

/// The arguments of [`Token::transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the method's arguments")]
pub struct Transfer<'a> {
    pub receiver_id: &'a AccountId,
    pub amount: Amount,
}

/// The most decimals that an amount of 128 bits can have.
const MAX_DECIMALS: u8 = 38;
/// The longest symbol that is shown.
const MAX_SYMBOL: usize = 12;

/// What a token says of itself (NEP-148). Nobody checks it: whoever shows it names the token's contract too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// A few letters.
    pub symbol: String,
    /// How many decimals people write.
    pub decimals: u8,
}

impl Metadata {
    /// With a symbol that can be shown in a line and is not NEAR's, and decimals within range; nothing otherwise.
    pub fn checked(self) -> Option<Self> {
        let plain =
            !self.symbol.is_empty() && self.symbol.len() <= MAX_SYMBOL && self.symbol.chars().all(|letter| letter.is_ascii_graphic());
        (plain && !self.symbol.eq_ignore_ascii_case("near") && self.decimals <= MAX_DECIMALS).then_some(self)
    }

    /// Every digit that is not zero, and the symbol.
    pub fn exact(&self, amount: Amount) -> String {
        let unit = self.unit();
        let decimals = format!("{:0width$}", amount.0 % unit, width = usize::from(self.decimals));
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() || unit == 1 { "" } else { "." };
        let decimals = if unit == 1 { "" } else { decimals };
        format!("{}{point}{decimals} {}", amount.0 / unit, self.symbol)
    }

    /// Four decimals at most, rounded down, and the symbol.
    pub fn words(&self, amount: Amount) -> String {
        let shown = u32::from(self.decimals.min(4));
        let step = 10_u128.pow(u32::from(self.decimals) - shown);
        if amount.0 > 0 && amount.0 < step {
            return format!("less than 0.{:0>width$} {}", 1, self.symbol, width = shown as usize);
        }
        let scale = 10_u128.pow(shown);
        let steps = amount.0 / step;
        if shown == 0 {
            format!("{steps} {}", self.symbol)
        } else {
            format!("{}.{:0width$} {}", steps / scale, steps % scale, self.symbol, width = shown as usize)
        }
    }

    /// Reads a number such as `1.5`; nothing if it is none, or has more decimals than the token.
    pub fn parse(&self, text: &str) -> Option<Amount> {
        let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + decimals.len() == 0 || decimals.len() > usize::from(self.decimals) || !digits(whole) || !digits(decimals) {
            return None;
        }
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
        let part = number(&format!("{decimals:0<width$}", width = usize::from(self.decimals)))?;
        number(whole)?.checked_mul(self.unit())?.checked_add(part).map(Amount)
    }

    fn unit(&self) -> u128 {
        10_u128.saturating_pow(u32::from(self.decimals))
    }
}

/// A token's contract at an account.
#[derive(Clone, Debug)]
pub struct Token(pub AccountId);

impl Token {
    /// NEP-145: registers `account` with the token, at the caller's cost. What is above the token's price comes back.
    pub fn register(&self, account: &AccountId, deposit: Amount) -> Call {
        Call::new(&self.0, "storage_deposit", json!({"account_id": account, "registration_only": true}), 10, deposit)
    }

    /// Sends tokens of the caller. One yocto.
    pub fn transfer(&self, receiver: &AccountId, amount: Amount) -> Call {
        self.ask_transfer(receiver, amount).into()
    }

    /// [`Token::transfer`], asked by a contract.
    pub fn ask_transfer<'a>(&self, receiver_id: &'a AccountId, amount: Amount) -> Ask<Transfer<'a>> {
        Ask::new(&self.0, "ft_transfer", Transfer { receiver_id, amount }, FT_TRANSFER_TGAS, ONE_YOCTO)
    }

    /// Credits tokens to the caller's balance in `billing`. A caller that `billing` does not know, or without storage credit for one more token, gets them back.
    pub fn deposit(&self, billing: &Billing, amount: Amount) -> Call {
        self.transfer_call(&billing.0, amount, String::new(), 60)
    }

    /// Pays with `amount` tokens, of which `args.amount` are held and the rest is credited. The caller's storage credit in `billing` must cover `args.storage`,
    /// [`Billing::pay_storage`] and, the first time, the token's balance; if anything is wrong the tokens come back at once, and the log says what.
    pub fn pay(&self, billing: &Billing, amount: Amount, args: &PayArgs) -> Call {
        self.transfer_call(&billing.0, amount, json!(args).to_string(), 180)
    }

    /// An account's tokens, as the token says.
    pub fn balance_of(&self, account: &AccountId) -> View<Amount> {
        View::new(&self.0, "ft_balance_of", json!({"account_id": account}))
    }

    /// What the token says of itself; not all tokens do.
    pub fn metadata(&self) -> View<Metadata> {
        View::new(&self.0, "ft_metadata", json!({}))
    }

    /// NEP-145: whether an account is registered with the token.
    pub fn storage_balance_of(&self, account: &AccountId) -> View<Option<StorageBalance>> {
        View::new(&self.0, "storage_balance_of", json!({"account_id": account}))
    }

    /// NEP-145: what registering costs.
    pub fn storage_balance_bounds(&self) -> View<StorageBalanceBounds> {
        View::new(&self.0, "storage_balance_bounds", json!({}))
    }

    fn transfer_call(&self, receiver: &AccountId, amount: Amount, msg: String, tgas: u64) -> Call {
        Call::new(&self.0, "ft_transfer_call", json!({"receiver_id": receiver, "amount": amount, "msg": msg}), tgas, ONE_YOCTO)
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn usd(decimals: u8) -> Metadata {
        Metadata { symbol: "USD".to_owned(), decimals }
    }

    #[test]
    fn amount__should_be_read_as_it_is_written() {
        for (decimals, text, units, words) in [
            (6, "1.5", 1_500_000, "1.5000 USD"),
            (6, "0.000001", 1, "less than 0.0001 USD"),
            (6, "0", 0, "0.0000 USD"),
            (0, "7", 7, "7 USD"),
            (2, "0.07", 7, "0.07 USD"),
            (24, "12.25", 12_250_000_000_000_000_000_000_000, "12.2500 USD"),
        ] {
            let token = usd(decimals);
            assert_eq!((token.parse(text), token.words(Amount(units))), (Some(Amount(units)), words.to_owned()), "{text}");
            let exact = token.exact(Amount(units));
            assert_eq!(exact, format!("{} USD", if text == "0" { "0" } else { text }), "{text}");
        }
        for wrong in ["", ".", "1.2345678", "-1", "1e3", "1 000", "9".repeat(40).as_str()] {
            assert_eq!(usd(6).parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn metadata__should_not_be_shown_where_it_could_mislead() {
        assert_eq!(usd(39).checked(), None);
        for symbol in ["", "NE AR", "THIRTEENCHARS", "\u{202e}RAEN"] {
            assert_eq!(Metadata { symbol: symbol.to_owned(), decimals: 6 }.checked(), None, "{symbol}");
        }
        // Whoever calls itself NEAR is not shown as NEAR.
        assert_eq!(Metadata { symbol: "near".to_owned(), decimals: 24 }.checked(), None);
        assert!(usd(6).checked().is_some());
    }
}
