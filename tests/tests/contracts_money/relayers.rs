//! Delegate actions (NEP-366): somebody else's relayer sends what an account signed, and pays for it.

use crate::{
    books::{free, surplus},
    money,
};
use near_crypto::{InMemorySigner, SecretKey, Signer};
use near_primitives::{
    action::{
        Action, FunctionCallAction,
        delegate::{DelegateAction, NonDelegateAction, SignedDelegateAction},
    },
    types::{Balance, Gas},
    views::FinalExecutionOutcomeView,
};
use starling_contract_api::{
    Call,
    billing::{Billing, SESSION_KEY_BYTES},
    payment::{PaymentMsg, storage_cost},
};
use starling_primitives::{Amount, DurationMs};
use starling_tests::{Actor, Harness, work::run_terms};

fn signer(actor: &Actor) -> anyhow::Result<Signer> {
    let secret: SecretKey = actor.signer.secret_text().parse()?;
    Ok(InMemorySigner::from_secret_key(actor.account.as_str().parse()?, secret))
}

/// Sends a call that `actor` signed as a delegate action, in a transaction of the relayer.
fn relay(harness: &Harness, relayer: &Actor, actor: &Actor, call: &Call) -> anyhow::Result<FinalExecutionOutcomeView> {
    let (sender, by) = (signer(actor)?, signer(relayer)?);
    let key = harness.chain.access_key(&sender.get_account_id(), &sender.public_key())?;
    let action = Action::FunctionCall(Box::new(FunctionCallAction {
        method_name: call.method.clone(),
        args: call.args_bytes(),
        gas: Gas::from_gas(call.gas),
        deposit: Balance::from_yoctonear(call.deposit.0),
    }));
    let delegate = DelegateAction {
        sender_id: sender.get_account_id(),
        receiver_id: call.contract.as_str().parse()?,
        actions: vec![NonDelegateAction::try_from(action).map_err(|_| anyhow::anyhow!("a delegate action in another"))?],
        nonce: key.map_or(0, |key| key.nonce) + 1,
        max_block_height: harness.chain.head().height + 1_000,
        public_key: sender.public_key(),
    };
    let signed = Action::from(SignedDelegateAction::sign(&sender, delegate));
    Ok(harness.chain.transact(&by, &sender.get_account_id(), vec![signed])?)
}

#[tokio::test]
async fn session_key__should_not_count_through_a_relayer() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, relayer, billing) =
        (harness.actor("alice.starling", 50).await?, harness.actor("relayer.starling", 50).await?, harness.billing());
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let (storage, bounds) = (msg.storage(), harness.bounds().await?);
    let target = harness.deployment.compute.clone();
    let args = starling_contract_api::payment::PayArgs { target, amount: Amount::from_near(1), storage, bounds, msg };
    let until = harness.now().await?.after(DurationMs::from_days(1));
    let mut sessions = Vec::new();
    // The relayer has a session key of its own: it is for its own account.
    for actor in [&alice, &relayer] {
        let key = harness.add_function_key(actor, &billing.0, &["pay_from_balance"], Amount::from_near(5)).await?;
        harness.call(actor, &billing.deposit(Amount::from_near(20))).await?.ok()?;
        harness.call(actor, &billing.storage_deposit(None, false, storage_cost(SESSION_KEY_BYTES))).await?.ok()?;
        let targets = std::slice::from_ref(&args.target);
        harness.call(actor, &billing.add_session_key(&key.public_key(), Amount::from_near(9), until, targets)).await?.ok()?;
        sessions.push(key);
    }
    let (reserve, before) = (surplus(&harness).await?, free(&harness, &alice.account).await?);
    for key in [&sessions[0], &alice] {
        let outcome = relay(&harness, &relayer, key, &billing.pay_from_balance(&args, true))?;
        assert!(format!("{outcome:?}").contains("registered session key"), "{outcome:?}");
    }
    assert_eq!(free(&harness, &alice.account).await?, before, "nothing was spent");
    // What the account's full-access key signed with one yocto counts, whoever brings it; the yocto is the relayer's.
    let outcome = relay(&harness, &relayer, &alice, &billing.pay_from_balance(&args, false))?;
    let cost = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    let unneeded = Amount(Billing::pay_storage().0 - starling_contract_api::billing::escrow_storage(1).0);
    assert_eq!(free(&harness, &alice.account).await?, Amount(before.0 - cost.0 + unneeded.0), "{outcome:?}");
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    Ok(())
}
