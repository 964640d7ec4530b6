//! Escrow by vouchers: their numbers and totals, and that each authority keeps out the other.

use super::*;

/// An escrow that takes vouchers of [`KEY`], with a tenth held back.
fn vouchered() -> Escrow {
    let escrow = Escrow { bounds: Bounds { voucher: Some(KEY), ..bounds() }, ..held() };
    step(&escrow, Event::Open(OpenTerms { authority: Authority::Voucher(KEY), ..terms() }), NOW).0
}

fn voucher(seq: u64, total: u128) -> Event {
    Event::Post { by: Authority::Voucher(KEY), seq, postings: vec![posting("node", total)], close: false }
}

#[test]
fn voucher__should_count_by_its_number_and_its_highest_total() {
    let (escrow, effects) = step(&vouchered(), voucher(3, 100_000), NOW);
    assert_eq!((effects.credits, effects.fee), (vec![(name("node"), Amount(87_750))], Amount(2_250)), "as any post");
    for seq in [1, 2, 3] {
        let (after, effects) = step(&escrow, voucher(seq, 900_000), NOW);
        assert!(after == escrow && !effects.changed, "voucher {seq} is replayed or late");
    }
    assert_eq!(escrow.apply(voucher(4, 99_999), NOW, everyone), Err(EscrowError::TotalFalls(name("node"))));
    assert_eq!(escrow.apply(voucher(4, DEPOSIT.0 + 1), NOW, everyone), Err(EscrowError::OverDeposit));
    let last = EXPIRES.after(GRACE);
    assert_eq!(escrow.apply(voucher(4, 200_000), last.after(DurationMs(1)), everyone), Err(EscrowError::Expired(last)));
    assert_eq!(step(&escrow, voucher(9, DEPOSIT.0), last).0.available(), Amount::ZERO);
}

/// Terms with parts: a quarter for aa, an eighth for bb, the rest for the publisher.
fn divided_terms() -> OpenTerms {
    let share = |account, part| Share { account: name(account), part: bps(part) };
    let parts = vec![share("aa", 2_500), share("bb", 1_250)];
    OpenTerms { authority: Authority::Voucher(KEY), holdback: BasisPoints::ZERO, parts, postings: vec![posting("publisher", 0)], ..terms() }
}

fn divided_by(terms: OpenTerms) -> Result<Escrow, EscrowError> {
    let bounds = Bounds { voucher: Some(KEY), holdback: BasisPoints::ZERO, ..bounds() };
    Escrow { bounds, ..held() }.apply(Event::Open(terms), NOW, everyone).map(|(escrow, _)| escrow)
}

#[test]
fn voucher__should_be_divided_by_the_parts_that_the_escrow_froze() {
    let whole = |seq, total| Event::Post { by: Authority::Voucher(KEY), seq, postings: vec![posting("publisher", total)], close: false };
    let mut escrow = divided_by(divided_terms()).expect("good terms");
    let mut totals = vec![0; 3];
    for (seq, total) in [1_u128, 2, 3, 7, 8, 801, 802, 100_000, DEPOSIT.0].into_iter().enumerate() {
        let (after, effects) = step(&escrow, whole(seq as u64 + 1, total), NOW);
        let payees = &after.state.opened().expect("open").payees;
        let now: Vec<u128> = payees.iter().map(|payee| payee.total.0).collect();
        assert_eq!(now.iter().sum::<u128>(), total);
        assert!(totals.iter().zip(&now).all(|(before, now)| before <= now), "{totals:?} {now:?}");
        assert!(effects.changed);
        totals = now;
        escrow = after;
    }
    let accounts: Vec<_> = escrow.state.opened().expect("open").payees.iter().map(|payee| payee.account.clone()).collect();
    assert_eq!(accounts, [name("aa"), name("bb"), name("publisher")]);
    assert_eq!(totals, [DEPOSIT.0 / 4, DEPOSIT.0 / 8, DEPOSIT.0 - DEPOSIT.0 / 4 - DEPOSIT.0 / 8]);
}

#[test]
fn parts__should_wait_for_their_claim_or_for_the_end() {
    let whole = |seq, total| Event::Post { by: Authority::Voucher(KEY), seq, postings: vec![posting("publisher", total)], close: false };
    let net = |gross: u128| Amount(gross - Amount(gross).fraction_ceil(bps(250)).0);
    let escrow = divided_by(divided_terms()).expect("good terms");
    let (escrow, effects) = step(&escrow, whole(1, 80_000), NOW);
    assert_eq!(effects.credits, [(name("publisher"), net(50_000))], "one credit, however many share it");
    let (escrow, effects) = step(&escrow, Event::Claim(name("aa")), NOW);
    assert_eq!(effects.credits, [(name("aa"), net(20_000))]);
    assert_eq!(escrow.apply(Event::Claim(name("aa")), NOW, everyone), Err(EscrowError::NothingToClaim(name("aa"))));
    let (escrow, _) = step(&escrow, whole(2, 160_000), NOW);
    let over = EXPIRES.after(GRACE).after(DurationMs(1));
    let (closed, effects) = step(&escrow, Event::Close, over);
    assert_eq!(effects.credits, [(name("aa"), Amount(net(40_000).0 - net(20_000).0)), (name("bb"), net(20_000))]);
    assert!(closed.is_spent(), "nothing waits for anyone");
    // Whoever cannot be credited at the end claims later.
    let (closed, effects) = escrow.apply(Event::Close, over, |account| *account == name("bb")).expect("it is over");
    assert_eq!(effects.credits, [(name("bb"), net(20_000))]);
    let (closed, effects) = step(&closed, Event::Claim(name("aa")), over);
    assert_eq!(effects.credits, [(name("aa"), Amount(net(40_000).0 - net(20_000).0))]);
    assert!(closed.is_spent());
}

#[test]
fn voucher__should_name_the_whole_for_who_gets_the_rest() {
    let escrow = divided_by(divided_terms()).expect("good terms");
    let refused = |postings: Vec<Posting>| {
        escrow.apply(Event::Post { by: Authority::Voucher(KEY), seq: 1, postings, close: false }, NOW, everyone).map(|_| ())
    };
    for stranger in ["aa", "node"] {
        assert_eq!(refused(vec![posting(stranger, 8)]), Err(EscrowError::Divided(name("publisher"))));
    }
    assert_eq!(refused(vec![posting("publisher", 8), posting("aa", 8)]), Err(EscrowError::Payees));
    assert_eq!(refused(vec![posting("publisher", DEPOSIT.0 + 1)]), Err(EscrowError::OverDeposit));
    assert_eq!(refused(vec![]), Ok(()));
}

#[test]
fn parts__should_be_at_most_the_whole_of_accounts_with_a_place_each() {
    let share = |account: &str, part| Share { account: name(account), part: bps(part) };
    let wrong = [
        OpenTerms { parts: vec![share("aa", 9_000), share("bb", 1_001)], ..divided_terms() },
        OpenTerms { parts: vec![share("aa", 1), share("aa", 1)], ..divided_terms() },
        OpenTerms { parts: vec![share("publisher", 1)], ..divided_terms() },
        OpenTerms { parts: (0..16).map(|place| share(&format!("ancestor-{place}"), 1)).collect(), ..divided_terms() },
        OpenTerms { postings: vec![], ..divided_terms() },
        OpenTerms { postings: vec![posting("publisher", 0), posting("node", 0)], ..divided_terms() },
    ];
    for terms in wrong {
        assert_eq!(divided_by(terms), Err(EscrowError::OutOfBounds("parts")));
    }
    assert_eq!(divided_by(OpenTerms { max_payees: 2, ..divided_terms() }), Err(EscrowError::Payees), "no place for the publisher");
    assert!(divided_by(OpenTerms { parts: vec![share("aa", 9_000), share("bb", 1_000)], ..divided_terms() }).is_ok());
}

#[test]
fn authority__should_be_the_one_that_the_payer_fixed() {
    let wants_vouchers = Escrow { bounds: Bounds { voucher: Some(KEY), ..bounds() }, ..held() };
    for authority in [Authority::Arbiter, Authority::Voucher(PublicKey([8; 32]))] {
        let answer = Event::Open(OpenTerms { authority, ..terms() });
        assert_eq!(wants_vouchers.apply(answer, NOW, everyone), Err(EscrowError::OutOfBounds("authority")), "{authority:?}");
    }
    let refused = |takes| Err(EscrowError::WrongAuthority { takes });
    assert_eq!(vouchered().apply(post(1, &[("node", 1)], true), NOW, everyone), refused("voucher key"));
    assert_eq!(open().apply(voucher(1, 1), NOW, everyone), refused("arbiter"));
    let other = Event::Post { by: Authority::Voucher(PublicKey([8; 32])), seq: 1, postings: vec![], close: false };
    assert_eq!(vouchered().apply(other, NOW, everyone), refused("voucher key"));
    assert_eq!(vouchered().voucher_key(), Ok(KEY));
    assert_eq!(open().voucher_key(), Err(EscrowError::WrongAuthority { takes: "arbiter" }));
    assert_eq!(wants_vouchers.voucher_key(), Err(EscrowError::WrongState { state: "held" }));
}

#[test]
fn voucher_key__should_not_be_one_that_anyone_can_sign_for() {
    let hold = |key| {
        let bounds = Bounds { voucher: Some(key), ..bounds() };
        Escrow::hold(name("tenant"), name("market"), Asset::Near, DEPOSIT, bounds, bps(1), NOW)
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signed_zero = [0; 32];
    signed_zero[31] = 0x80;
    for weak in [[0; 32], identity, signed_zero] {
        assert_eq!(hold(PublicKey(weak)), Err(EscrowError::WeakVoucherKey));
    }
    assert!(hold(KEY).is_ok());
}

#[test]
fn bounds__should_be_read_and_written_without_a_voucher_key_as_before() {
    let text = serde_json::to_string(&bounds()).expect("plain figures");
    assert!(!text.contains("voucher"), "{text}");
    assert_eq!(serde_json::from_str::<Bounds>(&text).expect("the same"), bounds());
}
