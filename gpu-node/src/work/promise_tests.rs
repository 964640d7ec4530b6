//! When a ping is answered, and when no more.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_primitives::{AccountId, Amount, Asset, DurationMs, EscrowId, Hash32, NodeId, OfferId, PublicKey};
use starling_protocol::{
    bond::{Breach, Cover, Sla},
    lease::{Cause, LeaseTerms},
    meter::Metering,
};

const ANSWER_BY: TimestampMs = TimestampMs(100_000);

fn lease(state: LeaseState, cover: CoverState) -> Lease {
    let (account, key) = (AccountId::new("a.starling").unwrap(), PublicKey([3; 32]));
    let sla = Sla { bond: EscrowId(1), pays: Amount(1), units_per_hour: 0, answer_time: MIN_ANSWER_TIME };
    let terms = LeaseTerms {
        offer_id: OfferId(1),
        duration: DurationMs::from_hours(1),
        job: Hash32::default(),
        meter: key,
        availability: DurationMs(0),
        delegate: None,
    };
    Lease {
        id: LeaseId(1),
        tenant: account.clone(),
        node_id: NodeId(1),
        payout: account,
        node_key: key,
        escrow_id: EscrowId(2),
        deposit: Amount(1),
        price_per_hour: Amount(1),
        terms,
        seq: 0,
        metered: DurationMs(0),
        units: 0,
        output: None,
        created_at: TimestampMs(0),
        state,
        metering: Metering::new(None, DurationMs(0)).unwrap(),
        asset: Asset::Near,
        cover: Some(Cover { sla, until: TimestampMs(1_000_000), state: cover }),
    }
}

#[test]
fn ping__should_be_answered_in_time_and_never_later() {
    let active = LeaseState::Active { since: TimestampMs(0), deadline: TimestampMs(1_000_000) };
    let closing = LeaseState::Closing {
        cause: Cause::ProviderClosed,
        since: Some(TimestampMs(0)),
        ended_at: TimestampMs(1),
        post_until: TimestampMs(2),
    };
    let pinged = CoverState::Pinged { answer_by: ANSWER_BY };
    let standing = CoverState::Standing { ping_from: TimestampMs(0) };
    let broken = CoverState::Broken { breach: Breach::TooSlow, at: TimestampMs(5) };
    for (state, cover, now, expected) in [
        (LeaseState::Pending { accept_by: TimestampMs(9) }, standing, 5, Due::Nothing),
        (active, standing, 5, Due::Nothing),
        (active, pinged, 5, Due::Answer(ANSWER_BY)),
        (active, pinged, ANSWER_BY.0, Due::Answer(ANSWER_BY)),
        (active, pinged, ANSWER_BY.0 + 1, Due::Broken),
        (active, broken, 6, Due::Broken),
        (closing, standing, 5, Due::Over),
        (closing, CoverState::Kept, 5, Due::Over),
    ] {
        assert_eq!(due(&lease(state, cover), TimestampMs(now)), expected, "{state:?} {cover:?} at {now}");
    }
    let bare = Lease { cover: None, ..lease(active, standing) };
    assert_eq!(due(&bare, TimestampMs(5)), Due::Over);
}
