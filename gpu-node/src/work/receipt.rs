//! The node's memory on disk: what it committed to, what it signed, and the last statements that earn. All of it survives a kill.

use crate::files;
use serde::{Deserialize, Serialize};
use starling_primitives::{Hash32, LeaseId, RunId, Signature};
use starling_protocol::signing::{Commitment, LeaseStatement};
use std::{
    collections::BTreeSet,
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Runs whose end was never heard are remembered up to so many; each holds a checkpoint.
const KEPT_RUNS: usize = 8;
/// Leases that are remembered; each holds a statement.
const KEPT_LEASES: usize = 1_000;

/// What is remembered of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunReceipt {
    /// The last commitment.
    pub(super) committed: Option<(Commitment, Signature)>,
    /// The last round whose record was signed, and the record's digest.
    pub(super) signed: Option<(u32, Hash32)>,
}

/// What is remembered of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseReceipt {
    /// The last statement that both signed; anyone may bring it to the chain.
    pub(super) co_signed: Option<CoSigned>,
    /// Bytes of output that were sent on.
    pub(super) sent_bytes: u64,
}

/// A statement with both signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CoSigned {
    pub(super) statement: LeaseStatement,
    pub(super) node: Signature,
    pub(super) meter: Signature,
}

/// The folder of one deployment's receipts.
#[derive(Debug)]
pub(super) struct Receipts {
    folder: PathBuf,
    /// Reading, changing and writing is one step.
    writing: Mutex<()>,
}

impl Receipts {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(folder.join("runs"))?;
        fs::create_dir_all(folder.join("leases"))?;
        files::remove_parts(&folder.join("leases"))?;
        files::keep_newest(&folder.join("runs"), KEPT_RUNS)?;
        files::keep_newest(&folder.join("leases"), KEPT_LEASES)?;
        Ok(Self { folder, writing: Mutex::new(()) })
    }

    /// The folder of a run. Files may be on their way into it.
    pub(super) fn run_folder(&self, run_id: RunId) -> PathBuf {
        self.folder.join("runs").join(run_id.to_string())
    }

    /// The folder of a run for who begins to write into it: made if it is not there, without what a killed process left half written.
    pub(super) fn open_run_folder(&self, run_id: RunId) -> io::Result<PathBuf> {
        let folder = self.run_folder(run_id);
        fs::create_dir_all(&folder)?;
        files::remove_parts(&folder)?;
        Ok(folder)
    }

    pub(super) fn run(&self, run_id: RunId) -> io::Result<RunReceipt> {
        Ok(files::read_json(&self.run_file(run_id))?.unwrap_or_default())
    }

    pub(super) fn change_run(&self, run_id: RunId, change: impl FnOnce(&mut RunReceipt)) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut receipt = self.run(run_id)?;
        change(&mut receipt);
        fs::create_dir_all(self.run_folder(run_id))?;
        files::write_json(&self.run_file(run_id), &receipt)
    }

    pub(super) fn forget_run(&self, run_id: RunId) -> io::Result<()> {
        files::remove_folder_if_there(&self.run_folder(run_id))
    }

    pub(super) fn lease(&self, lease_id: LeaseId) -> io::Result<LeaseReceipt> {
        Ok(files::read_json(&self.lease_file(lease_id))?.unwrap_or_default())
    }

    pub(super) fn save_lease(&self, lease_id: LeaseId, receipt: &LeaseReceipt) -> io::Result<()> {
        files::write_json(&self.lease_file(lease_id), receipt)
    }

    /// Leases whose pings this node has to answer.
    pub(super) fn promised(&self) -> io::Result<BTreeSet<LeaseId>> {
        Ok(files::read_json(&self.promised_file())?.unwrap_or_default())
    }

    /// Remembers a lease before it is accepted, or forgets it once nothing is asked of it any more.
    pub(super) fn set_promised(&self, lease_id: LeaseId, promised: bool) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut leases = self.promised()?;
        let changed = if promised { leases.insert(lease_id) } else { leases.remove(&lease_id) };
        if changed { files::write_json(&self.promised_file(), &leases) } else { Ok(()) }
    }

    fn promised_file(&self) -> PathBuf {
        self.folder.join("promised.json")
    }

    fn run_file(&self, run_id: RunId) -> PathBuf {
        self.run_folder(run_id).join("receipt.json")
    }

    fn lease_file(&self, lease_id: LeaseId) -> PathBuf {
        self.folder.join("leases").join(format!("{lease_id}.json"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_primitives::{EscrowId, NodeId};

    #[test]
    fn receipts__should_survive_the_process_and_end_with_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let hash = Hash32([7; 32]);
        let commitment =
            Commitment { run_id: RunId(3), round: 4, node_id: NodeId(5), update: hash, steps: 6, began_with: None, checkpoint: hash };
        let receipts = Receipts::open(folder.path().to_owned()).unwrap();
        receipts.change_run(RunId(3), |receipt| receipt.signed = Some((3, hash))).unwrap();
        receipts.change_run(RunId(3), |receipt| receipt.committed = Some((commitment.clone(), Signature([1; 64])))).unwrap();
        let again = Receipts::open(folder.path().to_owned()).unwrap();
        assert_eq!(again.run(RunId(3)).unwrap(), RunReceipt { committed: Some((commitment, Signature([1; 64]))), signed: Some((3, hash)) });
        again.forget_run(RunId(3)).unwrap();
        again.forget_run(RunId(3)).unwrap();
        assert_eq!(again.run(RunId(3)).unwrap(), RunReceipt::default());
    }

    #[test]
    fn receipts__should_keep_the_last_co_signed_statement() {
        let folder = tempfile::tempdir().unwrap();
        let receipts = Receipts::open(folder.path().to_owned()).unwrap();
        let statement = LeaseStatement {
            escrow_id: EscrowId(1),
            lease_id: LeaseId(2),
            seq: 3,
            metered_ms: 4,
            units: 5,
            output: Hash32::default(),
            is_final: false,
        };
        let kept =
            LeaseReceipt { co_signed: Some(CoSigned { statement, node: Signature([1; 64]), meter: Signature([2; 64]) }), sent_bytes: 9 };
        receipts.save_lease(LeaseId(2), &kept).unwrap();
        assert_eq!(Receipts::open(folder.path().to_owned()).unwrap().lease(LeaseId(2)).unwrap(), kept);
        assert_eq!(receipts.lease(LeaseId(9)).unwrap(), LeaseReceipt::default());
    }

    #[test]
    fn receipts__should_remember_whose_pings_to_answer() {
        let folder = tempfile::tempdir().unwrap();
        let receipts = Receipts::open(folder.path().to_owned()).unwrap();
        for lease in [LeaseId(4), LeaseId(7), LeaseId(4)] {
            receipts.set_promised(lease, true).unwrap();
        }
        receipts.set_promised(LeaseId(4), false).unwrap();
        receipts.set_promised(LeaseId(9), false).unwrap();
        assert_eq!(Receipts::open(folder.path().to_owned()).unwrap().promised().unwrap(), BTreeSet::from([LeaseId(7)]));
    }
}
