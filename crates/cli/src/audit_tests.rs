//! Tests of what a share's commitment must fit before anything is made again.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_contract_api::rpc::Signer;
use starling_primitives::{AccountId, Amount, Asset, DurationMs, EscrowId, PublicKey, TimestampMs};
use starling_protocol::{
    run::{Member, RunState, RunTerms},
    signing::{Commitment, RoundStatement},
};

fn hash(byte: u8) -> Hash32 {
    Hash32([byte; 32])
}

fn domain() -> Domain {
    Domain { chain_id: "localnet".to_owned(), contract: AccountId::new("compute.starling").unwrap(), instance: 1 }
}

fn run(key: PublicKey) -> Run {
    let (account, [recipe, data, held_out, base, base_root]) = (AccountId::new("a.near").unwrap(), [1, 2, 3, 4, 5].map(hash));
    let (enroll_time, round_time, availability) = (DurationMs(1), DurationMs(1), DurationMs(1));
    let terms = RunTerms {
        recipe,
        data,
        held_out,
        base,
        base_root,
        rounds: 9,
        min_nodes: 1,
        max_nodes: 2,
        tokens_per_round: 640,
        price_per_million_tokens: Amount(1),
        enroll_time,
        round_time,
        meter: PublicKey([9; 32]),
        availability,
        invited: Vec::new(),
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    };
    let member =
        |id: u64, key| Member { node_id: NodeId(id), payout: account.clone(), key, tokens: 0, missed: 0, leaving: false, left: false };
    Run {
        id: RunId(7),
        tenant: account.clone(),
        escrow_id: EscrowId(1),
        deposit: Amount(1),
        terms,
        roster: vec![member(1, PublicKey([1; 32])), member(2, key)],
        rounds_done: 1,
        chain: hash(6),
        state_root: base_root,
        post_seq: 0,
        created_at: TimestampMs(0),
        state: RunState::Pending,
    }
}

/// Two rounds of a node at place 1, the second begun with what the first ended with.
struct World {
    signer: Signer,
    commitments: [Commitment; 2],
    accepted: Hash32,
    tokens: u32,
}

impl World {
    fn new() -> Self {
        let commitment = |round, began_with, checkpoint| Commitment {
            run_id: RunId(7),
            round,
            node_id: NodeId(2),
            update: hash(50),
            steps: 5,
            began_with,
            checkpoint: hash(checkpoint),
        };
        let commitments = [commitment(0, None, 60), commitment(1, Some(hash(60)), 61)];
        Self { signer: Signer::generate(AccountId::new("a.near").unwrap()).unwrap(), commitments, accepted: hash(50), tokens: 640 }
    }

    fn view(&self, commitment: &Commitment) -> RoundView {
        let statement = RoundStatement {
            escrow_id: EscrowId(1),
            run_id: RunId(7),
            round: commitment.round,
            previous: hash(0),
            record: hash(20),
            state_root: hash(21),
            tokens: vec![0, self.tokens],
        };
        let signature = self.signer.sign_bytes(&commitment.signing_bytes(&domain()));
        RoundView {
            round: commitment.round,
            statement: Some(statement),
            record: None,
            updates: vec![None, Some(self.accepted)],
            refused: vec![None; 2],
            scores: Vec::new(),
            commitments: vec![None, Some(SignedCommitment { commitment: commitment.clone(), signature })],
            rolled_back: false,
            bytes: 0,
            tx: None,
            at: None,
        }
    }

    fn claim(&self) -> Result<Result<SignedCommitment, String>> {
        let (run, rounds) = (run(self.signer.public_key()), self.commitments.each_ref().map(|commitment| self.view(commitment)));
        let share = Share { run: &run, rounds: &rounds, round: 1, place: 1, state: Vec::new(), accepted_tokens: vec![0, 640] };
        share.claim(&Recipe::preset("tiny").unwrap(), &domain())
    }

    fn deviation(&self) -> String {
        self.claim().unwrap().unwrap_err()
    }
}

#[test]
fn claim__should_fit_record_statement_and_the_earlier_commitments() {
    assert_eq!(World::new().claim().unwrap().unwrap().commitment, World::new().commitments[1]);
    assert!(World { accepted: hash(51), ..World::new() }.deviation().contains("another update"));
    assert!(World { tokens: 512, ..World::new() }.deviation().contains("512 tokens"));
    let mut world = World::new();
    world.commitments[1].began_with = Some(hash(99));
    assert!(world.deviation().contains("never committed to"));
    world.commitments[1].began_with = None;
    assert!(world.claim().unwrap().is_ok(), "who begins anew has nothing to show");
}

#[test]
fn claim__should_be_signed_by_the_node_for_this_round() {
    let mut world = World::new();
    world.commitments[1].node_id = NodeId(1);
    assert!(world.claim().unwrap_err().to_string().contains("not signed by the node's key"));
}

#[test]
fn chosen__should_be_the_round_asked_for_or_the_last() {
    let world = World::new();
    let rounds = world.commitments.each_ref().map(|commitment| world.view(commitment));
    let index = |round| chosen(&rounds, round).map(|view| view.round).map_err(|error| error.to_string());
    assert_eq!([index(None), index(Some(1)), index(Some(2))], [Ok(1), Ok(0), Ok(1)]);
    assert!(index(Some(0)).unwrap_err().contains("count from 1") && index(Some(3)).unwrap_err().contains("not made yet"));
    assert_eq!(accepted(&rounds[0]), [1]);
    assert_eq!(one_of::<u8>(&[]).unwrap(), None);
}
