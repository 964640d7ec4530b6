//! NEP-141 tokens, as far as `billing` and those who pay with them speak to one.

use crate::{Ask, Call, ONE_YOCTO, View, billing::Billing, payment::PayArgs};
use serde::Serialize;
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

    fn transfer_call(&self, receiver: &AccountId, amount: Amount, msg: String, tgas: u64) -> Call {
        Call::new(&self.0, "ft_transfer_call", json!({"receiver_id": receiver, "amount": amount, "msg": msg}), tgas, ONE_YOCTO)
    }
}
