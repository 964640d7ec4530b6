//! Random walks with tokens: whatever is called in whatever order, and however the token behaves, each asset's books balance after each step, and in the end all of it leaves.

use crate::{books::surplus, tokens::Market};
use starling_contract_api::{Call, ONE_YOCTO, billing::EscrowView, rpc::Signer};
use starling_primitives::{Amount, BasisPoints, DurationMs, Hash32};
use starling_protocol::{
    escrow::{Authority, Posting, Share},
    signing::Voucher,
};
use starling_tests::{
    Actor, Answer,
    walk::{Draw, Tally, left_in_tokens, steps},
};

const STEPS: u32 = 600;

struct Walk {
    market: Market,
    /// Alice, bob, and carol whom `billing` does not know.
    people: [Actor; 3],
    key: Signer,
    manner: &'static str,
    draw: Draw,
    tally: Tally,
    /// What the token kept although it said that it paid.
    lied: u128,
    /// Attached to `billing` and neither forwarded nor returned.
    yoctos: u128,
}

impl Walk {
    async fn start(seed: u64) -> anyhow::Result<Self> {
        let market = Market::open().await?;
        let harness = &market.harness;
        let (bob, carol) = (harness.registered("bob.starling", 50).await?, harness.actor("carol.starling", 20).await?);
        let people = [market.alice.clone(), bob, carol];
        for person in &people[..2] {
            harness.add_storage_credit(person, Amount::from_near(20)).await?;
            harness.tell(&market.usd.mint(&person.account, Amount(1_000_000))).await?;
        }
        let key = Signer::from_seed(people[0].account.clone(), [42; 32]);
        Ok(Self { market, people, key, manner: "honest", draw: Draw(seed), tally: Tally::default(), lied: 0, yoctos: 0 })
    }

    fn below(&mut self, bound: u64) -> u128 {
        u128::from(self.draw.below(bound))
    }

    fn chance(&mut self, of: u64) -> bool {
        self.draw.below(of) == 0
    }

    /// Fixed parts for alice and for carol, whom `billing` does not know; bob gets the rest.
    fn parts(&mut self) -> anyhow::Result<(Vec<Share>, Vec<Posting>)> {
        let [alice, bob, carol] = self.people.each_ref().map(|person| person.account.clone());
        let mut share = |account| anyhow::Ok(Share { account, part: BasisPoints::new(u16::try_from(self.draw.below(4_900))?)? });
        Ok((vec![share(alice)?, share(carol)?], vec![Posting { payee: bob, total: Amount::ZERO }]))
    }

    async fn escrows(&self) -> anyhow::Result<Vec<EscrowView>> {
        self.market.harness.escrows_of_all(&self.people[..2]).await
    }

    /// Any call by anyone who could mean it, sensible or not.
    async fn next(&mut self) -> anyhow::Result<(Actor, Call)> {
        let billing = self.market.harness.billing();
        let token = self.market.usd.account.clone();
        let who = usize::from(self.chance(2));
        let person = self.people[who].clone();
        let escrows = self.escrows().await?;
        let newest = usize::try_from(self.below(3))?;
        let escrow = escrows.iter().rev().nth(newest).or(escrows.last()).map_or(starling_primitives::EscrowId(1), |view| view.id);
        let amount = Amount(1 + self.below(3_000));
        let payee = self.people[usize::try_from(self.below(3))?].account.clone();
        let call = match self.draw.below(24) {
            0..=2 => self.market.usd.token.deposit(&billing, amount),
            3..=8 => {
                let named = self.chance(2).then(|| self.key.public_key());
                // Now and then the target answers something else than the payer fixed.
                let answered = if self.chance(6) { None } else { named };
                let (parts, postings) = if self.chance(3) { self.parts()? } else { (Vec::new(), Vec::new()) };
                self.market.accept_parts(answered.map_or(Authority::Arbiter, Authority::Voucher), parts, postings).await?;
                let mut args = self.market.payment(amount).await?;
                args.bounds.voucher = named;
                let sent = Amount(1 + self.below(6_000));
                match self.draw.below(3) {
                    0 => billing.pay_tokens_from_balance(&token, &args),
                    1 => self.market.usd.token.pay(&billing, amount, &args),
                    _ => self.market.usd.token.pay(&billing, sent, &args),
                }
            }
            9..=11 => {
                let (seq, total, close) = (self.draw.below(6), self.below(2_000), self.chance(4));
                self.market.post(escrow, seq, &[(&payee, total)], close)
            }
            12..=14 => {
                let voucher = Voucher {
                    escrow_id: escrow,
                    seq: self.draw.below(6),
                    payee,
                    total: Amount(self.below(2_000)),
                    work_root: Hash32::default(),
                };
                let signature = self.key.sign_bytes(&voucher.signing_bytes(&self.market.harness.deployment.billing_domain()));
                billing.redeem(&voucher, &signature)
            }
            15 | 16 => billing.withdraw_token(&token, (!self.chance(3)).then_some(amount)),
            17 => {
                self.manner = ["honest", "honest", "fails", "lies"][usize::try_from(self.below(4))?];
                self.market.usd.set_manner(self.manner)
            }
            18 => return Ok((self.market.harness.owner.clone(), billing.set_token(&token, !self.chance(3)))),
            19 => return Ok((self.market.harness.owner.clone(), billing.withdraw_token_fees(&token))),
            20 => billing.claim(escrow, &payee),
            21 => billing.ask_closing(escrow),
            22 => {
                let hours = 1 + self.draw.below(40);
                self.market.harness.pass(DurationMs::from_hours(hours)).await?;
                billing.close(escrow)
            }
            _ => billing.storage_withdraw(Some(amount)),
        };
        Ok((person, call))
    }

    /// Makes a call, and counts what a token kept and which yocto stayed.
    async fn make(&mut self, actor: &Actor, call: &Call) -> anyhow::Result<Answer> {
        let answer = self.market.harness.call(actor, call).await?;
        self.tally.note(&call.method, answer.value.is_ok());
        if answer.value.is_err() {
            return Ok(answer);
        }
        let left: u128 = answer.billing_events().iter().map(left_in_tokens).sum();
        let arrived = left > 0 && answer.json::<bool>()?;
        if arrived && self.manner == "lies" {
            self.lied += left;
        }
        self.yoctos += u128::from(call.deposit == ONE_YOCTO && call.contract == self.market.harness.deployment.billing && !arrived);
        Ok(answer)
    }

    /// Every unit leaves: escrows close by time alone, carol registers and claims, everyone withdraws from an honest token that knows them.
    async fn end(&mut self) -> anyhow::Result<()> {
        let (billing, usd) = (self.market.harness.billing(), self.market.usd.clone());
        self.manner = "honest";
        self.market.harness.tell(&usd.set_manner("honest")).await?;
        self.market.harness.pass(DurationMs::from_days(8)).await?;
        let (carol, owner) = (self.people[2].clone(), self.market.harness.owner.clone());
        self.market.harness.add_storage_credit(&carol, Amount::from_near(1)).await?;
        for view in self.escrows().await? {
            self.make(&owner, &billing.close(view.id)).await?;
            self.make(&owner, &billing.claim(view.id, &carol.account)).await?;
        }
        let leaving = [self.people.to_vec(), vec![owner.clone()]].concat();
        for person in &leaving {
            self.market.harness.tell(&usd.mint(&person.account, Amount::ZERO)).await?;
            let fees = person.account == owner.account;
            let call = if fees { billing.withdraw_token_fees(&usd.account) } else { billing.withdraw_token(&usd.account, None) };
            self.make(person, &call).await?;
        }
        Ok(())
    }
}

async fn walk(seed: u64) -> anyhow::Result<()> {
    let mut walk = Walk::start(seed).await?;
    let reserve = surplus(&walk.market.harness).await?;
    for step in 0..steps(STEPS) {
        let (actor, call) = walk.next().await?;
        walk.make(&actor, &call).await?;
        let now = (walk.market.harness.token_surplus(&walk.market.usd).await?, surplus(&walk.market.harness).await?);
        let expected = (Amount(walk.lied), Amount(reserve.0 + walk.yoctos));
        anyhow::ensure!(now == expected, "seed {seed}, step {step}: {} by {} left {now:?}, not {expected:?}", call.method, actor.account);
    }
    let methods = ["ft_transfer_call", "pay_from_balance", "relay", "redeem", "withdraw", "close"];
    walk.tally.finish(&format!("tokens that lie and fail, seed {seed}"), &methods)?;
    walk.end().await?;
    let totals = walk.market.harness.token_totals(&walk.market.usd).await?;
    assert_eq!((totals.balances, totals.escrows, totals.fees), (Amount::ZERO, Amount::ZERO, Amount::ZERO), "seed {seed}");
    let left = walk.market.harness.tokens_of(&walk.market.usd, &walk.market.harness.deployment.billing).await?;
    assert_eq!((left, surplus(&walk.market.harness).await?), (Amount(walk.lied), Amount(reserve.0 + walk.yoctos)));
    Ok(())
}

#[tokio::test]
async fn token_books__should_balance_after_any_call() -> anyhow::Result<()> {
    walk(3).await
}

#[tokio::test]
async fn token_books__should_balance_after_any_other_call() -> anyhow::Result<()> {
    walk(4).await
}
