//! Tests of reading what an account signed for somebody else to send.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::{super::signer::near_account, *};
use crate::billing::Billing;
use near_primitives::{
    action::{
        FunctionCallAction,
        delegate::{DelegateAction, NonDelegateAction},
    },
    types::Gas,
};

fn signed(actions: Vec<Action>) -> SignedDelegateAction {
    let signer = Signer::from_seed(AccountId::new("ada.start.starling").unwrap(), [7; 32]);
    let near: near_crypto::Signer =
        near_crypto::InMemorySigner::from_secret_key(near_account(signer.account()), signer.secret_text().parse().unwrap());
    let delegate = DelegateAction {
        sender_id: near_account(signer.account()),
        receiver_id: "billing.starling".parse().unwrap(),
        actions: actions.into_iter().map(|action| NonDelegateAction::try_from(action).unwrap()).collect(),
        nonce: 1,
        max_block_height: 100,
        public_key: near.public_key(),
    };
    SignedDelegateAction::sign(&near, delegate)
}

fn withdraw() -> Action {
    let call = Billing(AccountId::new("billing.starling").unwrap()).withdraw(None);
    Action::FunctionCall(Box::new(FunctionCallAction {
        method_name: call.method.clone(),
        args: call.args_bytes(),
        gas: Gas::from_gas(call.gas),
        deposit: Balance::from_yoctonear(call.deposit.0),
    }))
}

#[test]
fn delegated__should_say_who_calls_what_with_how_much() {
    let delegated = Delegated::read(&borsh::to_vec(&signed(vec![withdraw()])).unwrap()).unwrap().call;
    assert_eq!((delegated.sender.as_str(), delegated.contract.as_str()), ("ada.start.starling", "billing.starling"));
    assert_eq!((delegated.method.as_str(), delegated.deposit, delegated.gas), ("withdraw", Amount(1), 20 * crate::TGAS));
}

#[test]
fn delegated__should_refuse_what_was_changed_or_is_not_one_call() {
    let read = |signed: &SignedDelegateAction| Delegated::read(&borsh::to_vec(signed).unwrap()).unwrap_err();
    let mut changed = signed(vec![withdraw()]);
    changed.delegate_action.nonce = 2;
    assert_eq!(read(&changed), DelegatedError::Signature);
    assert_eq!(read(&signed(vec![withdraw(), withdraw()])), DelegatedError::NotOneCall);
    assert_eq!(read(&signed(vec![])), DelegatedError::NotOneCall);
    let transfer = Action::Transfer(TransferAction { deposit: Balance::from_yoctonear(1) });
    assert_eq!(read(&signed(vec![transfer])), DelegatedError::NotOneCall);
    assert_eq!(Delegated::read(b"no borsh").unwrap_err(), DelegatedError::Malformed);
}
