//! This tab as meter: a key of its own for each run or lease, which co-signs what was checked.

use super::{Failure, Outcome, chain, coordinator, decode};
use ed25519_dalek::{Signer as _, SigningKey};
use starling_contract_api::compute::Compute;
use starling_http_api::{
    job::{JobSpec, Report},
    lease::{LeaseMeterSignature, PendingLeaseStatement},
    network::NetworkInfo,
    path,
    run::{MeterSignature, PendingStatement},
};
use starling_primitives::{Hash32, PublicKey, RunId, Signature};
use starling_protocol::signing::Role;
use std::collections::BTreeSet;

const STORE: &str = "starling.meter.";

fn store() -> Outcome<web_sys::Storage> {
    let storage = web_sys::window().and_then(|window| window.local_storage().ok().flatten());
    storage.ok_or_else(|| {
        Failure::new(
            "no_storage",
            "This browser keeps nothing for this site, so it cannot hold the key that co-signs your job. Allow site data, then try again.",
        )
    })
}

/// Makes a key and keeps it in this browser.
pub(crate) fn make_key() -> Outcome<PublicKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| Failure::new("no_random", "This browser gave no random numbers."))?;
    let key = SigningKey::from_bytes(&seed);
    let public = PublicKey(key.verifying_key().to_bytes());
    store()?
        .set_item(&format!("{STORE}{public}"), &hex::encode(seed))
        .map_err(|_| Failure::new("no_storage", "This browser's storage is full: the co-signing key could not be kept."))?;
    Ok(public)
}

/// The key kept here, if this is the browser that started the job.
pub(crate) fn key(public: &PublicKey) -> Option<SigningKey> {
    let text = store().ok()?.get_item(&format!("{STORE}{public}")).ok()??;
    let mut seed = [0; 32];
    hex::decode_to_slice(text, &mut seed).ok()?;
    Some(SigningKey::from_bytes(&seed))
}

/// Checks a round's statement against the chain and co-signs it. The roots are recomputed by the nodes and by `starling verify`, not by this tab.
pub(crate) async fn sign_round(network: &NetworkInfo, run_id: RunId, pending: &PendingStatement) -> Outcome<()> {
    let compute = Compute(network.deployment.compute.clone());
    let run =
        chain::view(&network.rpc_url, &compute.run(run_id)).await?.ok_or_else(|| Failure::new("no_run", "The run is not on the chain."))?;
    let statement = &pending.statement;
    if statement.round < run.rounds_done {
        return Ok(());
    }
    let follows = statement.run_id == run.id
        && statement.escrow_id == run.escrow_id
        && statement.round == run.rounds_done
        && statement.previous == run.chain;
    let within = statement.tokens.len() == run.roster.len() && statement.tokens.iter().all(|tokens| *tokens <= run.terms.tokens_per_round);
    if !follows || !within {
        return Err(Failure::new(
            "statement_wrong",
            format!("Round {} claims what was not agreed; this tab did not sign it. Stop the run to get the rest back.", statement.round),
        ));
    }
    let key = key(&run.terms.meter).ok_or_else(|| Failure::new("no_meter_key", "The key that co-signs this run is in another browser."))?;
    let bytes = statement.signing_bytes(&network.deployment.compute_domain(), Role::Meter);
    let signature = MeterSignature { round: statement.round, signature: Signature(key.sign(&bytes).to_bytes()) };
    coordinator::post_quietly(&path::fill(path::RUN_STATEMENT, &[&run_id]), &signature).await
}

/// What this tab fetched of a lease's outputs and found to be what it is named.
#[derive(Default)]
pub(crate) struct Seen {
    is_script: Option<bool>,
    files: BTreeSet<Hash32>,
}

impl Seen {
    /// Fetches what a statement's output names and was not fetched yet: a node that withholds it is not paid for it.
    async fn fetch(&mut self, job: Hash32, output: Hash32) -> Outcome<()> {
        let bytes = coordinator::download(output).await?;
        let is_script = match self.is_script {
            Some(known) => known,
            None => matches!(decode(&coordinator::download(job).await?), Ok(JobSpec::Script(_))),
        };
        self.is_script = Some(is_script);
        if !is_script {
            return Ok(());
        }
        let wrong = "The node's report is not understood or names paths that lead out of its folder; this tab did not sign it.";
        let report = decode::<Report>(&bytes).ok().filter(Report::is_well_formed).ok_or_else(|| Failure::new("report_wrong", wrong))?;
        for file in report.artifacts() {
            if !self.files.contains(&file.hash) {
                coordinator::check_there(file.hash, file.bytes).await?;
                self.files.insert(file.hash);
            }
        }
        Ok(())
    }
}

/// Checks that the output is in the store, and all files that a script's report names, and co-signs.
pub(crate) async fn sign_lease(network: &NetworkInfo, pending: &PendingLeaseStatement, seen: &mut Seen) -> Outcome<()> {
    let statement = &pending.statement;
    let compute = Compute(network.deployment.compute.clone());
    let lease = chain::view(&network.rpc_url, &compute.lease(statement.lease_id))
        .await?
        .ok_or_else(|| Failure::new("no_lease", "The lease is not on the chain."))?;
    let Some(key) = key(&lease.terms.meter) else { return Ok(()) };
    seen.fetch(lease.terms.job, statement.output).await?;
    let bytes = statement.signing_bytes(&network.deployment.compute_domain(), Role::Meter);
    let signature = LeaseMeterSignature { seq: statement.seq, signature: Signature(key.sign(&bytes).to_bytes()) };
    coordinator::post_quietly(&path::fill(path::LEASE_STATEMENT, &[&statement.lease_id]), &signature).await
}
