//! Vouchers: a key that the payer named signs cumulative claims, and nothing else moves the escrow.

use crate::{
    books::{free, free_of, surplus},
    tokens::Market,
};
use starling_contract_api::{
    billing::{Billing, TOKEN_BALANCE_BYTES},
    events::BillingEvent,
    payment::{PayArgs, PayResult, storage_cost},
    rpc::Signer,
};
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, EscrowId, Hash32, PublicKey};
use starling_protocol::{
    escrow::Authority,
    signing::{Domain, Voucher},
};
use starling_tests::{Actor, Answer, FEE};

const DEPOSIT: Amount = Amount(9_000_000_000_000_000_000_000_007);

/// A market whose target answers with vouchers of one key, and a payee.
struct Metered {
    market: Market,
    bob: Actor,
    /// The payer's voucher key: no account has it.
    key: Signer,
}

impl Metered {
    async fn open() -> anyhow::Result<Self> {
        let market = Market::open().await?;
        let bob = market.harness.registered("bob.starling", 20).await?;
        let key = Signer::from_seed(market.alice.account.clone(), [42; 32]);
        market.accept(Authority::Voucher(key.public_key())).await?;
        Ok(Self { market, bob, key })
    }

    async fn args(&self, voucher: Option<PublicKey>) -> anyhow::Result<PayArgs> {
        let mut args = self.market.payment(DEPOSIT).await?;
        args.bounds.voucher = voucher;
        Ok(args)
    }

    async fn pay(&self, voucher: Option<PublicKey>) -> anyhow::Result<Answer> {
        let args = self.args(voucher).await?;
        let attached = Amount::sum([DEPOSIT, args.storage, Billing::pay_storage()])?;
        self.market.harness.call(&self.market.alice, &self.market.harness.billing().pay(&args, attached)).await
    }

    async fn escrow(&self) -> anyhow::Result<EscrowId> {
        let result: PayResult = self.pay(Some(self.key.public_key())).await?.ok()?.json()?;
        anyhow::ensure!(result.opened, "{result:?}");
        Ok(result.escrow_id)
    }

    fn domain(&self) -> Domain {
        self.market.harness.deployment.billing_domain()
    }

    fn voucher(&self, escrow_id: EscrowId, seq: u64, total: Amount) -> Voucher {
        Voucher { escrow_id, seq, payee: self.bob.account.clone(), total, work_root: Hash32::sha256(&seq.to_le_bytes()) }
    }

    /// Brings a voucher as its own payee, signed by the key for this domain.
    async fn redeem_for(&self, voucher: &Voucher, domain: &Domain) -> anyhow::Result<Answer> {
        let signature = self.key.sign_bytes(&voucher.signing_bytes(domain));
        self.market.harness.call(&self.bob, &self.market.harness.billing().redeem(voucher, &signature)).await
    }

    async fn redeem(&self, voucher: &Voucher) -> anyhow::Result<Answer> {
        self.redeem_for(voucher, &self.domain()).await
    }
}

fn net(gross: Amount) -> Amount {
    Amount(gross.0 - gross.fraction_ceil(BasisPoints::new(FEE).unwrap_or_default()).0)
}

#[tokio::test]
async fn voucher__should_pay_its_highest_total_once() -> anyhow::Result<()> {
    let metered = Metered::open().await?;
    let (harness, billing) = (&metered.market.harness, metered.market.harness.billing());
    let (reserve, id) = (surplus(harness).await?, metered.escrow().await?);
    let alice_before = free(harness, &metered.market.alice.account).await?;
    let (first, third) = (metered.voucher(id, 1, Amount::from_near(1)), metered.voucher(id, 3, Amount::from_near(4)));

    // The third comes first; then the first is late, and the third is a replay.
    let redeemed = metered.redeem(&third).await?.ok()?;
    println!("a voucher burns {} Tgas in all, {} in the largest receipt", redeemed.total_tgas, redeemed.largest_receipt_tgas);
    assert!(redeemed.json::<bool>()?);
    assert!(
        redeemed.billing_events().iter().any(|event| matches!(event, BillingEvent::VoucherRedeemed { voucher, .. } if *voucher == third))
    );
    assert_eq!(free(harness, &metered.bob.account).await?, net(third.total));
    for voucher in [&first, &third, &metered.voucher(id, 2, Amount::from_near(8))] {
        let answer = metered.redeem(voucher).await?.ok()?;
        assert!(!answer.json::<bool>()? && answer.billing_events().is_empty(), "{voucher:?}");
    }
    metered.redeem(&metered.voucher(id, 4, Amount::from_near(3))).await?.refused("would fall")?;
    metered.redeem(&metered.voucher(id, 4, Amount(DEPOSIT.0 + 1))).await?.refused("pass what was deposited")?;
    assert_eq!(free(harness, &metered.bob.account).await?, net(third.total));

    // The last one takes nearly all; after the day and its grace nothing is taken, and the rest returns without anyone's good will.
    let last = metered.voucher(id, 9, Amount(DEPOSIT.0 - 2));
    assert!(metered.redeem(&last).await?.ok()?.json::<bool>()?);
    harness.call(&metered.bob, &billing.close(id)).await?.refused("too early")?;
    harness.pass(DurationMs::from_hours(26)).await?;
    metered.redeem(&metered.voucher(id, 10, DEPOSIT)).await?.refused("too late")?;
    harness.call(&metered.bob, &billing.close(id)).await?.ok()?;
    assert_eq!(free(harness, &metered.bob.account).await?, net(last.total));
    let storage = starling_contract_api::billing::escrow_storage(3);
    assert_eq!(free(harness, &metered.market.alice.account).await?, Amount::sum([alice_before, Amount(2), storage])?);
    metered.redeem(&last).await?.refused("there is no escrow")?;
    assert_eq!(surplus(harness).await?, reserve);
    Ok(())
}

#[tokio::test]
async fn voucher__should_be_worth_nothing_anywhere_else() -> anyhow::Result<()> {
    let metered = Metered::open().await?;
    let harness = &metered.market.harness;
    let (one, other) = (metered.escrow().await?, metered.escrow().await?);
    let voucher = metered.voucher(one, 1, Amount::from_near(1));
    let here = metered.domain();
    let elsewhere = [
        Domain { chain_id: "mainnet".to_owned(), ..here.clone() },
        Domain { instance: here.instance + 1, ..here.clone() },
        Domain { contract: AccountId::new("billing.other")?, ..here.clone() },
        harness.deployment.compute_domain(),
    ];
    for domain in &elsewhere {
        metered.redeem_for(&voucher, domain).await?.refused("not signed by the escrow's voucher key")?;
    }
    // The same signature over another escrow, number, payee, total or work; and another key's.
    let billing = harness.billing();
    let signature = metered.key.sign_bytes(&voucher.signing_bytes(&here));
    let altered = [
        Voucher { escrow_id: other, ..voucher.clone() },
        Voucher { seq: 2, ..voucher.clone() },
        Voucher { payee: metered.market.alice.account.clone(), ..voucher.clone() },
        Voucher { total: Amount::from_near(2), ..voucher.clone() },
        Voucher { work_root: Hash32::sha256(b"other work"), ..voucher.clone() },
    ];
    for voucher in &altered {
        harness.call(&metered.bob, &billing.redeem(voucher, &signature)).await?.refused("not signed by the escrow's voucher key")?;
    }
    for stranger in [&metered.bob, &metered.market.alice] {
        let signature = stranger.sign(&voucher.signing_bytes(&here));
        harness.call(stranger, &billing.redeem(&voucher, &signature)).await?.refused("not signed by the escrow's voucher key")?;
    }
    assert_eq!(free(harness, &metered.bob.account).await?, Amount::ZERO);
    // Each escrow counts for itself.
    for id in [one, other] {
        assert!(metered.redeem(&metered.voucher(id, 1, Amount::from_near(1))).await?.ok()?.json::<bool>()?);
    }
    assert_eq!(free(harness, &metered.bob.account).await?.0, 2 * net(Amount::from_near(1)).0);
    Ok(())
}

#[tokio::test]
async fn authority__should_be_what_the_payer_named() -> anyhow::Result<()> {
    let metered = Metered::open().await?;
    let (harness, market, key) = (&metered.market.harness, &metered.market, metered.key.public_key());
    let reserve = surplus(harness).await?;
    // Keys that anyone can sign for: the zero point's and the identity's encodings.
    let mut identity = [0; 32];
    identity[0] = 1;
    for weak in [[0; 32], identity] {
        metered.pay(Some(PublicKey(weak))).await?.refused("small order")?;
    }
    // The target answers with the key: whoever named none, or another, has everything back.
    for named in [None, Some(metered.bob.public_key())] {
        let result: PayResult = metered.pay(named).await?.json()?;
        assert!(!result.opened && result.reason.as_ref().is_some_and(|reason| reason.contains("bounds: authority")), "{result:?}");
    }
    let id = metered.escrow().await?;
    harness.call(&metered.bob, &market.post(id, 1, &[(&metered.bob.account, 1)], true)).await?.refused("posts of its voucher key alone")?;
    // The other way round: the target wants to post itself, the payer wants vouchers.
    market.accept(Authority::Arbiter).await?;
    assert!(!metered.pay(Some(key)).await?.json::<PayResult>()?.opened);
    let result: PayResult = metered.pay(None).await?.ok()?.json()?;
    assert!(result.opened);
    metered.redeem(&metered.voucher(result.escrow_id, 1, Amount(1))).await?.refused("posts of its arbiter alone")?;
    harness.call(&metered.bob, &market.post(result.escrow_id, 1, &[(&metered.bob.account, 100)], true)).await?.ok()?;
    assert_eq!(free(harness, &metered.bob.account).await?, net(Amount(100)));
    assert_eq!(surplus(harness).await?, reserve);
    Ok(())
}

#[tokio::test]
async fn voucher__should_pay_tokens_as_it_pays_near() -> anyhow::Result<()> {
    let metered = Metered::open().await?;
    let (harness, market, billing) = (&metered.market.harness, &metered.market, metered.market.harness.billing());
    harness.add_storage_credit(&metered.bob, storage_cost(TOKEN_BALANCE_BYTES)).await?;
    let mut args = metered.args(Some(metered.key.public_key())).await?;
    args.amount = Amount(1_001);
    harness.call(&market.alice, &market.usd.token.pay(&billing, args.amount, &args)).await?.ok()?;
    let id = harness.view(&billing.escrows_of(&market.alice.account, 0, 1)).await?.first().map(|view| view.id);
    let id = id.ok_or_else(|| anyhow::anyhow!("no escrow"))?;
    for (seq, total) in [(1, 333), (2, 667), (3, 1_001)] {
        assert!(metered.redeem(&metered.voucher(id, seq, Amount(total))).await?.ok()?.json::<bool>()?);
        assert_eq!(free_of(harness, &metered.bob.account, &market.asset()).await?, net(Amount(total)));
    }
    let totals = harness.token_totals(&market.usd).await?;
    assert_eq!((totals.escrows, totals.fees), (Amount::ZERO, Amount(1_001 - net(Amount(1_001)).0)));
    assert_eq!(harness.token_surplus(&market.usd).await?, Amount::ZERO);
    assert_eq!(free(harness, &metered.bob.account).await?, Amount::ZERO, "no NEAR moved");
    Ok(())
}
