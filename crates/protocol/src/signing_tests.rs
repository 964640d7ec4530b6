//! Test vectors of every signed byte string. They were computed by an independent encoder: a change here breaks every signature that was ever made.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use std::collections::BTreeSet;

fn domain() -> Domain {
    Domain { chain_id: "starling-test".to_owned(), contract: AccountId::new("compute.starling").expect("a name"), instance: 7 }
}

fn round() -> RoundStatement {
    RoundStatement {
        escrow_id: EscrowId(11),
        run_id: RunId(12),
        round: 3,
        previous: Hash32([1; 32]),
        record: Hash32([2; 32]),
        state_root: Hash32([3; 32]),
        tokens: vec![4096, 0],
    }
}

fn lease() -> LeaseStatement {
    LeaseStatement {
        escrow_id: EscrowId(21),
        lease_id: LeaseId(22),
        seq: 5,
        metered_ms: 60_000,
        units: 77,
        output: Hash32([4; 32]),
        is_final: true,
    }
}

fn voucher() -> Voucher {
    Voucher {
        escrow_id: EscrowId(31),
        seq: 9,
        payee: AccountId::new("alice.starling").expect("a name"),
        total: Amount::from_near(1),
        work_root: Hash32([5; 32]),
    }
}

fn hello() -> NodeHello {
    NodeHello {
        node_id: NodeId(41),
        origin: "http://127.0.0.1:8080".to_owned(),
        nonce: Hash32([6; 32]),
        expires_at: TimestampMs(1_700_000_000_000),
    }
}

fn commitment() -> Commitment {
    let [update, began_with, checkpoint] = [7, 6, 8].map(|byte| Hash32([byte; 32]));
    Commitment { run_id: RunId(12), round: 3, node_id: NodeId(41), update, steps: 20, began_with: Some(began_with), checkpoint }
}

fn all(domain: &Domain) -> Vec<Vec<u8>> {
    vec![
        round().signing_bytes(domain, Role::Node),
        round().signing_bytes(domain, Role::Meter),
        lease().signing_bytes(domain, Role::Node),
        lease().signing_bytes(domain, Role::Meter),
        voucher().signing_bytes(domain),
        hello().signing_bytes(domain),
        commitment().signing_bytes(domain),
    ]
}

#[track_caller]
fn check(bytes: impl AsRef<[u8]>, expect: &str) {
    assert_eq!(hex::encode(bytes), expect);
}

#[test]
fn round__should_keep_its_bytes() {
    check(
        round().signing_bytes(&domain(), Role::Node),
        "737461726c696e672f3105000000726f756e640d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e670700000000000000000b000000000000000c0000000000000003000000010101010101010101010101010101010101010101010101010101010101010102020202020202020202020202020202020202020202020202020202020202020303030303030303030303030303030303030303030303030303030303030303020000000010000000000000",
    );
    check(
        round().signing_bytes(&domain(), Role::Meter),
        "737461726c696e672f3105000000726f756e640d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e670700000000000000010b000000000000000c0000000000000003000000010101010101010101010101010101010101010101010101010101010101010102020202020202020202020202020202020202020202020202020202020202020303030303030303030303030303030303030303030303030303030303030303020000000010000000000000",
    );
    check(round().chain_hash(&domain()).0, "b3d58cff8a42413a791009986a9d66a3f9837bf2d7ddf7ff92cc5d97e3f561f7");
}

#[test]
fn lease__should_keep_its_bytes() {
    check(
        lease().signing_bytes(&domain(), Role::Node),
        "737461726c696e672f31050000006c656173650d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e6707000000000000000015000000000000001600000000000000050000000000000060ea0000000000004d00000000000000040404040404040404040404040404040404040404040404040404040404040401",
    );
    check(
        lease().signing_bytes(&domain(), Role::Meter),
        "737461726c696e672f31050000006c656173650d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e6707000000000000000115000000000000001600000000000000050000000000000060ea0000000000004d00000000000000040404040404040404040404040404040404040404040404040404040404040401",
    );
}

#[test]
fn voucher__should_keep_its_bytes() {
    check(
        voucher().signing_bytes(&domain()),
        "737461726c696e672f3107000000766f75636865720d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e6707000000000000001f0000000000000009000000000000000e000000616c6963652e737461726c696e67000000a1edccce1bc2d30000000000000505050505050505050505050505050505050505050505050505050505050505",
    );
    let billing = Domain { contract: AccountId::new("billing.starling").expect("a name"), ..domain() };
    check(
        voucher().signing_bytes(&billing),
        "737461726c696e672f3107000000766f75636865720d000000737461726c696e672d746573741000000062696c6c696e672e737461726c696e6707000000000000001f0000000000000009000000000000000e000000616c6963652e737461726c696e67000000a1edccce1bc2d30000000000000505050505050505050505050505050505050505050505050505050505050505",
    );
}

#[test]
fn hello__should_keep_its_bytes() {
    check(
        hello().signing_bytes(&domain()),
        "737461726c696e672f310500000068656c6c6f0d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e670700000000000000290000000000000015000000687474703a2f2f3132372e302e302e313a3830383006060606060606060606060606060606060606060606060606060606060606060068e5cf8b010000",
    );
}

#[test]
fn commitment__should_keep_its_bytes() {
    check(
        commitment().signing_bytes(&domain()),
        "737461726c696e672f310a000000636f6d6d69746d656e740d000000737461726c696e672d7465737410000000636f6d707574652e737461726c696e6707000000000000000c000000000000000300000029000000000000000707070707070707070707070707070707070707070707070707070707070707140000000106060606060606060606060606060606060606060606060606060606060606060808080808080808080808080808080808080808080808080808080808080808",
    );
}

#[test]
fn messages__should_be_longer_than_a_hash_and_all_distinct() {
    // The shortest names and empty contents that the types take.
    let shortest = Domain { chain_id: String::new(), contract: AccountId::new("aa").expect("a name"), instance: 0 };
    let empty_round = RoundStatement { tokens: Vec::new(), ..round() };
    let empty_hello = NodeHello { origin: String::new(), ..hello() };
    let mut messages: Vec<Vec<u8>> = all(&domain());
    messages.extend(all(&shortest));
    messages.extend([empty_round.signing_bytes(&shortest, Role::Node), empty_hello.signing_bytes(&shortest)]);
    for message in &messages {
        assert!(message.len() > 32, "{} bytes could be taken for a hash", message.len());
    }
    assert_eq!(messages.iter().collect::<BTreeSet<_>>().len(), messages.len());
}

#[test]
fn messages__should_name_every_part_of_the_domain() {
    let others = [
        Domain { chain_id: "mainnet".to_owned(), ..domain() },
        Domain { contract: AccountId::new("compute.other").expect("a name"), ..domain() },
        Domain { instance: 8, ..domain() },
    ];
    for other in others {
        for (here, there) in all(&domain()).iter().zip(all(&other)) {
            assert_ne!(*here, there, "{other:?}");
        }
        assert_ne!(round().chain_hash(&domain()), round().chain_hash(&other));
    }
}

/// Every message is different once any one field changes.
#[track_caller]
fn check_changes<T: std::fmt::Debug>(base: &T, changed: &[T], bytes: impl Fn(&T) -> Vec<u8>) {
    for other in changed {
        assert_ne!(bytes(base), bytes(other), "{other:?}");
    }
}

#[test]
fn round__should_name_every_field() {
    let changed = [
        RoundStatement { escrow_id: EscrowId(0), ..round() },
        RoundStatement { run_id: RunId(0), ..round() },
        RoundStatement { round: 4, ..round() },
        RoundStatement { previous: Hash32([9; 32]), ..round() },
        RoundStatement { record: Hash32([9; 32]), ..round() },
        RoundStatement { state_root: Hash32([9; 32]), ..round() },
        RoundStatement { tokens: vec![4096, 1], ..round() },
        RoundStatement { tokens: vec![4096], ..round() },
    ];
    for role in [Role::Node, Role::Meter] {
        check_changes(&round(), &changed, |statement| statement.signing_bytes(&domain(), role));
    }
    check_changes(&round(), &changed, |statement| statement.chain_hash(&domain()).0.to_vec());
}

#[test]
fn lease__should_name_every_field() {
    let changed = [
        LeaseStatement { escrow_id: EscrowId(0), ..lease() },
        LeaseStatement { lease_id: LeaseId(0), ..lease() },
        LeaseStatement { seq: 6, ..lease() },
        LeaseStatement { metered_ms: 60_001, ..lease() },
        LeaseStatement { units: 78, ..lease() },
        LeaseStatement { output: Hash32([9; 32]), ..lease() },
        LeaseStatement { is_final: false, ..lease() },
    ];
    check_changes(&lease(), &changed, |statement| statement.signing_bytes(&domain(), Role::Node));
}

#[test]
fn voucher__should_name_every_field() {
    let changed = [
        Voucher { escrow_id: EscrowId(0), ..voucher() },
        Voucher { seq: 10, ..voucher() },
        Voucher { payee: AccountId::new("mallory.starling").expect("a name"), ..voucher() },
        Voucher { total: Amount::from_near(2), ..voucher() },
        Voucher { work_root: Hash32([9; 32]), ..voucher() },
    ];
    check_changes(&voucher(), &changed, |voucher| voucher.signing_bytes(&domain()));
}

#[test]
fn hello__should_name_every_field() {
    let changed = [
        NodeHello { node_id: NodeId(42), ..hello() },
        NodeHello { origin: "http://127.0.0.1:8081".to_owned(), ..hello() },
        NodeHello { nonce: Hash32([9; 32]), ..hello() },
        NodeHello { expires_at: TimestampMs(1_700_000_000_001), ..hello() },
    ];
    check_changes(&hello(), &changed, |hello| hello.signing_bytes(&domain()));
}

#[test]
fn commitment__should_name_every_field() {
    let changed = [
        Commitment { run_id: RunId(13), ..commitment() },
        Commitment { round: 4, ..commitment() },
        Commitment { node_id: NodeId(42), ..commitment() },
        Commitment { update: Hash32([9; 32]), ..commitment() },
        Commitment { steps: 21, ..commitment() },
        Commitment { began_with: None, ..commitment() },
        Commitment { began_with: Some(Hash32([9; 32])), ..commitment() },
        Commitment { checkpoint: Hash32([9; 32]), ..commitment() },
    ];
    check_changes(&commitment(), &changed, |commitment| commitment.signing_bytes(&domain()));
}
