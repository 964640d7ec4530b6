//! Tests of receipts: what the rules make is right, and every change of it is found.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::events::Source;
use starling_primitives::PublicKey;
use starling_protocol::escrow::OpenTerms;

const START: TimestampMs = TimestampMs(1_800_000_000_000);
const ID: EscrowId = EscrowId(7);

fn name(name: &str) -> AccountId {
    AccountId::new(format!("{name}.starling")).unwrap()
}

/// A story as `billing` would tell it, with carol registered only later.
struct Story {
    escrow: Escrow,
    steps: Vec<Step>,
}

impl Story {
    fn begin(window: DurationMs, voucher: Option<PublicKey>) -> Self {
        let fee = BasisPoints::new(200).unwrap();
        let bounds = Bounds {
            expires_by: START.after(DurationMs::from_days(3)),
            post_at_once: Amount::ZERO,
            fee: BasisPoints::new(300).unwrap(),
            holdback: BasisPoints::new(500).unwrap(),
            voucher,
            objection_window: DurationMs(0),
        };
        let escrow = Escrow::hold(name("alice"), name("compute"), Asset::Near, Amount(1_000), bounds.clone(), fee, START).unwrap();
        let told = BillingEvent::PaymentHeld {
            escrow_id: ID,
            payer: name("alice"),
            target: name("compute"),
            asset: Asset::Near,
            amount: Amount(1_000),
            fee,
            storage: Amount(9),
            forwarded: Amount::ZERO,
            source: Source::Attached,
            msg: serde_json::json!("lease"),
        };
        let mut story = Self { escrow, steps: Vec::new() };
        story.push(told, START);
        let terms = OpenTerms {
            authority: bounds.authority(),
            expires_at: START.after(DurationMs::from_days(2)),
            grace: DurationMs::from_hours(1),
            holdback: BasisPoints::new(1_000).unwrap(),
            availability: DurationMs::from_days(1),
            max_payees: 2,
            parts: Vec::new(),
            postings: Vec::new(),
            close: false,
            objection_window: window,
        };
        story.apply(0, Event::Open(terms.clone()), |moved| BillingEvent::EscrowOpened { escrow_id: ID, terms, moved });
        story
    }

    fn push(&mut self, told: BillingEvent, at: TimestampMs) {
        self.steps.push(Step { tx: format!("tx{}", self.steps.len()), signer: name("alice"), at, told });
    }

    fn apply(&mut self, hours: u64, event: Event, tell: impl FnOnce(Moved) -> BillingEvent) {
        let at = START.after(DurationMs::from_hours(hours));
        let claims = matches!(event, Event::Claim(_));
        let (next, effects) = self.escrow.apply(event, at, |account| claims || *account != name("carol")).unwrap();
        let Effects { credits, fee, refund, .. } = effects;
        let moved = Moved {
            asset: Asset::Near,
            credits,
            fee,
            refund,
            storage: Amount(1),
            state: next.state.name().to_owned(),
            removed: next.is_spent(),
        };
        self.escrow = next;
        self.push(tell(moved), at);
    }

    fn post(&mut self, hours: u64, seq: u64, figures: &[(&str, u128)], close: bool) {
        let postings: Vec<_> = figures.iter().map(|(payee, total)| Posting { payee: name(payee), total: Amount(*total) }).collect();
        let event = Event::Post { by: Authority::Arbiter, seq, postings: postings.clone(), close };
        self.apply(hours, event, |moved| BillingEvent::EscrowPosted { escrow_id: ID, seq, postings, close, moved });
    }

    fn receipt(&self) -> SettlementReceipt {
        SettlementReceipt {
            format: RECEIPT_FORMAT.to_owned(),
            chain_id: "starling-test".to_owned(),
            billing: name("billing"),
            escrow_id: ID,
            steps: self.steps.clone(),
        }
    }
}

/// Two posts, closed, accepted, and carol's share claimed.
fn settled() -> SettlementReceipt {
    let mut story = Story::begin(DurationMs(0), None);
    story.post(2, 1, &[("bob", 301)], false);
    story.post(3, 2, &[("bob", 500), ("carol", 100)], true);
    story.apply(4, Event::Acknowledge, |moved| BillingEvent::HoldbackDecided { escrow_id: ID, decision: Decision::Acknowledged, moved });
    story.apply(5, Event::Claim(name("carol")), |moved| BillingEvent::EarningsClaimed { escrow_id: ID, account: name("carol"), moved });
    story.receipt()
}

#[test]
fn receipt__should_sum_to_what_was_paid_in_and_survive_its_file() {
    let receipt = settled();
    let read: SettlementReceipt = serde_json::from_str(&serde_json::to_string(&receipt).unwrap()).unwrap();
    assert_eq!(read, receipt);
    let settlement = read.check().unwrap();
    assert_eq!(settlement.paid, BTreeMap::from([(name("bob"), Amount(490)), (name("carol"), Amount(98))]));
    assert_eq!((settlement.fee, settlement.refunded, settlement.locked), (Amount(12), Amount(400), Amount::ZERO));
    assert!(settlement.is_spent && settlement.state == "closed");
}

#[test]
fn receipt__should_hold_for_an_escrow_under_way() {
    let mut story = Story::begin(DurationMs(0), None);
    story.post(2, 1, &[("bob", 300)], false);
    let settlement = story.receipt().check().unwrap();
    assert_eq!((settlement.locked, settlement.is_spent), (Amount(730), false));
}

#[test]
fn receipt__should_follow_vouchers_and_objections() {
    let key = PublicKey([9; 32]);
    let mut story = Story::begin(DurationMs(0), Some(key));
    let voucher = Voucher { escrow_id: ID, seq: 1, payee: name("bob"), total: Amount(50), work_root: Default::default() };
    let postings = vec![Posting { payee: name("bob"), total: Amount(50) }];
    let event = Event::Post { by: Authority::Voucher(key), seq: 1, postings, close: false };
    story.apply(2, event, |moved| BillingEvent::VoucherRedeemed { voucher, moved });
    assert_eq!(story.receipt().check().unwrap().paid[&name("bob")], Amount(44));

    let mut story = Story::begin(DurationMs::from_hours(6), None);
    story.post(2, 1, &[("bob", 200)], false);
    story.post(12, 2, &[("bob", 500)], false);
    story.apply(13, Event::Object, |moved| BillingEvent::EscrowObjected { escrow_id: ID, moved });
    let settlement = story.receipt().check().unwrap();
    assert_eq!((settlement.refunded, settlement.state), (Amount(800), "settling"), "what had not vested came back");
}

#[test]
fn receipt__should_find_each_figure_that_was_changed() {
    fn moved(receipt: &mut SettlementReceipt, step: usize) -> &mut Moved {
        match &mut receipt.steps[step].told {
            BillingEvent::EscrowPosted { moved, .. } | BillingEvent::HoldbackDecided { moved, .. } => moved,
            other => panic!("{other:?}"),
        }
    }
    type Change = fn(&mut SettlementReceipt);
    let changes: [(&str, Change); 11] = [
        ("format", |receipt| receipt.format.push('x')),
        ("does not begin", |receipt| drop(receipt.steps.remove(0))),
        ("cannot have happened", |receipt| drop(receipt.steps.remove(1))),
        ("what payees got", |receipt| moved(receipt, 2).credits[0].1 = Amount(1)),
        ("the fee", |receipt| moved(receipt, 2).fee = Amount::ZERO),
        ("the refund", |receipt| moved(receipt, 3).refund = Amount(1)),
        ("the state", |receipt| moved(receipt, 3).state = "closed".to_owned()),
        ("is spent", |receipt| moved(receipt, 4).removed = true),
        ("earlier", |receipt| receipt.steps[3].at = START),
        ("not about this escrow", |receipt| receipt.escrow_id = EscrowId(8)),
        ("cannot have happened", |receipt| {
            let BillingEvent::EscrowPosted { postings, .. } = &mut receipt.steps[3].told else { panic!("no post") };
            postings[0].total = Amount(5_000);
        }),
    ];
    for (words, change) in changes {
        let mut receipt = settled();
        change(&mut receipt);
        let error = receipt.check().unwrap_err().to_string();
        assert!(error.contains(words), "{error} lacks {words}");
    }
}
