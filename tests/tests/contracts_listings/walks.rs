//! Random walks over hub, market and `billing`: whoever calls whatever in whatever order, with answers that come too late or outside a payer's bounds, shops that refuse and
//! tokens that fail, the books balance to the unit after each step, and in the end everyone has what is theirs.

mod books;
mod sharing;

use crate::{metered, prices::with_tokens, shops::*};
use starling_contract_api::{
    Call, ONE_YOCTO,
    billing::{Billing, EscrowView},
    events::BillingEvent,
    hub::{HUB_STANDARD, LISTING_BYTES, ListingEvent, Listings, MARKET_STANDARD, PublishArgs, RATING_BYTES},
    payment::{LICENCE_BYTES, PayArgs, PaymentMsg, storage_cost},
};
use starling_localnet::BlockMode;
use starling_primitives::{Amount, Asset, AssetName, DurationMs, EscrowId};
use starling_protocol::listing::{Kind, Listing, Stars};
use starling_tests::{
    Actor, Answer, Harness, Scripted,
    walk::{Draw, Tally, left_in_tokens, steps},
};

const STEPS: u32 = 400;
/// Enough for every receipt of a call, the last callback's refunds included.
const BLOCKS_TO_REST: u32 = 8;
/// Prices in either asset are drawn below it.
const MAX_PRICE: u64 = 5_000;

struct Walk {
    harness: Harness,
    usd: Scripted,
    shops: [Listings; 2],
    /// Three whom `billing` knows, and one whom it comes to know only when he buys.
    people: Vec<Actor>,
    manner: &'static str,
    draw: Draw,
    names: Vec<(usize, AssetName)>,
    /// What each shop has accepted and not heard of since.
    pending: Vec<(usize, EscrowId)>,
    seq: u64,
    tally: Tally,
    lied: u128,
    /// Attached to `billing`, and to each shop, and neither forwarded nor returned.
    yoctos: u128,
    shop_yoctos: [u128; 2],
    /// What each shop had above its storage in the beginning.
    spare: [u128; 2],
}

/// What is called, and whether blocks are held meanwhile until the answer is too late.
struct Step {
    actor: Actor,
    call: Call,
    late: bool,
}

impl Walk {
    async fn start(seed: u64) -> anyhow::Result<Self> {
        let harness = Harness::start_in(BlockMode::Manual, &["billing", "hub", "market"]).await?;
        let usd = harness.listed_token("usd.starling").await?;
        let shops = [Listings(harness.deployment.hub.clone()), Listings(harness.deployment.market.clone())];
        let mut people = Vec::new();
        for name in ["alice.starling", "bob.starling", "carol.starling"] {
            let person = with_tokens(&harness, &usd, name).await?;
            harness.add_storage_credit(&person, Amount::from_near(10)).await?;
            harness.call(&person, &harness.billing().deposit(Amount::from_near(10))).await?.ok()?;
            harness.call(&person, &usd.token.deposit(&harness.billing(), Amount(500_000))).await?.ok()?;
            people.push(person);
        }
        people.push(harness.actor("dave.starling", 100).await?);
        let mut walk = Self {
            harness,
            usd,
            shops,
            people,
            manner: "honest",
            draw: Draw(seed),
            names: Vec::new(),
            pending: Vec::new(),
            seq: 0,
            tally: Tally::default(),
            lied: 0,
            yoctos: 0,
            shop_yoctos: [0; 2],
            spare: [0; 2],
        };
        walk.spare = [walk.spare_of(0).await?, walk.spare_of(1).await?];
        walk.join().await?;
        Ok(walk)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw.below(bound)
    }

    fn chance(&mut self, of: u64) -> bool {
        self.draw.below(of) == 0
    }

    fn place(&mut self, len: usize) -> anyhow::Result<usize> {
        Ok(usize::try_from(self.draw.below(u64::try_from(len)?))?)
    }

    fn asset(&mut self) -> Asset {
        if self.chance(2) { Asset::Near } else { Asset::Nep141(self.usd.account.clone()) }
    }

    fn amount(&mut self) -> Amount {
        Amount(u128::from(self.below(MAX_PRICE)))
    }

    fn anyone(&mut self) -> anyhow::Result<Actor> {
        let place = self.place(self.people.len())?;
        Ok(self.people[place].clone())
    }

    /// A listing, or a name that nobody has published.
    fn any_listing(&mut self) -> anyhow::Result<(usize, AssetName)> {
        if self.names.is_empty() || self.chance(30) {
            return Ok((0, AssetName::new(self.people[0].account.clone(), "nothing")?));
        }
        // Often what three ancestors share.
        let place = if self.chance(4) { 3 + 4 * self.place(2)? } else { self.place(self.names.len())? };
        self.names.get(place).cloned().ok_or_else(|| anyhow::anyhow!("nothing is joined"))
    }

    /// A listing of which an account holds a licence, if it holds one.
    async fn held(&mut self, holder: &Actor) -> anyhow::Result<(usize, AssetName)> {
        let shop = self.place(2)?;
        let licences = self.harness.view(&self.shops[shop].licences_of(&holder.account, 0, 100)).await?;
        let place = self.place(licences.len().max(1))?;
        match licences.into_iter().nth(place) {
            Some(licence) => Ok((shop, licence.name)),
            None => self.any_listing(),
        }
    }

    async fn escrows(&self) -> anyhow::Result<Vec<EscrowView>> {
        self.harness.escrows_of_all(&self.people).await
    }

    /// Any call by anyone who could mean it, sensible or not.
    async fn next(&mut self) -> anyhow::Result<Step> {
        let billing = self.harness.billing();
        let mut actor = self.anyone()?;
        let mut late = false;
        let call = match self.below(34) {
            0..=3 => self.publication()?,
            4..=12 => {
                let payment = self.payment(&actor).await?;
                late = self.chance(12);
                payment
            }
            13..=16 => self.voucher().await?,
            17 => {
                let (shop, name) = self.any_listing()?;
                actor = self.publisher_of(&name, actor);
                let (asset, price) = (self.asset(), self.amount());
                let per_use = (!self.chance(3)).then(|| Amount(1 + price.0 / 4));
                self.shops[shop].set_price(&name, &asset, price, per_use, storage_cost(100))
            }
            18 => {
                let (shop, name) = self.any_listing()?;
                // Rarely, for it is for good.
                if self.chance(6) {
                    actor = self.publisher_of(&name, actor);
                }
                self.shops[shop].delist(&name)
            }
            19 | 32 => {
                let (shop, name) = self.any_listing()?;
                self.shops[shop].take_licence(&name, storage_cost(LICENCE_BYTES))
            }
            20..=22 => {
                let (shop, name) = self.held(&actor).await?;
                let stars = Stars::new(1 + u8::try_from(self.below(5))?)?;
                let text = "word ".repeat(self.place(50)?).parse()?;
                self.shops[shop].rate(&name, stars, &text, storage_cost(RATING_BYTES))
            }
            23 => {
                let hours = 1 + self.below(60);
                self.harness.pass(DurationMs::from_hours(hours)).await?;
                self.forgetting(&actor)?
            }
            24 => {
                let escrow = self.any_escrow().await?;
                match self.below(5) {
                    0 => billing.ask_closing(escrow),
                    1 => billing.confirm(escrow),
                    2 => billing.void(escrow),
                    _ => billing.close(escrow),
                }
            }
            25 => {
                let escrow = self.any_escrow().await?;
                let payee = self.anyone()?;
                billing.claim(escrow, &payee.account)
            }
            26 => billing.withdraw(Some(Amount(u128::from(self.below(1_000)) * 1_000_000_000_000_000_000_001))),
            27 => {
                let amount = self.amount();
                billing.withdraw_token(&self.usd.account.clone(), Some(amount))
            }
            28 => {
                self.manner = ["honest", "honest", "fails", "lies"][self.place(4)?];
                self.usd.set_manner(self.manner)
            }
            29..=31 => self.sharing().await?,
            _ => {
                actor = self.harness.owner.clone();
                let shop = self.place(2)?;
                // More often open than not.
                let paused = self.chance(8);
                self.shops[shop].set_paused(paused)
            }
        };
        Ok(Step { actor, call, late })
    }

    fn publisher_of(&self, name: &AssetName, otherwise: Actor) -> Actor {
        self.people.iter().find(|person| person.account == *name.publisher()).cloned().unwrap_or(otherwise)
    }

    fn publication(&mut self) -> anyhow::Result<Call> {
        let shop = self.place(2)?;
        let mut parents = Vec::new();
        for _ in 0..self.below(5) {
            let (of, name) = self.any_listing()?;
            if of == shop && !parents.contains(&name) {
                parents.push(name);
            }
        }
        let price = if self.chance(3) { Amount::ZERO } else { self.amount() };
        let args = PublishArgs {
            kind: if shop == 0 { Kind::Model } else { Kind::Tool },
            asset: self.asset(),
            price_per_use: (!price.is_zero() && !self.chance(3)).then(|| Amount(1 + price.0 / 4)),
            parents,
            ..model(&format!("asset-{}", self.below(40)), price)
        };
        Ok(self.shops[shop].publish(&args, storage_cost(LISTING_BYTES)))
    }

    /// A payment for a licence or a use: mostly what it costs, in what it costs.
    async fn payment(&mut self, payer: &Actor) -> anyhow::Result<Call> {
        let (mut shop, mut name) = self.any_listing()?;
        let mut found = None;
        // Mostly something of somebody else's that is sold; whatever the last look finds otherwise.
        for _ in 0..6 {
            (shop, name) = self.any_listing()?;
            found = self.harness.view(&self.shops[shop].listing(&name)).await?;
            let sold = |listing: &Listing| *name.publisher() != payer.account && !listing.delisted && !listing.price.is_zero();
            if found.as_ref().is_some_and(sold) {
                break;
            }
        }
        let target = self.shops[shop].clone();
        let held = self.harness.view(&target.licence(&payer.account, &name)).await?.is_some();
        let uses = found.as_ref().is_some_and(|listing| listing.price_per_use.is_some());
        let (asset, price) = found.map_or((Asset::Near, Amount(1)), |listing| (listing.asset, listing.price));
        let mut args = if (uses && (held || self.chance(2))) || self.chance(12) {
            let deposit = Amount(u128::from((1 + self.below(3)) * MAX_PRICE));
            metered::use_args(&self.harness, &target, payer, &name, deposit).await?
        } else {
            let msg = PaymentMsg::Licence { name };
            PayArgs { target: target.0, amount: price, storage: msg.storage(), bounds: self.harness.bounds().await?, msg }
        };
        args.bounds.post_at_once = if self.chance(8) { Amount(1) } else { args.amount };
        if self.chance(12) {
            args.amount = self.amount();
        }
        if self.chance(12) {
            args.bounds.voucher = None;
        }
        if self.chance(15) {
            args.storage = Amount(3);
        }
        let asset = if self.chance(12) { self.asset() } else { asset };
        let billing = self.harness.billing();
        let attached = Amount::sum([args.amount, args.storage, Billing::pay_storage(), Amount::from_millinear(5)])?;
        Ok(match (asset, self.below(2)) {
            (Asset::Near, 0) => billing.pay(&args, attached),
            (Asset::Near, _) => billing.pay_from_balance(&args, false),
            (Asset::Nep141(token), 0) => billing.pay_tokens_from_balance(&token, &args),
            (Asset::Nep141(_), _) => self.usd.token.pay(&billing, Amount(args.amount.0 + 7), &args),
        })
    }

    /// A voucher of one of the open uses, for whom its escrow names, or for somebody else.
    async fn voucher(&mut self) -> anyhow::Result<Call> {
        let escrows = self.escrows().await?;
        let uses: Vec<_> = escrows.iter().filter(|view| view.escrow.voucher_key().is_ok()).collect();
        let Some(view) = uses.get(self.place(uses.len().max(1))?) else {
            return Ok(self.harness.billing().claim(EscrowId(1), &self.people[0].account.clone()));
        };
        let opened = view.escrow.state.opened().ok_or_else(|| anyhow::anyhow!("it has a voucher key"))?;
        let named = opened.payees.get(opened.parts.len()).map(|payee| payee.account.clone());
        let payee = if self.chance(10) { self.anyone()?.account } else { named.unwrap_or_else(|| self.people[0].account.clone()) };
        let posted = opened.total().0;
        let total = if self.chance(8) { self.amount() } else { Amount(posted + u128::from(self.below(1_500))) };
        self.seq += 1;
        let payer = self.people.iter().find(|person| person.account == view.escrow.payer).ok_or_else(|| anyhow::anyhow!("whose is it?"))?;
        let billing = self.harness.deployment.billing_domain();
        let (voucher, signature) = metered::voucher(payer, view.id, self.seq, payee, total, &billing);
        Ok(self.harness.billing().redeem(&voucher, &signature))
    }

    fn forgetting(&mut self, actor: &Actor) -> anyhow::Result<Call> {
        if !self.pending.is_empty() && self.chance(2) {
            let place = self.place(self.pending.len())?;
            let (shop, escrow) = self.pending[place];
            return Ok(self.shops[shop].forget_payment(escrow));
        }
        let (shop, name) = self.any_listing()?;
        Ok(self.shops[shop].forget_use(&actor.account, &name))
    }

    async fn any_escrow(&mut self) -> anyhow::Result<EscrowId> {
        let escrows = self.escrows().await?;
        let place = self.place(escrows.len().max(1))?;
        Ok(escrows.get(place).map_or(EscrowId(1), |view| view.id))
    }

    /// Makes a call, and counts what followed.
    async fn make(&mut self, step: &Step) -> anyhow::Result<Answer> {
        let Step { actor, call, late } = step;
        let answer = if *late {
            self.harness.hold_blocks(true);
            let sent = self.harness.send(actor, call).await?;
            for _ in 0..3 {
                self.harness.chain.produce_block()?;
            }
            self.harness.pass(DurationMs::from_secs(700)).await?;
            self.harness.hold_blocks(false);
            sent.outcome().await?
        } else {
            self.harness.call(actor, call).await?
        };
        // What nobody waits for, such as a payment that a token told of, may still be on its way.
        for _ in 0..BLOCKS_TO_REST {
            self.harness.chain.produce_block()?;
        }
        self.follow(&answer)?;
        let opened = answer.billing_events().iter().any(|event| matches!(event, BillingEvent::EscrowOpened { .. }));
        let pays = matches!(call.method.as_str(), "pay" | "pay_from_balance" | "ft_transfer_call");
        let taken = answer.value.is_ok() && (opened || !pays);
        self.tally.note(&call.method, taken);
        if answer.value.is_err() {
            return Ok(answer);
        }
        let left: u128 = answer.billing_events().iter().map(left_in_tokens).sum();
        let arrived = left > 0 && answer.json::<bool>()?;
        if arrived && self.manner == "lies" {
            self.lied += left;
        }
        if call.deposit == ONE_YOCTO {
            self.yoctos += u128::from(call.contract == self.harness.deployment.billing && !arrived);
            for shop in 0..2 {
                self.shop_yoctos[shop] += u128::from(call.contract == self.shops[shop].0);
            }
        }
        Ok(answer)
    }

    /// What the shops say of what was published, and of payments that wait.
    fn follow(&mut self, answer: &Answer) -> anyhow::Result<()> {
        for (shop, standard) in [HUB_STANDARD, MARKET_STANDARD].into_iter().enumerate() {
            let events = answer.logs.iter().filter_map(|line| starling_contract_api::events::parse::<ListingEvent>(line, standard));
            for event in events {
                let settled = match event {
                    ListingEvent::ListingPublished { listing } => {
                        self.names.push((shop, listing.name));
                        None
                    }
                    ListingEvent::LicencePaid { licence } => {
                        self.pending.extend(licence.escrow_id.map(|escrow| (shop, escrow)));
                        None
                    }
                    ListingEvent::UsePaid { metered } => {
                        self.pending.push((shop, metered.escrow_id));
                        None
                    }
                    ListingEvent::LicenceGranted { escrow_id }
                    | ListingEvent::UseOpened { escrow_id }
                    | ListingEvent::PaymentForgotten { escrow_id } => Some(escrow_id),
                    _ => None,
                };
                self.pending.retain(|(_, escrow)| Some(*escrow) != settled);
            }
        }
        Ok(())
    }

    /// Everything leaves: shops forget what never opened, escrows close by time alone, whoever earned registers, claims and withdraws.
    async fn end(&mut self) -> anyhow::Result<()> {
        let (billing, usd, owner) = (self.harness.billing(), self.usd.clone(), self.harness.owner.clone());
        self.manner = "honest";
        self.harness.tell(&usd.set_manner("honest")).await?;
        self.harness.pass(DurationMs::from_days(9)).await?;
        for (shop, escrow) in std::mem::take(&mut self.pending) {
            // One that could not open any more made room for the next payment of its holder.
            if self.harness.view(&self.shops[shop].payment_answer(escrow)).await?.is_some() {
                self.pending.push((shop, escrow));
            }
        }
        for (shop, escrow) in self.pending.clone() {
            let call = self.shops[shop].forget_payment(escrow);
            self.make(&Step { actor: owner.clone(), call, late: false }).await?;
        }
        let dave = self.people[3].clone();
        self.harness.add_storage_credit(&dave, Amount::from_near(1)).await?;
        let splits = self.open_splits().await?;
        for view in self.escrows().await? {
            let claims = splits.iter().map(|split| billing.claim(view.id, &split.account()));
            for call in [billing.close(view.id), billing.void(view.id), billing.claim(view.id, &dave.account)].into_iter().chain(claims) {
                self.make(&Step { actor: owner.clone(), call, late: false }).await?;
            }
        }
        self.take_all(&splits).await?;
        for person in [self.people.clone(), vec![owner.clone()]].concat() {
            self.harness.tell(&usd.mint(&person.account, Amount::ZERO)).await?;
            let fees = person.account == owner.account;
            let near = if fees { billing.withdraw_fees() } else { billing.withdraw(None) };
            let tokens = if fees { billing.withdraw_token_fees(&usd.account) } else { billing.withdraw_token(&usd.account, None) };
            for call in [near, tokens] {
                self.make(&Step { actor: person.clone(), call, late: false }).await?;
            }
        }
        Ok(())
    }
}

async fn walk(seed: u64) -> anyhow::Result<()> {
    let mut walk = Walk::start(seed).await?;
    let reserve = surplus(&walk.harness).await?;
    for number in 0..steps(STEPS) {
        let step = walk.next().await?;
        walk.make(&step).await?;
        walk.check(reserve, &format!("seed {seed}, step {number}: {} by {}", step.call.method, step.actor.account)).await?;
    }
    let wanted = [
        "publish",
        "pay",
        "pay_from_balance",
        "ft_transfer_call",
        "redeem",
        "rate",
        "set_price",
        "take_licence",
        "open_split",
        "take_share",
    ];
    walk.tally.finish(&format!("{seed} through the shops, whose token kept {}", walk.lied), &wanted)?;
    walk.end().await?;
    anyhow::ensure!(walk.pending.is_empty(), "the shops keep {:?}", walk.pending);
    walk.check(reserve, "the end").await?;
    let (near, tokens) = (walk.harness.view(&walk.harness.billing().totals()).await?, walk.harness.token_totals(&walk.usd).await?);
    assert_eq!((near.balances, near.escrows, near.fees), (Amount::ZERO, Amount::ZERO, Amount::ZERO), "seed {seed}");
    assert_eq!((tokens.balances, tokens.escrows, tokens.fees), (Amount::ZERO, Amount::ZERO, Amount::ZERO), "seed {seed}");
    Ok(())
}

#[tokio::test]
async fn shops_and_billing__should_balance_after_any_call() -> anyhow::Result<()> {
    walk(5).await
}

#[tokio::test]
async fn shops_and_billing__should_balance_after_any_other_call() -> anyhow::Result<()> {
    walk(6).await
}
