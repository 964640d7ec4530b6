//! What contracts ask of one another.

use crate::{Call, TGAS};
use serde::Serialize;
use serde_json::json;
use starling_primitives::{AccountId, Amount, EscrowId};

/// A call that one contract makes of another. Its arguments keep their types: a tree of JSON would be 10 kB of code in each contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<A> {
    /// The contract.
    pub contract: AccountId,
    /// The method.
    pub method: &'static str,
    /// What is written as the JSON arguments.
    pub args: A,
    /// Attached gas.
    pub tgas: u64,
    /// Attached yoctoNEAR.
    pub deposit: Amount,
}

/// The one argument of calls about an escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AboutEscrow {
    /// The escrow.
    pub escrow_id: EscrowId,
}

impl<A> Ask<A> {
    pub(crate) fn new(contract: &AccountId, method: &'static str, args: A, tgas: u64, deposit: Amount) -> Self {
        Self { contract: contract.clone(), method, args, tgas, deposit }
    }
}

impl<A: Serialize> From<Ask<A>> for Call {
    fn from(ask: Ask<A>) -> Self {
        let Ask { contract, method, args, tgas, deposit } = ask;
        Self { contract, method: method.to_owned(), args: json!(args), gas: tgas * TGAS, deposit }
    }
}
