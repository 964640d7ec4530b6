//! Storage prices cover the largest record there can be.

use starling_contract_api::{
    billing::{ACCOUNT_BYTES, Billing, SESSION_KEY_BYTES, TOKEN_BALANCE_BYTES, escrow_storage, vesting_escrow_storage},
    compute::{Offer, RECORD_BYTES, allow_list_storage},
    payment::{BOND_BYTES, DELEGATES_BYTES, LEASE_BYTES, MEMBER_BYTES, RUN_BASE_BYTES, RUN_DELEGATE_BYTES, storage_cost},
};
use starling_primitives::{
    AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, PublicKey, RunId, Text, TimestampMs,
};
use starling_protocol::{
    bond::{Bond, BondState, Breach, Cover, CoverState, MAX_OWED, Sla},
    escrow::{
        Authority, Batch, Bounds, Escrow, Holdback, MAX_BATCHES, MAX_PARTS, MAX_PAYEES, MAX_VESTING_PAYEES, Opened, Payee, Posting, State,
    },
    lease::{Cause, Lease, LeaseState, LeaseTerms},
    meter::{Delegate, Former, MAX_DELEGATES, MAX_SHARE, Meter, Metering},
    node::{Capability, DeviceKind, MAX_ALLOWED, Node, OfferTerms},
    reputation::Reputation,
    run::{Ending, FailReason, Member, Run, RunState, RunTerms},
    session_key::{MAX_TARGETS, SessionKey},
};
use starling_tests::work::run_terms;

/// What NEAR charges for a record besides key and value, and what a table puts in front of key and value.
const ENTRY: u64 = 40 + 2;
const ID: u64 = 8;
const NAME: u64 = 4 + 64;
/// The escrow's purpose in `compute`: kind and number, payer, two times, a flag.
const PURPOSE: u64 = ENTRY + ID + 1 + ID + NAME + 2 * 8 + 1;

fn longest() -> AccountId {
    AccountId::new("a".repeat(64)).unwrap_or_else(|error| panic!("{error}"))
}

fn bytes(record: &impl borsh::BorshSerialize) -> u64 {
    borsh::to_vec(record).map_or(u64::MAX, |bytes| bytes.len() as u64)
}

fn escrow(payees: u16, batches: usize) -> Escrow {
    let payee = Payee { account: longest(), total: Amount(u128::MAX), credited: Amount(0), unclaimed: Amount(0), fee: Amount(0) };
    let opened = Opened {
        authority: Authority::Voucher(PublicKey([1; 32])),
        expires_at: TimestampMs(1),
        grace: DurationMs(1),
        holdback: BasisPoints::ONE,
        holdback_state: Holdback::Waiting,
        availability: DurationMs(1),
        max_payees: payees,
        parts: vec![BasisPoints::ONE; MAX_PARTS.min(usize::from(payees))],
        seq: 1,
        payees: vec![payee; usize::from(payees)],
        closing_asked_at: Some(TimestampMs(1)),
        objection_window: DurationMs(1),
        batches: vec![Batch { vests_at: TimestampMs(1), added: vec![Amount(1); usize::from(payees)] }; batches],
        objected_at: Some(TimestampMs(1)),
    };
    let bounds = Bounds {
        expires_by: TimestampMs(1),
        post_at_once: Amount(1),
        fee: BasisPoints::ONE,
        holdback: BasisPoints::ONE,
        voucher: Some(PublicKey([1; 32])),
        objection_window: DurationMs(1),
    };
    let state = State::Settling { opened, until: TimestampMs(1) };
    Escrow {
        payer: longest(),
        arbiter: longest(),
        asset: Asset::Nep141(longest()),
        bounds,
        fee: BasisPoints::ONE,
        created_at: TimestampMs(1),
        deposited: Amount(1),
        refunded: Amount(1),
        state,
    }
}

#[test]
fn billing_storage__should_cover_the_largest_records() {
    let listed = ENTRY + NAME + 4 + ID;
    // The storage deposit, the session key that paid, what was forwarded.
    let besides = 16 + (1 + 32) + (1 + 16);
    for payees in [0, 1, MAX_PAYEES] {
        let record = ENTRY + ID + bytes(&escrow(payees, 0)) + besides + listed;
        let price = escrow_storage(payees);
        assert!(storage_cost(record) <= price, "an escrow of {payees} payees takes {record} bytes, {price} are paid");
    }
    for payees in [0, 1, MAX_VESTING_PAYEES] {
        let record = ENTRY + ID + bytes(&escrow(payees, MAX_BATCHES)) + besides + listed;
        let price = vesting_escrow_storage(payees);
        assert!(storage_cost(record) <= price, "a vesting escrow of {payees} payees takes {record} bytes, {price} are paid");
        assert!(price <= Billing::pay_storage(), "what a payment puts down covers every escrow");
    }
    let balances = vec![(Asset::Near, Amount(1))];
    let account = |balances: &Vec<(Asset, Amount)>| ENTRY + NAME + bytes(balances) + 32 + 4;
    assert!(account(&balances) <= ACCOUNT_BYTES, "{}", account(&balances));
    let with_token = vec![(Asset::Near, Amount(1)), (Asset::Nep141(longest()), Amount(1))];
    let token = account(&with_token) - account(&balances);
    assert!(token <= TOKEN_BALANCE_BYTES, "{token}");
    let key = SessionKey { cap: Amount(1), spent: Amount(1), expires_at: TimestampMs(1), targets: vec![longest(); MAX_TARGETS] };
    let key = ENTRY + NAME + 4 + 32 + bytes(&key);
    assert!(key <= SESSION_KEY_BYTES, "{key}");
}

#[test]
fn compute_storage__should_cover_the_largest_records() {
    let delegate = Some(Delegate { account: longest(), share: MAX_SHARE });
    let mut terms = run_terms(PublicKey([1; 32]), 1, 64);
    terms.invited = vec![NodeId(1); 64];
    terms.asset = Asset::Nep141(longest());
    let run = |members: usize, delegate: Option<Delegate>| Run {
        id: RunId(1),
        tenant: longest(),
        escrow_id: EscrowId(1),
        deposit: Amount(1),
        terms: RunTerms { delegate: delegate.map(Box::new), ..terms.clone() },
        roster: vec![Member::new(NodeId(1), longest(), PublicKey([1; 32])); members],
        rounds_done: 1,
        chain: Hash32::default(),
        state_root: Hash32::default(),
        post_seq: 1,
        created_at: TimestampMs(1),
        state: RunState::Ended { ending: Ending::Failed(FailReason::TooFewNodes), at: TimestampMs(1), settled: true },
    };
    for members in [0, 1, 64] {
        for (delegate, besides) in [(None, 0), (delegate.clone(), RUN_DELEGATE_BYTES)] {
            let record = ENTRY + ID + bytes(&run(members, delegate)) + PURPOSE;
            let price = RUN_BASE_BYTES + besides + MEMBER_BYTES * members as u64;
            assert!(record <= price, "a run of {members} takes {record} bytes, {price} are paid");
        }
    }
    let sla = Sla { bond: EscrowId(1), pays: Amount(1), units_per_hour: 1, answer_time: DurationMs(1) };
    let state = CoverState::Broken { breach: Breach::TooSlow, at: TimestampMs(1) };
    let cover = Cover { sla: sla.clone(), until: TimestampMs(1), state };
    let lease = |delegate: Option<Delegate>, metering: Metering| Lease {
        id: LeaseId(1),
        tenant: longest(),
        node_id: NodeId(1),
        payout: longest(),
        node_key: PublicKey([1; 32]),
        escrow_id: EscrowId(1),
        deposit: Amount(1),
        price_per_hour: Amount(1),
        terms: LeaseTerms {
            offer_id: OfferId(1),
            duration: DurationMs(1),
            job: Hash32::default(),
            meter: PublicKey([1; 32]),
            availability: DurationMs(1),
            delegate,
        },
        seq: 1,
        metered: DurationMs(1),
        units: 1,
        output: Some(Hash32::default()),
        created_at: TimestampMs(1),
        state: LeaseState::Closing {
            cause: Cause::Completed,
            since: Some(TimestampMs(1)),
            ended_at: TimestampMs(1),
            post_until: TimestampMs(1),
        },
        metering,
        asset: Asset::Nep141(longest()),
        cover: Some(cover.clone()),
    };
    let former = |delegate| Some(Former { meter: Meter { key: PublicKey([1; 32]), delegate }, replaced_at: TimestampMs(1) });
    let plain = lease(None, Metering { former: former(None), ..Metering::default() });
    let paid = vec![Posting { payee: longest(), total: Amount(1) }; usize::from(MAX_DELEGATES)];
    let delegated = lease(delegate.clone(), Metering { delegates: paid, former: former(delegate), ..Metering::default() });
    for (lease, price) in [(plain, LEASE_BYTES), (delegated, LEASE_BYTES + DELEGATES_BYTES)] {
        let lease = ENTRY + ID + bytes(&lease) + PURPOSE + ENTRY + 2 * ID;
        assert!(lease <= price, "{lease} of {price}");
    }
    let stake = PURPOSE + 8 + 16 + 1;
    assert!(stake <= starling_contract_api::payment::STAKE_BYTES, "{stake}");
    let owed = vec![Posting { payee: longest(), total: Amount(1) }; usize::from(MAX_OWED)];
    let bond = Bond { owed, state: BondState::Closing, ..Bond::new(longest(), Amount(1), TimestampMs(1)) };
    let bond = ENTRY + ID + bytes(&bond) + PURPOSE;
    assert!(bond <= BOND_BYTES, "{bond}");
    let capability = Capability {
        kind: DeviceKind::Amd,
        device: Text::new("a".repeat(64)).unwrap_or_default(),
        memory_bytes: 1,
        threads: 1,
        matrix_gflops: 1,
    };
    let node = Node {
        id: NodeId(1),
        provider: longest(),
        payout: longest(),
        key: PublicKey([1; 32]),
        capability,
        stake: None,
        registered_at: TimestampMs(1),
        retired: false,
    };
    let node = ENTRY + ID + bytes(&node) + ENTRY + ID + bytes(&Reputation::default());
    assert!(node <= RECORD_BYTES, "{node}");
    let terms = OfferTerms {
        price_per_million_tokens: Amount(1),
        price_per_hour: Amount(1),
        min_lease: DurationMs(1),
        max_lease: DurationMs(1),
        objection_window: DurationMs(1),
        asset: Asset::Nep141(longest()),
        sla: Some(sla),
    };
    let offer = Offer { id: OfferId(1), node_id: NodeId(1), provider: longest(), terms, created_at: TimestampMs(1), closed: false };
    let offer = ENTRY + ID + bytes(&offer) + ENTRY + ID + 4 + 8 * ID;
    assert!(offer <= RECORD_BYTES, "{offer}");
    let list = ENTRY + ID + bytes(&vec![longest(); MAX_ALLOWED]);
    assert!(storage_cost(list) <= allow_list_storage(32), "{list}");
}
