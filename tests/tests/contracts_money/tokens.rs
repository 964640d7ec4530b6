//! NEP-141 tokens in `billing`: the same road as NEAR, each asset to the unit, whatever a token does.

use crate::books::{free, free_of, surplus};
use starling_contract_api::{
    Call,
    billing::{ACCOUNT_BYTES, Billing, TOKEN_BALANCE_BYTES, escrow_storage},
    events::BillingEvent,
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_localnet::BlockMode;
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, NodeId};
use starling_protocol::escrow::{Authority, OpenTerms, Posting, Share, State};
use starling_tests::{Actor, FEE, Harness, Scripted, work::run_terms};
use std::time::Duration;

const MINTED: Amount = Amount(1_000_000_000);
const PAID: Amount = Amount(1_000_003);

/// `billing` with a token on its list, a target that accepts, and a payer with tokens and storage credit.
pub(crate) struct Market {
    pub(crate) harness: Harness,
    pub(crate) usd: Scripted,
    pub(crate) target: Scripted,
    pub(crate) alice: Actor,
}

impl Market {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        Self::open_on(Harness::start_with(&["billing"]).await?).await
    }

    async fn open_on(harness: Harness) -> anyhow::Result<Self> {
        let (usd, target) = (harness.listed_token("usd.starling").await?, harness.scripted("target.starling").await?);
        let alice = harness.registered("alice.starling", 50).await?;
        harness.add_storage_credit(&alice, Amount::from_millinear(400)).await?;
        harness.tell(&usd.mint(&alice.account, MINTED)).await?;
        let market = Self { harness, usd, target, alice };
        market.accept(Authority::Arbiter).await?;
        Ok(market)
    }

    /// The target accepts from now on, for a day, without a holdback.
    pub(crate) async fn accept(&self, authority: Authority) -> anyhow::Result<()> {
        self.accept_parts(authority, Vec::new(), Vec::new()).await
    }

    /// The same with fixed parts of all that is posted, where the one posting names who gets the rest.
    pub(crate) async fn accept_parts(&self, authority: Authority, parts: Vec<Share>, postings: Vec<Posting>) -> anyhow::Result<()> {
        let terms = OpenTerms {
            authority,
            expires_at: self.harness.now().await?.after(DurationMs::from_days(1)),
            grace: DurationMs::from_hours(1),
            holdback: BasisPoints::ZERO,
            availability: DurationMs::from_days(1),
            max_payees: 3,
            parts,
            postings,
            close: false,
            objection_window: DurationMs(0),
        };
        self.harness.tell(&self.target.set_terms(Some(&terms))).await?;
        Ok(())
    }

    pub(crate) async fn payment(&self, amount: Amount) -> anyhow::Result<PayArgs> {
        let msg = PaymentMsg::Stake { node_id: NodeId(1) };
        Ok(PayArgs { target: self.target.account.clone(), amount, storage: Amount(5), bounds: self.harness.bounds().await?, msg })
    }

    pub(crate) fn asset(&self) -> Asset {
        Asset::Nep141(self.usd.account.clone())
    }

    /// A post of the target, brought by anyone.
    pub(crate) fn post(&self, escrow_id: EscrowId, seq: u64, totals: &[(&AccountId, u128)], close: bool) -> Call {
        let postings: Vec<Posting> =
            totals.iter().map(|(payee, total)| Posting { payee: (*payee).clone(), total: Amount(*total) }).collect();
        self.target.relay(&self.harness.billing().post(escrow_id, seq, &postings, close))
    }

    async fn usd_of(&self, account: &AccountId) -> anyhow::Result<Amount> {
        self.harness.tokens_of(&self.usd, account).await
    }

    async fn free_usd(&self, account: &AccountId) -> anyhow::Result<Amount> {
        free_of(&self.harness, account, &self.asset()).await
    }
}

fn fee_of(gross: u128) -> u128 {
    Amount(gross).fraction_ceil(BasisPoints::new(FEE).unwrap_or_default()).0
}

#[tokio::test]
async fn token__should_pay_and_come_back_to_the_unit() -> anyhow::Result<()> {
    let market = Market::open().await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    let bob = harness.registered("bob.starling", 20).await?;
    harness.add_storage_credit(&bob, storage_cost(TOKEN_BALANCE_BYTES)).await?;
    let carol = harness.actor("carol.starling", 20).await?;
    let (reserve, near) = (surplus(harness).await?, free(harness, &alice.account).await?);

    // Seven more are sent than the payment holds.
    let call = usd.token.pay(&billing, Amount(PAID.0 + 7), &market.payment(PAID).await?);
    let paid = harness.call(alice, &call).await?.ok()?;
    println!("a payment in tokens burns {} Tgas in all, {} in the largest receipt", paid.total_tgas, paid.largest_receipt_tgas);
    assert_eq!(paid.json::<Amount>()?, Amount(PAID.0 + 7), "all was used");
    assert!(
        paid.billing_events()
            .iter()
            .any(|event| matches!(event, BillingEvent::EscrowOpened { moved, .. } if moved.asset == market.asset()))
    );
    let open = harness.view(&billing.escrows_of(&alice.account, 0, 9)).await?;
    let [view] = open.as_slice() else { anyhow::bail!("one escrow, not {open:?}") };
    assert_eq!((view.available, &view.escrow.asset), (PAID, &market.asset()));
    assert_eq!(market.free_usd(&alice.account).await?, Amount(7));
    let totals = harness.token_totals(usd).await?;
    assert_eq!((totals.balances, totals.escrows, totals.fees), (Amount(7), PAID, Amount::ZERO));
    // The storage that the opened record does not need went to the NEAR balance.
    let unneeded = Billing::pay_storage().checked_sub(escrow_storage(3))?;
    assert_eq!(free(harness, &alice.account).await?, near.checked_add(unneeded)?);

    // The target posts to bob, and to carol whom nobody knows; then it closes.
    let id = view.id;
    harness.call(alice, &market.post(id, 1, &[(&bob.account, 400_001), (&carol.account, 57)], false)).await?.ok()?;
    assert_eq!(market.free_usd(&bob.account).await?, Amount(400_001 - fee_of(400_001)));
    harness.call(alice, &market.post(id, 2, &[], true)).await?.ok()?;
    let back = Amount(PAID.0 - 400_001 - 57);
    assert_eq!(market.free_usd(&alice.account).await?, Amount(back.0 + 7));
    let (fees, carols) = (Amount(fee_of(400_001) + fee_of(57)), Amount(57 - fee_of(57)));
    let totals = harness.token_totals(usd).await?;
    assert_eq!((totals.escrows, totals.fees), (carols, fees));
    assert_eq!(harness.token_surplus(usd).await?, Amount::ZERO);

    // Carol claims once she has a place for the token: registered, and with storage credit.
    let claim = billing.claim(id, &carol.account);
    harness.call(&carol, &claim).await?.refused("is not registered")?;
    harness.call(&carol, &billing.storage_deposit(None, true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    harness.call(&carol, &claim).await?.refused("storage credit is too small")?;
    harness.add_storage_credit(&carol, storage_cost(TOKEN_BALANCE_BYTES)).await?;
    harness.call(&carol, &claim).await?.ok()?;
    assert!(harness.view(&billing.escrow(id)).await?.is_none(), "it is spent");

    // Everyone leaves with what is theirs. Whom the token does not know finds the amount on the balance again.
    let mut yoctos = 0;
    for (actor, amount) in [(alice, Amount(back.0 + 7)), (&bob, Amount(400_001 - fee_of(400_001))), (&carol, carols)] {
        let before = market.usd_of(&actor.account).await?;
        if before.is_zero() {
            let failed = harness.call(actor, &billing.withdraw_token(&usd.account, None)).await?;
            assert!(!failed.json::<bool>()? && failed.failures.iter().any(|words| words.contains("receiver is not registered")));
            assert_eq!(market.free_usd(&actor.account).await?, amount);
            harness.call(actor, &usd.token.register(&actor.account, Amount::ZERO)).await?.ok()?;
            yoctos += 1;
        }
        let sent = harness.call(actor, &billing.withdraw_token(&usd.account, None)).await?.ok()?;
        assert!(sent.json::<bool>()?);
        assert_eq!(market.usd_of(&actor.account).await?, before.checked_add(amount)?);
        harness.call(actor, &billing.withdraw_token(&usd.account, None)).await?.refused("nothing to withdraw")?;
    }
    let (owner, take_fees) = (&harness.owner, billing.withdraw_token_fees(&usd.account));
    harness.call(alice, &take_fees).await?.refused("only the owner")?;
    assert!(!harness.call(owner, &take_fees).await?.json::<bool>()?, "the token does not know the owner yet");
    assert_eq!(harness.token_totals(usd).await?.fees, fees);
    harness.call(owner, &usd.token.register(&owner.account, Amount::ZERO)).await?.ok()?;
    assert!(harness.call(owner, &take_fees).await?.ok()?.json::<bool>()?);
    assert_eq!(market.usd_of(&owner.account).await?, fees);
    assert_eq!(market.usd_of(&billing.0).await?, Amount::ZERO, "nothing is left of the token");
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + yoctos + 1), "a yocto for each transfer that failed");
    Ok(())
}

#[tokio::test]
async fn token__should_come_back_at_once_when_anything_is_wrong() -> anyhow::Result<()> {
    let market = Market::open().await?;
    let (harness, usd, billing) = (&market.harness, &market.usd, market.harness.billing());
    let (near_only, stranger) = (harness.registered("near.starling", 20).await?, harness.actor("stranger.starling", 20).await?);
    let other = harness.scripted("other.starling").await?;
    harness.tell(&other.token.register(&billing.0, Amount::ZERO)).await?;
    let alice = &market.alice;
    for (token, actor) in [(usd, &near_only), (usd, &stranger), (&other, alice)] {
        harness.tell(&token.mint(&actor.account, MINTED)).await?;
    }
    let args = market.payment(PAID).await?;
    let pay = |args: &PayArgs| usd.token.pay(&billing, PAID, args);
    let with = |change: &dyn Fn(&mut PayArgs)| {
        let mut args = args.clone();
        change(&mut args);
        pay(&args)
    };
    let garbled = |msg: &str| {
        let mut call = pay(&args);
        call.args["msg"] = msg.into();
        call
    };
    let cases = [
        ("a token that is not listed", alice, other.token.deposit(&billing, PAID), "not a token that is taken"),
        ("a stranger's deposit", &stranger, usd.token.deposit(&billing, PAID), "is not registered"),
        ("a stranger's payment", &stranger, pay(&args), "is not registered"),
        ("no place for the token", &near_only, usd.token.deposit(&billing, PAID), "storage credit is too small"),
        ("no storage for the escrow", alice, with(&|args| args.storage = Amount::from_near(1)), "storage credit is too small"),
        ("more than was sent", alice, with(&|args| args.amount = Amount(PAID.0 + 1)), "balance is too small"),
        ("a fee above the bounds", alice, with(&|args| args.bounds.fee = BasisPoints::ZERO), "fee"),
        ("billing as the target", alice, with(&|args| args.target = billing.0.clone()), "cannot be paid through itself"),
        ("no JSON", alice, garbled("{"), "JSON"),
        ("another message", alice, garbled("{\"target\":\"aa\"}"), "missing field"),
        ("a field too many", alice, garbled(&args_with_more(&args)), "unknown field"),
        ("too little gas", alice, Call { gas: 60_000_000_000_000, ..pay(&args) }, "attach more gas"),
    ];
    let before = (harness.view(&billing.totals()).await?, harness.view(&billing.tokens()).await?);
    for (what, actor, call, words) in &cases {
        let token = if call.contract == other.account { &other } else { usd };
        let answer = harness.call(actor, call).await?;
        assert_eq!(answer.json::<Amount>()?, Amount::ZERO, "{what}: nothing was used, {answer:?}");
        assert!(answer.logs.iter().chain(&answer.failures).any(|line| line.contains(words)), "{what}: {answer:?}");
        assert_eq!(harness.tokens_of(token, &actor.account).await?, MINTED, "{what}");
        let after = (harness.view(&billing.totals()).await?, harness.view(&billing.tokens()).await?);
        assert_eq!((&after.0.storage, &after.0.balances, &after.1), (&before.0.storage, &before.0.balances, &before.1), "{what}");
    }
    // Paused, payments come back; what has no purpose is still taken, and leaves.
    harness.call(&harness.owner, &billing.set_paused(true)).await?.ok()?;
    let answer = harness.call(alice, &pay(&args)).await?;
    assert!(answer.json::<Amount>()?.is_zero() && answer.logs.iter().any(|line| line.contains("paused")));
    harness.call(alice, &usd.token.deposit(&billing, PAID)).await?.ok()?;
    assert!(harness.call(alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?.json::<bool>()?);
    assert_eq!(market.usd_of(&alice.account).await?, MINTED);
    // Whoever is no token gets what it said, and that is all.
    let call = Call {
        contract: billing.0.clone(),
        method: "ft_on_transfer".to_owned(),
        args: serde_json::json!({"sender_id": alice.account, "amount": "5", "msg": ""}),
        gas: 30_000_000_000_000,
        deposit: Amount::ZERO,
    };
    assert_eq!(harness.call(&stranger, &call).await?.ok()?.json::<Amount>()?, Amount(5));
    assert_eq!(harness.token_surplus(usd).await?, Amount::ZERO);
    Ok(())
}

fn args_with_more(args: &PayArgs) -> String {
    let mut args = serde_json::json!(args);
    args["tip"] = "1".into();
    args.to_string()
}

#[tokio::test]
async fn refusal__should_leave_tokens_on_the_balance_and_not_at_the_token() -> anyhow::Result<()> {
    let market = Market::open().await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    let reserve = surplus(harness).await?;
    let account = harness.view(&billing.account(&alice.account)).await?.ok_or_else(|| anyhow::anyhow!("not registered"))?;
    harness.tell(&market.target.set_terms(None)).await?;
    let answer = harness.call(alice, &usd.token.pay(&billing, PAID, &market.payment(PAID).await?)).await?;
    assert_eq!(answer.json::<Amount>()?, PAID, "the token must not pay back what billing credits");
    assert_eq!((market.free_usd(&alice.account).await?, market.usd_of(&billing.0).await?), (PAID, PAID));
    // Storage went from credit to balance, with what was forwarded.
    let storage = Billing::pay_storage().checked_add(Amount(5))?;
    assert_eq!(free(harness, &alice.account).await?, storage);
    let now = harness.view(&billing.account(&alice.account)).await?.ok_or_else(|| anyhow::anyhow!("not registered"))?;
    assert_eq!(now.storage.total, account.storage.total.checked_sub(storage)?);

    // From the balance: one yocto, the storage out of the NEAR there.
    let args = market.payment(PAID).await?;
    let from_balance = billing.pay_tokens_from_balance(&usd.account, &args);
    harness.call(alice, &Call { deposit: Amount::ZERO, ..from_balance.clone() }).await?.refused("attach exactly 1 yoctoNEAR")?;
    market.accept(Authority::Arbiter).await?;
    let result: PayResult = harness.call(alice, &from_balance).await?.ok()?.json()?;
    assert!(result.opened, "{result:?}");
    harness.call(alice, &from_balance).await?.refused("balance is too small")?;
    assert_eq!((market.free_usd(&alice.account).await?, harness.token_totals(usd).await?.escrows), (Amount::ZERO, PAID));

    // Off the list nothing more comes in, and all that is here leaves.
    harness.call(&harness.owner, &billing.set_token(&usd.account, false)).await?.ok()?;
    assert!(harness.call(alice, &usd.token.deposit(&billing, PAID)).await?.json::<Amount>()?.is_zero());
    harness.call(alice, &market.post(result.escrow_id, 1, &[], true)).await?.ok()?;
    harness.call(alice, &from_balance).await?.refused("not a token that is taken")?;
    assert!(harness.call(alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?.json::<bool>()?);
    assert_eq!(market.usd_of(&alice.account).await?, MINTED);
    harness.call(alice, &billing.set_token(&usd.account, true)).await?.refused("only the owner")?;
    harness.call(alice, &billing.withdraw(None)).await?.ok()?;
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 3), "set_token, one payment from the balance, one withdrawal of NEAR");
    Ok(())
}

#[tokio::test]
async fn withdrawal__should_be_claimable_again_when_the_token_fails() -> anyhow::Result<()> {
    let market = Market::open().await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    harness.call(alice, &usd.token.deposit(&billing, PAID)).await?.ok()?;
    let withdraw = billing.withdraw_token(&usd.account, Some(Amount(1_000)));
    for manner in ["fails", "spins"] {
        harness.tell(&usd.set_manner(manner)).await?;
        let answer = harness.call(alice, &withdraw).await?;
        assert!(!answer.json::<bool>()?, "{manner}");
        assert!(answer.billing_events().iter().any(|event| matches!(event, BillingEvent::TransferFailed { amount: Amount(1_000), .. })));
        assert_eq!((market.free_usd(&alice.account).await?, harness.token_surplus(usd).await?), (PAID, Amount::ZERO), "{manner}");
    }
    // A long answer costs the callback gas: it has enough for the longest.
    harness.tell(&usd.set_manner("floods")).await?;
    let answer = harness.call(alice, &withdraw).await?.ok()?;
    assert!(answer.largest_receipt_tgas >= 9, "the answer cost the token {} Tgas only", answer.largest_receipt_tgas);
    assert!(answer.json::<bool>()?);
    assert_eq!(market.free_usd(&alice.account).await?, Amount(PAID.0 - 1_000));
    // A token that says it paid and did not is believed: its holder loses, the books hold, and the rest leaves when it is honest.
    harness.tell(&usd.set_manner("lies")).await?;
    assert!(harness.call(alice, &withdraw).await?.ok()?.json::<bool>()?);
    assert_eq!(harness.token_surplus(usd).await?, Amount(1_000));
    harness.tell(&usd.set_manner("honest")).await?;
    harness.tell(&usd.forget(&alice.account)).await?;
    assert!(!harness.call(alice, &withdraw).await?.json::<bool>()?, "the token forgot whom it pays");
    harness.tell(&usd.mint(&alice.account, Amount::ZERO)).await?;
    assert!(harness.call(alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?.json::<bool>()?);
    assert_eq!(market.usd_of(&alice.account).await?, Amount(PAID.0 - 2_000));
    Ok(())
}

#[tokio::test]
async fn registration__should_last_while_a_transfer_is_under_way() -> anyhow::Result<()> {
    let market = Market::open_on(Harness::start_in(BlockMode::Manual, &["billing"]).await?).await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    harness.call(alice, &usd.token.deposit(&billing, PAID)).await?.ok()?;
    harness.tell(&usd.set_manner("fails")).await?;
    harness.hold_blocks(true);
    let sent = harness.send(alice, &billing.withdraw_token(&usd.account, None)).await?;
    for _ in 0..4 {
        if harness.token_totals(usd).await?.in_flight.is_zero() {
            harness.chain.produce_block()?;
        }
    }
    assert_eq!(harness.token_totals(usd).await?.in_flight, PAID);
    let leave = harness.send(alice, &billing.storage_unregister()).await?;
    harness.hold_blocks(false);
    leave.outcome().await?.refused("under way")?;
    assert!(!sent.outcome().await?.json::<bool>()?);
    assert_eq!((market.free_usd(&alice.account).await?, harness.token_surplus(usd).await?), (PAID, Amount::ZERO));
    harness.tell(&usd.set_manner("honest")).await?;
    harness.call(alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?;
    assert!(harness.call(alice, &billing.storage_unregister()).await?.ok()?.json::<bool>()?);
    Ok(())
}

#[tokio::test]
async fn lying_token__should_harm_nobody_but_its_holders() -> anyhow::Result<()> {
    let market = Market::open().await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    let liar = harness.listed_token("liar.starling").await?;
    harness.call(alice, &usd.token.deposit(&billing, PAID)).await?.ok()?;
    harness.call(alice, &billing.deposit(Amount::from_near(2))).await?.ok()?;
    let (reserve, near) = (surplus(harness).await?, free(harness, &alice.account).await?);

    // As many tokens as there are numbers, and one more.
    let most = Amount(u128::MAX);
    assert!(harness.tell(&liar.pretend(&billing.0, &alice.account, most, "")).await?.json::<Amount>()?.is_zero());
    assert_eq!(harness.tell(&liar.pretend(&billing.0, &alice.account, Amount(1), "")).await?.json::<Amount>()?, Amount(1));
    let answer = harness.call(alice, &billing.withdraw_token(&liar.account, None)).await?;
    assert!(!answer.json::<bool>()?, "the token has none of it");
    assert_eq!(harness.token_totals(&liar).await?.balances, most);

    // A payment that alice never made: her storage credit pays for it, nothing else, and its end brings the storage to her balance.
    harness.call(alice, &billing.withdraw_token(&liar.account, Some(Amount(1)))).await?;
    let other = harness.listed_token("second.starling").await?;
    let mut args = market.payment(Amount(9)).await?;
    args.storage = Amount::from_millinear(100);
    let forged = |args: &PayArgs| other.pretend(&billing.0, &alice.account, Amount(9), &serde_json::json!(args).to_string());
    assert!(harness.tell(&forged(&args)).await?.json::<Amount>()?.is_zero());
    let unneeded = Billing::pay_storage().checked_sub(escrow_storage(3))?;
    assert_eq!(free(harness, &alice.account).await?, near.checked_add(unneeded)?);
    args.storage = Amount::from_near(1);
    assert_eq!(harness.tell(&forged(&args)).await?.json::<Amount>()?, Amount(9), "more than the credit");

    // NEAR and the honest token are whole.
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 3), "a yocto of the owner for the list, and two of transfers that failed");
    assert_eq!(harness.token_surplus(usd).await?, Amount::ZERO);
    assert!(harness.call(alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?.json::<bool>()?);
    assert_eq!(market.usd_of(&alice.account).await?, MINTED);
    assert!(harness.call(alice, &billing.withdraw(None)).await?.ok()?.json::<bool>()?);
    Ok(())
}

#[tokio::test]
async fn late_answer__should_leave_tokens_with_their_payer() -> anyhow::Result<()> {
    let market = Market::open_on(Harness::start_in(BlockMode::Manual, &["billing"]).await?).await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    let call = usd.token.pay(&billing, PAID, &market.payment(PAID).await?);
    harness.hold_blocks(true);
    let sent = harness.send(alice, &call).await?;
    for _ in 0..5 {
        if harness.token_totals(usd).await?.escrows.is_zero() {
            harness.chain.produce_block()?;
        }
    }
    let held = harness.view(&billing.escrow(EscrowId(1))).await?.ok_or_else(|| anyhow::anyhow!("nothing is held"))?;
    assert!(matches!(held.escrow.state, State::Held { .. }) && held.available == PAID, "{held:?}");
    harness.pass(DurationMs::from_secs(700)).await?;
    harness.hold_blocks(false);
    assert_eq!(sent.outcome().await?.json::<Amount>()?, PAID, "the token must not pay back what billing credits");
    // The token does not wait for the target's answer; the test does.
    for _ in 0..500 {
        if harness.view(&billing.escrow(EscrowId(1))).await?.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((market.free_usd(&alice.account).await?, harness.token_surplus(usd).await?), (PAID, Amount::ZERO));
    Ok(())
}

#[tokio::test]
async fn compute__should_refuse_tokens_without_loss() -> anyhow::Result<()> {
    let market = Market::open_on(Harness::start_with(&["billing", "compute"]).await?).await?;
    let (harness, usd, alice, billing) = (&market.harness, &market.usd, &market.alice, market.harness.billing());
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let target = harness.deployment.compute.clone();
    let args = PayArgs { target, amount: PAID, storage: msg.storage(), bounds: harness.bounds().await?, msg };
    let near = free(harness, &alice.account).await?;
    let answer = harness.call(alice, &usd.token.pay(&billing, PAID, &args)).await?;
    assert!(answer.billing_events().iter().any(|event| matches!(event, BillingEvent::EscrowRefused { moved, .. } if moved.refund == PAID)));
    assert_eq!(market.free_usd(&alice.account).await?, PAID);
    let storage = Billing::pay_storage().checked_add(args.storage)?;
    assert_eq!(free(harness, &alice.account).await?, near.checked_add(storage)?, "its storage came back with it");
    assert!(harness.call(alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?.json::<bool>()?);
    assert_eq!(market.usd_of(&alice.account).await?, MINTED);
    Ok(())
}
