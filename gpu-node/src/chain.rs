//! What the node reads from the chain and sends to it. The chain is the truth: work begins only after it was asked.

use starling_contract_api::{
    Deployment,
    billing::{Billing, EscrowView},
    compute::Compute,
    rpc::{RpcClient, RpcError, Signer},
};
use starling_primitives::{AccountId, Amount, Asset, EscrowId, LeaseId, NodeId, PublicKey, RunId, Signature, TimestampMs};
use starling_protocol::{
    escrow,
    lease::Lease,
    node::Node,
    run::{Run, RunState, RunTerms},
    signing::LeaseStatement,
};
use std::time::Duration;

/// How often a state on chain is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(250);
/// How long a node waits for a round that counted to show on chain.
const ROUND_WAIT: Duration = Duration::from_secs(120);

/// Why the node does not go on with what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    /// No answer, or a transaction that failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The RPC belongs to another chain than the configuration.
    #[error("the RPC at {url} is of the chain {found}, this node is set up for {expected}: correct rpc_url, or set the node up again")]
    WrongChain {
        /// Which RPC.
        url: String,
        /// What it says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// What was asked is not what stands on chain.
    #[error("{0}")]
    Deviates(String),
}

/// The chain as one node sees it.
#[derive(Debug)]
pub(crate) struct Chain {
    rpc: RpcClient,
    deployment: Deployment,
    node_id: NodeId,
    signer: Signer,
}

impl Chain {
    /// The chain behind an RPC, with the node's own key.
    pub(crate) fn new(rpc: RpcClient, deployment: Deployment, node_id: NodeId, signer: Signer) -> Self {
        Self { rpc, deployment, node_id, signer }
    }

    /// Refuses an RPC of another chain.
    pub(crate) async fn check_network(&self) -> Result<(), ChainError> {
        let found = self.rpc.status().await?.chain_id;
        if found == self.deployment.chain_id {
            return Ok(());
        }
        Err(ChainError::WrongChain { url: self.rpc.url().to_owned(), found, expected: self.deployment.chain_id.clone() })
    }

    /// The node's record; refused where it is missing, retired or has another key.
    pub(crate) async fn own_node(&self) -> Result<Node, ChainError> {
        let node_id = self.node_id;
        let node = self.rpc.view(&self.compute().node(node_id)).await?;
        let node =
            node.ok_or_else(|| deviates(format!("node {node_id} is not registered in {}: run `gpu-node setup`", self.deployment.compute)))?;
        if node.key != self.signer.public_key() {
            return Err(deviates(format!(
                "node {node_id} is registered with the key {}, this node has {}: run `gpu-node setup`",
                node.key,
                self.signer.public_key()
            )));
        }
        if node.retired {
            return Err(deviates(format!("node {node_id} was retired: run `gpu-node setup` for a new one")));
        }
        Ok(node)
    }

    /// A run.
    pub(crate) async fn run(&self, run_id: RunId) -> Result<Run, ChainError> {
        let run = self.rpc.view(&self.compute().run(run_id)).await?;
        run.ok_or_else(|| deviates(format!("run {run_id} is not on chain")))
    }

    /// The run once round `round` may be worked on: all before it count, the money is in an open escrow, and this node is at `place`.
    pub(crate) async fn run_at_round(&self, run_id: RunId, terms: &RunTerms, round: u32, place: u16) -> Result<Run, ChainError> {
        let until = tokio::time::Instant::now() + ROUND_WAIT;
        let run = loop {
            let run = self.run(run_id).await?;
            match run.state {
                RunState::Training { round: now, .. } if now == round => break run,
                RunState::Training { round: now, .. } if now > round => {
                    return Err(deviates(format!("round {round} is over, the chain is at {now}")));
                }
                RunState::Ended { .. } => return Err(deviates(format!("run {run_id} has ended"))),
                _ if tokio::time::Instant::now() > until => {
                    return Err(deviates(format!("round {round} has not begun on chain: work before it is not signed yet")));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        };
        self.check_place(&run, terms, place)?;
        self.open_escrow(run.escrow_id).await?;
        Ok(run)
    }

    /// The run while the record of round `round` may be signed.
    pub(crate) async fn run_in_round(&self, run_id: RunId, round: u32) -> Result<Run, ChainError> {
        let run = self.run(run_id).await?;
        match run.state {
            RunState::Training { round: now, .. } if now == round => Ok(run),
            state => Err(deviates(format!("the chain is not in round {round} of run {run_id}: it is {}", state.name()))),
        }
    }

    fn check_place(&self, run: &Run, terms: &RunTerms, place: u16) -> Result<(), ChainError> {
        if run.terms != *terms {
            return Err(deviates("the terms are not those that were paid for".to_owned()));
        }
        match run.roster.get(usize::from(place)) {
            Some(member) if member.node_id == self.node_id && member.key == self.signer.public_key() && !member.left => Ok(()),
            _ => Err(deviates(format!("place {place} of run {} is not this node's", run.id))),
        }
    }

    /// The escrow, refused unless it is open at a final block.
    pub(crate) async fn open_escrow(&self, escrow_id: EscrowId) -> Result<EscrowView, ChainError> {
        let billing = Billing(self.deployment.billing.clone());
        let view = self.rpc.view(&billing.escrow(escrow_id)).await?;
        match view {
            Some(view) if matches!(view.escrow.state, escrow::State::Open(_)) && view.escrow.arbiter == self.deployment.compute => Ok(view),
            Some(_) => Err(deviates(format!("escrow {escrow_id} is not open for {}", self.deployment.compute))),
            None => Err(deviates(format!("escrow {escrow_id} is not on chain"))),
        }
    }

    /// Joins a run; done already is done.
    pub(crate) async fn enroll(&self, run_id: RunId) -> Result<(), ChainError> {
        let enrolled = |run: &Run| run.roster.iter().any(|member| member.node_id == self.node_id && !member.left);
        if enrolled(&self.run(run_id).await?) {
            return Ok(());
        }
        match self.rpc.call(&self.signer, &self.compute().enroll(run_id, self.node_id)).await {
            Ok(_) => Ok(()),
            // A try before, whose answer was lost.
            Err(_) if enrolled(&self.run(run_id).await?) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Leaves a run when the round under way is over; left already is left.
    pub(crate) async fn leave_run(&self, run_id: RunId) -> Result<(), ChainError> {
        let is_in = |run: &Run| run.roster.iter().any(|member| member.node_id == self.node_id && !member.left && !member.leaving);
        if !is_in(&self.run(run_id).await?) {
            return Ok(());
        }
        self.rpc.call(&self.signer, &self.compute().leave_run(run_id, self.node_id)).await?;
        Ok(())
    }

    /// The account that is paid for this node's work, and its balance in `billing` in NEAR.
    pub(crate) async fn payout(&self) -> Result<(AccountId, Amount), ChainError> {
        let payout = self.own_node().await?.payout;
        let account = self.rpc.view(&Billing(self.deployment.billing.clone()).account(&payout)).await?;
        let balances = account.map(|account| account.balances).unwrap_or_default();
        let near = balances.iter().find(|(asset, _)| *asset == Asset::Near).map_or(Amount::ZERO, |(_, amount)| *amount);
        Ok((payout, near))
    }

    /// A lease.
    pub(crate) async fn lease(&self, lease_id: LeaseId) -> Result<Lease, ChainError> {
        let lease = self.rpc.view(&self.compute().lease(lease_id)).await?;
        lease.ok_or_else(|| deviates(format!("lease {lease_id} is not on chain")))
    }

    /// Accepts a lease. Where a bond stands behind it the contract answers whether it took that, and without its yes nothing is worked on.
    pub(crate) async fn accept_lease(&self, lease: &Lease) -> Result<(), ChainError> {
        let outcome = self.rpc.call(&self.signer, &self.compute().accept_lease(lease.id)).await?;
        if lease.cover.is_some() && !outcome.json::<bool>()? {
            return Err(deviates(format!(
                "lease {} was not accepted: the bond behind it is closing or gone; `gpu-node setup` with a new --sla-bond makes another offer",
                lease.id
            )));
        }
        Ok(())
    }

    /// Answers the ping of a lease.
    pub(crate) async fn pong(&self, lease_id: LeaseId) -> Result<(), ChainError> {
        self.rpc.call(&self.signer, &self.compute().pong(lease_id)).await?;
        Ok(())
    }

    /// Ends a lease from the node's side.
    pub(crate) async fn close_lease(&self, lease_id: LeaseId) -> Result<(), ChainError> {
        self.rpc.call(&self.signer, &self.compute().close_lease(lease_id)).await?;
        Ok(())
    }

    /// Brings a co-signed statement to the chain: what the coordinator does, for when it does not.
    pub(crate) async fn post_statement(&self, statement: &LeaseStatement, node: &Signature, meter: &Signature) -> Result<(), ChainError> {
        self.rpc.call(&self.signer, &self.compute().post_statement(statement, node, meter)).await?;
        Ok(())
    }

    /// Time of the last final block.
    pub(crate) async fn now(&self) -> Result<TimestampMs, ChainError> {
        let block = self.rpc.block(starling_contract_api::rpc::BlockRef::Final).await?;
        Ok(TimestampMs(block.timestamp_ms))
    }

    /// The key with which this node signs.
    pub(crate) fn public_key(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// Signs bytes with the node's key.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        self.signer.sign_bytes(bytes)
    }

    /// The client, for set-up and doctor.
    pub(crate) fn rpc(&self) -> &RpcClient {
        &self.rpc
    }

    fn compute(&self) -> Compute {
        Compute(self.deployment.compute.clone())
    }
}

fn deviates(what: String) -> ChainError {
    ChainError::Deviates(what)
}
