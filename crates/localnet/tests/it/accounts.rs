//! Transactions and accounts: keys, nonces, fees, creation, deletion, delegates.

use crate::common::{account, assert_supply_holds, call, chain, contract, failure, id, near, signer, value};
use near_crypto::{PublicKey, Signer};
use near_primitives::account::{AccessKey, AccessKeyPermission, FunctionCallPermission};
use near_primitives::action::delegate::{DelegateAction, NonDelegateAction, SignedDelegateAction};
use near_primitives::action::{AddKeyAction, DeleteAccountAction, DeleteKeyAction, DeployGlobalContractAction, GlobalContractDeployMode};
use near_primitives::errors::{ActionsValidationError, InvalidAccessKeyError, InvalidTxError};
use near_primitives::hash::CryptoHash;
use near_primitives::transaction::{
    Action, FunctionCallAction, SignedTransaction, StakeAction, Transaction, TransactionV0, TransferAction,
};
use near_primitives::types::Balance;
use starling_localnet::{BlockMode, Localnet, LocalnetError};

fn transfer(amount: Balance) -> Action {
    Action::Transfer(TransferAction { deposit: amount })
}

fn set_call(receiver_gas_tgas: u64) -> Action {
    Action::FunctionCall(Box::new(FunctionCallAction {
        method_name: "set".to_owned(),
        args: b"x".to_vec(),
        gas: crate::common::tgas(receiver_gas_tgas),
        deposit: Balance::ZERO,
    }))
}

fn refusal(result: Result<CryptoHash, LocalnetError>) -> InvalidTxError {
    match result {
        Err(LocalnetError::InvalidTransaction(error)) => *error,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

pub(crate) fn signed(chain: &Localnet, signer: &Signer, receiver: &str, nonce: u64, actions: Vec<Action>) -> SignedTransaction {
    signed_over(signer, receiver, nonce, actions, chain.head().hash)
}

fn signed_over(signer: &Signer, receiver: &str, nonce: u64, actions: Vec<Action>, block_hash: CryptoHash) -> SignedTransaction {
    let transaction = Transaction::V0(TransactionV0 {
        signer_id: signer.get_account_id(),
        public_key: signer.public_key(),
        nonce,
        receiver_id: id(receiver),
        block_hash,
        actions,
    });
    let hash = transaction.get_hash_and_size().0;
    SignedTransaction::new(signer.sign(hash.as_ref()), transaction)
}

#[test]
fn transfer__should_cost_what_the_protocol_says() {
    let chain = chain();
    account(&chain, "bob.root");
    let alice = account(&chain, "alice.root");
    let outcome = chain.transfer(&alice, &id("bob.root"), near(3)).expect("it succeeds");
    assert_eq!(chain.balance(&id("bob.root")).expect("it exists"), near(103));
    // Sending and executing a receipt with one transfer: 4 fees of the configuration, at 10^8 a gas.
    let gas = 2 * (108_059_500_000_u128 + 115_123_062_500);
    let paid = Balance::from_yoctonear(gas * 100_000_000);
    let left = near(97).checked_sub(paid).expect("no underflow");
    assert_eq!(chain.balance(&id("alice.root")).expect("it exists"), left);
    let burnt: u64 = std::iter::once(&outcome.transaction_outcome)
        .chain(&outcome.receipts_outcome)
        .filter(|part| !part.outcome.tokens_burnt.is_zero())
        .map(|part| part.outcome.gas_burnt.as_gas())
        .sum();
    assert_eq!(u128::from(burnt), gas);
    assert_supply_holds(&chain);
}

#[test]
fn creation__should_cost_seven_thousandths() {
    let chain = chain();
    let root = signer("root");
    let before = chain.balance(&id("root")).expect("it exists");
    chain.create_account(&root, &id("aa.root"), signer("any").public_key(), Balance::ZERO).expect("it succeeds");
    let cost = before.checked_sub(chain.balance(&id("root")).expect("it exists")).expect("it fell");
    assert!(cost > Balance::from_millinear(7) && cost < Balance::from_millinear(8), "{cost}");
    assert_supply_holds(&chain);
}

#[test]
fn transaction__should_be_refused_for_what_is_wrong_with_it() {
    let chain = chain();
    let alice = account(&chain, "alice.root");
    let nonce = chain.access_key(&id("alice.root"), &alice.public_key()).expect("works").expect("is there").nonce;
    let send = |tx| refusal(chain.send_tx(tx));
    let one = || vec![transfer(near(1))];
    assert!(matches!(send(signed(&chain, &alice, "root", nonce, one())), InvalidTxError::InvalidNonce { .. }));
    let bound = (chain.head().height + 1) * 1_000_000;
    assert!(matches!(send(signed(&chain, &alice, "root", bound, one())), InvalidTxError::NonceTooLarge { .. }));
    let rich = vec![transfer(near(1_000))];
    assert!(matches!(send(signed(&chain, &alice, "root", nonce + 1, rich)), InvalidTxError::NotEnoughBalance { .. }));
    let stranger = starling_localnet::testing::signer_from_seed(&id("alice.root"), "stranger");
    assert!(matches!(
        send(signed(&chain, &stranger, "root", 1, one())),
        InvalidTxError::InvalidAccessKeyError(InvalidAccessKeyError::AccessKeyNotFound { .. })
    ));
    assert!(matches!(send(signed(&chain, &signer("nobody"), "root", 1, one())), InvalidTxError::SignerDoesNotExist { .. }));
    let unknown = CryptoHash::hash_bytes(b"no block");
    assert!(matches!(send(signed_over(&alice, "root", nonce + 1, one(), unknown)), InvalidTxError::Expired));
    let good = signed(&chain, &alice, "root", nonce + 1, one());
    let forged = SignedTransaction::new(stranger.sign(good.get_hash().as_ref()), good.transaction.clone());
    assert!(matches!(send(forged), InvalidTxError::InvalidSignature));
    assert_eq!(chain.balance(&id("alice.root")).expect("it exists"), near(100));
}

#[test]
fn transaction__should_expire() {
    let chain = crate::common::builder().transaction_validity_blocks(10).build().expect("the chain starts");
    let root = signer("root");
    let old = chain.sign(&root, &id("bob"), vec![transfer(near(1))]).expect("it signs");
    chain.fast_forward(11).expect("time passes");
    assert!(matches!(refusal(chain.send_tx(old)), InvalidTxError::Expired));
}

#[test]
fn transaction__should_be_left_out_when_one_before_it_made_it_invalid() {
    let chain = crate::common::builder().block_mode(BlockMode::Manual).build().expect("the chain starts");
    let root = signer("root");
    let nonce = chain.access_key(&id("root"), &root.public_key()).expect("works").expect("is there").nonce;
    let overtaken = signed(&chain, &root, "root", nonce + 1, vec![transfer(near(1))]);
    let overtaking = signed(&chain, &root, "root", nonce + 2, vec![transfer(near(1))]);
    chain.send_tx(overtaking).expect("it is accepted");
    chain.produce_block().expect("a block is made");
    assert!(matches!(refusal(chain.send_tx(overtaken.clone())), InvalidTxError::InvalidNonce { .. }));

    let implicit = "ab".repeat(32);
    let most = chain.balance(&id("root")).expect("it exists").checked_sub(near(10)).expect("root is rich");
    let first = signed(&chain, &root, &implicit, nonce + 3, vec![transfer(most)]);
    let second = signed(&chain, &root, &implicit, nonce + 4, vec![transfer(most)]);
    for transaction in [&first, &second] {
        chain.send_tx(transaction.clone()).expect("each could enter the next block");
    }
    let block = chain.produce_block().expect("a block is made");
    assert_eq!(block.transactions, [first.get_hash()]);
    assert!(chain.tx_status(&second.get_hash()).expect("it can be asked").is_none());
}

#[test]
fn transaction__should_do_nothing_when_sent_again() {
    let chain = chain();
    account(&chain, "bob.root");
    let transaction = chain.sign(&signer("root"), &id("bob.root"), vec![transfer(near(1))]).expect("it signs");
    let hash = chain.send_tx(transaction.clone()).expect("it is accepted");
    let height = chain.head().height;
    assert_eq!(chain.send_tx(transaction).expect("it is known"), hash);
    assert_eq!(chain.head().height, height);
    assert_eq!(chain.balance(&id("bob.root")).expect("it exists"), near(101));
}

#[test]
fn unsupported_actions__should_be_refused_by_name() {
    let chain = chain();
    let root = signer("root");
    let stake = Action::Stake(Box::new(StakeAction { stake: near(1), public_key: root.public_key() }));
    let global =
        Action::DeployGlobalContract(DeployGlobalContractAction { code: vec![0].into(), deploy_mode: GlobalContractDeployMode::CodeHash });
    for (action, name) in [(stake, "staking"), (global, "global contracts")] {
        let error = refusal(chain.send_tx(chain.sign(&root, &id("root"), vec![action]).expect("it signs")));
        let InvalidTxError::ActionsValidation(ActionsValidationError::UnsupportedProtocolFeature { protocol_feature, .. }) = error else {
            panic!("expected a named error, found {error:?}");
        };
        assert!(protocol_feature.starts_with(name), "{protocol_feature}");
    }
}

fn add_key(public_key: PublicKey, permission: AccessKeyPermission) -> Action {
    Action::AddKey(Box::new(AddKeyAction { public_key, access_key: AccessKey { nonce: 0, permission } }))
}

fn limited(allowance: Option<Balance>, receiver: &str, methods: &[&str]) -> AccessKeyPermission {
    AccessKeyPermission::FunctionCall(FunctionCallPermission {
        allowance,
        receiver_id: receiver.to_owned(),
        method_names: methods.iter().map(|method| (*method).to_owned()).collect(),
    })
}

#[test]
fn function_call_key__should_be_held_to_its_limits() {
    let chain = chain();
    contract(&chain, "app.root");
    let alice = account(&chain, "alice.root");
    let session = starling_localnet::testing::signer_from_seed(&id("alice.root"), "session");
    let allowance = Balance::from_millinear(250);
    let key = add_key(session.public_key(), limited(Some(allowance), "app.root", &["set"]));
    chain.transact(&alice, &id("alice.root"), vec![key]).expect("it is accepted");

    value(&chain.transact(&session, &id("app.root"), vec![set_call(100)]).expect("it is accepted"));
    let left = chain.access_key(&id("alice.root"), &session.public_key()).expect("works").expect("is there");
    let AccessKeyPermission::FunctionCall(permission) = left.permission else { panic!("it is limited") };
    let left = permission.allowance.expect("it has an allowance");
    // Unspent gas came back to the allowance: far less than the 0.1 NEAR that 100 Tgas lock is gone.
    assert!(left < allowance && left > Balance::from_millinear(248), "{left}");

    let try_it = |receiver: &str, actions| {
        let error = refusal(chain.send_tx(chain.sign(&session, &id(receiver), actions).expect("it signs")));
        match error {
            InvalidTxError::InvalidAccessKeyError(error) => error,
            other => panic!("expected a key error, found {other:?}"),
        }
    };
    let call = |method: &str, deposit| {
        vec![Action::FunctionCall(Box::new(FunctionCallAction {
            method_name: method.to_owned(),
            args: Vec::new(),
            gas: crate::common::tgas(10),
            deposit,
        }))]
    };
    assert!(matches!(try_it("app.root", vec![transfer(Balance::ZERO)]), InvalidAccessKeyError::RequiresFullAccess));
    assert!(matches!(try_it("root", call("set", Balance::ZERO)), InvalidAccessKeyError::ReceiverMismatch { .. }));
    assert!(matches!(try_it("app.root", call("fail", Balance::ZERO)), InvalidAccessKeyError::MethodNameMismatch { .. }));
    let one_yocto = Balance::from_yoctonear(1);
    assert!(matches!(try_it("app.root", call("set", one_yocto)), InvalidAccessKeyError::DepositWithFunctionCall));
    assert!(matches!(try_it("app.root", vec![set_call(260)]), InvalidAccessKeyError::NotEnoughAllowance { .. }));
    assert_supply_holds(&chain);
}

#[test]
fn accounts__should_be_made_by_those_who_may() {
    let chain = chain();
    let alice = account(&chain, "alice.root");
    let key = signer("any").public_key();
    let make = |creator: &Signer, name: &str| chain.create_account(creator, &id(name), key.clone(), Balance::ZERO);
    make(&alice, "sub.alice.root").expect("one's own sub-account");
    for name in ["bob.root", "short", "alice.root", &"0".repeat(64)] {
        assert!(matches!(make(&alice, name), Err(LocalnetError::ExecutionFailed(_))), "{name}");
    }
    let registrar = crate::common::builder().registrar(id("root")).build().expect("the chain starts");
    registrar.create_account(&signer("root"), &id("short"), key.clone(), near(1)).expect("the registrar may");
    assert_supply_holds(&chain);
    assert_supply_holds(&registrar);
}

#[test]
fn implicit_account__should_appear_with_its_key() {
    let chain = chain();
    let PublicKey::ED25519(key) = signer("implicit").public_key() else { panic!("it is Ed25519") };
    let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    chain.transfer(&signer("root"), &id(&name), near(5)).expect("it succeeds");
    let owner = starling_localnet::testing::signer_from_seed(&id(&name), "implicit");
    chain.transfer(&owner, &id("root"), near(1)).expect("its key works");
    assert_supply_holds(&chain);
}

#[test]
fn deleted_account__should_leave_its_coins_to_the_beneficiary_and_burn_late_refunds() {
    let chain = chain();
    account(&chain, "heir.root");
    let app = contract(&chain, "app.root");
    let delete = Action::DeleteAccount(DeleteAccountAction { beneficiary_id: id("heir.root") });
    value(&chain.transact(&app, &id("app.root"), vec![delete]).expect("it is accepted"));
    assert!(chain.account(&id("app.root")).expect("works").is_none());
    assert!(chain.code(&id("app.root")).is_none());
    assert!(chain.access_keys(&id("app.root")).expect("works").is_empty());
    assert!(chain.balance(&id("heir.root")).expect("it exists") > near(199));
    assert_supply_holds(&chain);
}

#[test]
fn key__should_be_added_and_deleted() {
    let chain = chain();
    let alice = account(&chain, "alice.root");
    let second = starling_localnet::testing::signer_from_seed(&id("alice.root"), "second");
    let usage = || chain.account(&id("alice.root")).expect("works").expect("it exists").storage_usage();
    let before = usage();
    let add = add_key(second.public_key(), AccessKeyPermission::FullAccess);
    value(&chain.transact(&alice, &id("alice.root"), vec![add.clone()]).expect("it is accepted"));
    assert_eq!(usage(), before + 33 + 9 + 40);
    let again = chain.transact(&alice, &id("alice.root"), vec![add]).expect("it is accepted");
    assert!(failure(&again).contains("already used"));
    let delete = |key| Action::DeleteKey(Box::new(DeleteKeyAction { public_key: key }));
    value(&chain.transact(&second, &id("alice.root"), vec![delete(alice.public_key())]).expect("it is accepted"));
    assert!(chain.sign(&alice, &id("root"), vec![transfer(near(1))]).is_err());
    assert_eq!(usage(), before);
    // Nobody else may touch the keys.
    let strange = chain.transact(&signer("root"), &id("alice.root"), vec![delete(second.public_key())]);
    assert!(failure(&strange.expect("it is accepted")).contains("doesn't have permission"));
    assert_supply_holds(&chain);
}

#[test]
fn delegate__should_act_for_the_sender_at_the_relayers_cost() {
    let chain = chain();
    contract(&chain, "app.root");
    let alice = account(&chain, "alice.root");
    let relayer = account(&chain, "relayer.root");
    let nonce = chain.access_key(&id("alice.root"), &alice.public_key()).expect("works").expect("is there").nonce;
    let delegate = |nonce, max_block_height, actions: Vec<Action>| {
        let actions = actions.into_iter().map(|action| NonDelegateAction::try_from(action).expect("not nested"));
        let action = DelegateAction {
            sender_id: id("alice.root"),
            receiver_id: id("app.root"),
            actions: actions.collect(),
            nonce,
            max_block_height,
            public_key: alice.public_key(),
        };
        Action::from(SignedDelegateAction::sign(&alice, action))
    };
    let send = |action| chain.transact(&relayer, &id("alice.root"), vec![action]).expect("it is accepted");
    let with_deposit = vec![set_call(30), transfer(near(2))];
    let outcome = send(delegate(nonce + 1, 1_000_000, with_deposit));
    assert!(
        outcome
            .receipts_outcome
            .iter()
            .all(|part| { !matches!(part.outcome.status, near_primitives::views::ExecutionStatusView::Failure(_)) }),
        "{outcome:?}"
    );
    assert_eq!(chain.view(&id("app.root"), "get", b"").expect("the view runs"), b"x");
    // The relayer pays what is attached too.
    assert_eq!(chain.balance(&id("alice.root")).expect("it exists"), near(100));
    assert!(chain.balance(&id("relayer.root")).expect("it exists") < near(98));
    assert!(failure(&send(delegate(nonce + 1, 1_000_000, vec![set_call(30)]))).contains("nonce"));
    assert!(failure(&send(delegate(nonce + 2, 1, vec![set_call(30)]))).contains("expired"));
    assert_supply_holds(&chain);
}

#[test]
fn books__should_balance_over_random_transactions() {
    let chain = chain();
    let names = ["a.root", "b.root", "c.root", "d.root"];
    let signers: Vec<Signer> = names.iter().map(|name| contract(&chain, name)).collect();
    // A small generator of its own: the same sequence on every machine.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let methods = ["set", "get", "unset", "fail", "ask", "ask_to_fail", "pay", "wait", "wake", "nothing"];
    let (mut succeeded, mut failed) = (0, 0);
    for round in 0..300 {
        let who = &signers[usize::try_from(draw(4)).expect("small")];
        let whom = names[usize::try_from(draw(4)).expect("small")];
        let outcome = if draw(3) == 0 {
            let amount = Balance::from_millinear(u128::from(draw(2_000)));
            let receiver = if draw(5) == 0 { "nobody.root" } else { whom };
            chain.transact(who, &id(receiver), vec![transfer(amount)])
        } else {
            let method = methods[usize::try_from(draw(10)).expect("small")];
            let deposit = Balance::from_yoctonear(u128::from(draw(3)));
            let gas = crate::common::tgas(20 + draw(100));
            let call = FunctionCallAction {
                method_name: method.to_owned(),
                args: names[usize::try_from(draw(4)).expect("small")].as_bytes().to_vec(),
                gas,
                deposit,
            };
            let signed = chain.sign(who, &id(whom), vec![call.into()]).expect("it signs");
            chain.send_tx(signed).and_then(|hash| chain.tx_outcome(&hash))
        };
        match outcome {
            Ok(outcome) => match outcome.status {
                near_primitives::views::FinalExecutionStatus::Failure(_) => failed += 1,
                _ => succeeded += 1,
            },
            Err(LocalnetError::InvalidTransaction(_)) => {}
            Err(other) => panic!("round {round}: {other}"),
        }
        if round % 50 == 0 {
            chain.fast_forward(60).expect("time passes");
        }
    }
    chain.fast_forward(300).expect("every yield times out");
    assert!(succeeded > 100 && failed > 50, "{succeeded} succeeded, {failed} failed");
    assert_supply_holds(&chain);
    call(&chain, &signers[0], "a.root", "set", b"still alive");
}
