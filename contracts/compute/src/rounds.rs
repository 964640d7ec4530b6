//! Rounds: a statement counts once a quorum of the roster and the meter signed it.

use crate::{ComputeError, Contract, ContractExt, log, reputation::count_round};
use near_sdk::{env, near};
use starling_contract_api::{compute::RosterSignature, events::ComputeEvent};
use starling_contract_common::{OrPanic, is_signed};
use starling_primitives::{Hash32, Signature};
use starling_protocol::{
    run::{Event, MAX_ROSTER, Run},
    signing::{Domain, Role, RoundStatement},
};

#[near]
impl Contract {
    /// Brings a signed round. Every signature must hold; together they must be a quorum.
    ///
    /// Access: anyone. Deposit: none. Gas: 60 T. State change: accepted tokens, hash chain and state root of the run; the next round, or the end; the nodes' reputation. Events: `round_accepted`.
    /// Refund: none.
    pub fn post_round(&mut self, statement: RoundStatement, signatures: Vec<RosterSignature>, meter: Signature) {
        let run = self.run_record(statement.run_id).or_panic();
        let domain = self.setup.domain();
        let signers = check_signatures(&run, &domain, &statement, &signatures, &meter).or_panic();
        let chain = Hash32(env::sha256_array(statement.chain_bytes(&domain)));
        let before = run;
        let run = self.change_run(statement.run_id, Event::Round { statement: statement.clone(), signers, chain }).or_panic();
        count_round(&before, &statement, signers);
        log(&ComputeEvent::RoundAccepted { statement, signers: format!("{signers:016x}"), chain: run.chain, state: run.state });
    }
}

/// The places whose signatures hold, as bits.
fn check_signatures(
    run: &Run,
    domain: &Domain,
    statement: &RoundStatement,
    signatures: &[RosterSignature],
    meter: &Signature,
) -> Result<u64, ComputeError> {
    let refused = |why: String| Err(ComputeError::Signature(why));
    if signatures.len() > usize::from(MAX_ROSTER) {
        return refused("more signatures than a roster has places".to_owned());
    }
    if !is_signed(&statement.signing_bytes(domain, Role::Meter), meter, &run.terms.meter) {
        return refused("the meter's signature does not fit the statement".to_owned());
    }
    let bytes = statement.signing_bytes(domain, Role::Node);
    let mut signers = 0_u64;
    for RosterSignature { place, signature } in signatures {
        let Some(member) = run.roster.get(usize::from(*place)) else {
            return refused(format!("the roster has no place {place}"));
        };
        if signers >> place & 1 == 1 {
            return refused(format!("place {place} signed twice"));
        }
        if !is_signed(&bytes, signature, &member.key) {
            return refused(format!("the signature of place {place} does not fit the statement"));
        }
        signers |= 1 << place;
    }
    Ok(signers)
}
