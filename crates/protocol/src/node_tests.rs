//! Nodes and offers: what may be said of them.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

fn terms() -> OfferTerms {
    OfferTerms {
        price_per_million_tokens: Amount(1),
        price_per_hour: Amount(1),
        min_lease: DurationMs::from_secs(60),
        max_lease: MAX_LEASE,
        objection_window: MAX_OBJECTION_WINDOW,
        asset: Asset::Near,
        sla: None,
    }
}

#[test]
fn offer__should_keep_its_limits() {
    let longer = |duration: DurationMs| DurationMs(duration.0 + 1);
    let cases = [
        (terms(), Ok(())),
        (OfferTerms { min_lease: DurationMs(59_999), ..terms() }, Err(NodeError::LeaseTimes)),
        (OfferTerms { min_lease: longer(MAX_LEASE), ..terms() }, Err(NodeError::LeaseTimes)),
        (OfferTerms { max_lease: longer(MAX_LEASE), ..terms() }, Err(NodeError::LeaseTimes)),
        (OfferTerms { min_lease: MAX_LEASE, ..terms() }, Ok(())),
        (OfferTerms { objection_window: longer(MAX_OBJECTION_WINDOW), ..terms() }, Err(NodeError::ObjectionWindow)),
        (OfferTerms { objection_window: DurationMs(0), ..terms() }, Ok(())),
        (promising(MAX_COVERED_LEASE, sla()), Ok(())),
        (promising(longer(MAX_COVERED_LEASE), sla()), Err(NodeError::Sla)),
        (promising(MAX_COVERED_LEASE, Sla { pays: Amount::ZERO, ..sla() }), Err(NodeError::Sla)),
        (promising(MAX_COVERED_LEASE, Sla { answer_time: MIN_ANSWER_TIME, ..sla() }), Ok(())),
        (promising(MAX_COVERED_LEASE, Sla { answer_time: DurationMs(MIN_ANSWER_TIME.0 - 1), ..sla() }), Err(NodeError::Sla)),
        (promising(MAX_COVERED_LEASE, Sla { answer_time: longer(MAX_ANSWER_TIME), ..sla() }), Err(NodeError::Sla)),
    ];
    for (terms, expect) in cases {
        assert_eq!(terms.check(), expect, "{terms:?}");
    }
}

fn sla() -> Sla {
    Sla { bond: EscrowId(1), pays: Amount(1), units_per_hour: 0, answer_time: MAX_ANSWER_TIME }
}

fn promising(max_lease: DurationMs, sla: Sla) -> OfferTerms {
    OfferTerms { max_lease, sla: Some(sla), ..terms() }
}

#[test]
fn bond__should_outlast_its_leases_whatever_the_provider_does() {
    // Seven days of closing, of which twelve hours are left to claim and one belongs to the lease's escrow.
    assert_eq!(MAX_COVERED_LEASE, DurationMs::from_hours(7 * 24 - 12 - 1));
}

#[test]
fn allow_list__should_have_32_tenants_at_most_each_once() {
    let tenants = |count: usize| (0..count).map(|place| AccountId::new(format!("tenant-{place}")).expect("a name")).collect::<Vec<_>>();
    assert_eq!(check_allow_list(&[]), Ok(()));
    assert_eq!(check_allow_list(&tenants(MAX_ALLOWED)), Ok(()));
    assert_eq!(check_allow_list(&tenants(MAX_ALLOWED + 1)), Err(NodeError::AllowList));
    let twice = [tenants(2), tenants(1)].concat();
    assert_eq!(check_allow_list(&twice), Err(NodeError::AllowList));
}

#[test]
fn capability__should_have_memory_and_threads() {
    let capability = Capability { kind: DeviceKind::Cpu, device: Text::default(), memory_bytes: 1, threads: 1, matrix_gflops: 0 };
    assert_eq!(capability.check(), Ok(()));
    assert_eq!(Capability { memory_bytes: 0, ..capability.clone() }.check(), Err(NodeError::EmptyCapability));
    assert_eq!(Capability { threads: 0, ..capability }.check(), Err(NodeError::EmptyCapability));
}
