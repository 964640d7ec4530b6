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
