//! Who may read an artifact. Whoever may not cannot tell it from one that is not there.
//!
//! A hash is public (it stands on chain), so naming it proves nothing: a run, lease or listing lends a right only where its tenant or publisher had the
//! right before.

use crate::{
    chain::{Chain, FactsReader},
    db::{Db, DbError, Use, WorkKind},
};
use starling_contract_api::rpc::RpcError;
use starling_primitives::{AccountId, Amount, AssetName, Hash32, LeaseId, NodeId, RunId};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// The most rights lent for preparing and enrolling; the oldest go first.
const MAX_GRANTS: usize = 50_000;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody who logged in.
    Anyone,
    /// An account with a session.
    Account(AccountId),
    /// A connected node.
    Node(NodeId),
}

/// Why the question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The chain gave no answer.
    #[error(transparent)]
    Chain(#[from] RpcError),
}

/// Decides who may read what. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    db: Db,
    chain: Arc<dyn Chain>,
    facts: FactsReader,
    grants: Arc<Mutex<Grants>>,
}

#[derive(Default)]
struct Grants {
    given: BTreeSet<(NodeId, Hash32)>,
    order: VecDeque<(NodeId, Hash32)>,
}

impl Who {
    /// As it is written in the table of owners; nothing for nobody.
    pub fn owner(&self) -> Option<String> {
        match self {
            Self::Anyone => None,
            Self::Account(account) => Some(account.to_string()),
            Self::Node(node) => Some(format!("node:{node}")),
        }
    }
}

impl Access {
    /// Decides by database, facts and chain.
    pub fn new(db: Db, chain: Arc<dyn Chain>, facts: FactsReader) -> Self {
        Self { db, chain, facts, grants: Arc::default() }
    }

    /// Lends a connected node the right to read an artifact, for preparing or for looking at a run before enrolling.
    pub fn grant(&self, node: NodeId, hash: Hash32) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.given.insert((node, hash)) {
            grants.order.push_back((node, hash));
        }
        while grants.order.len() > MAX_GRANTS {
            if let Some(oldest) = grants.order.pop_front() {
                grants.given.remove(&oldest);
            }
        }
    }

    /// Whether `who` may read the artifact.
    pub async fn may_read(&self, who: &Who, hash: Hash32) -> Result<bool, AccessError> {
        if self.has_own_right(who, hash).await? {
            return Ok(true);
        }
        if let Who::Node(node) = who {
            let granted = self.grants.lock().unwrap_or_else(PoisonError::into_inner).given.contains(&(*node, hash));
            return Ok(granted || self.db.uses(hash).await?.iter().any(|used| self.works_on(*node, used)));
        }
        self.may_read_listed(who, hash).await
    }

    /// Whether the node brought the artifact itself. A hash is public: only then does what it names become its tenant's.
    pub async fn brought_by(&self, node: NodeId, hash: Hash32) -> Result<bool, DbError> {
        self.db.owns_artifact(hash, &Who::Node(node).owner().unwrap_or_default()).await
    }

    /// Brought it, or is the tenant of the work that made it, or the delegate that the tenant named to look at it.
    async fn has_own_right(&self, who: &Who, hash: Hash32) -> Result<bool, AccessError> {
        let Some(owner) = who.owner() else { return Ok(false) };
        if self.db.owns_artifact(hash, &owner).await? {
            return Ok(true);
        }
        let Who::Account(account) = who else { return Ok(false) };
        Ok(self.db.uses(hash).await?.iter().any(|used| used.made && self.is_party(used, account)))
    }

    /// By the chain: a listing that costs nothing, or a licence. The publisher must have had the right.
    async fn may_read_listed(&self, who: &Who, hash: Hash32) -> Result<bool, AccessError> {
        for (contract, name) in self.db.listings_of(hash).await? {
            let (Ok(contract), Ok(name)) = (AccountId::new(contract), name.parse::<AssetName>()) else { continue };
            if !self.has_own_right(&Who::Account(name.publisher().clone()), hash).await? {
                continue;
            }
            let Some(listing) = self.chain.listing(&contract, &name).await? else { continue };
            if listing.price.is_zero() && !listing.delisted {
                return Ok(true);
            }
            if let Who::Account(account) = who
                && self.chain.licence(&contract, account, &name).await?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a lease may be given the artifact to work with: its tenant may read it, or by the chain may use it and has brought vouchers for one use more than went to other
    /// leases. The use is counted to this lease. Its node is lent the file, its tenant never.
    pub async fn may_work_with(&self, tenant: &AccountId, hash: Hash32, lease_id: LeaseId) -> Result<bool, AccessError> {
        let who = Who::Account(tenant.clone());
        if self.may_read(&who, hash).await? {
            return Ok(true);
        }
        for (contract, name) in self.db.listings_of(hash).await? {
            let (Ok(contract), Ok(name)) = (AccountId::new(contract), name.parse::<AssetName>()) else { continue };
            if !self.has_own_right(&Who::Account(name.publisher().clone()), hash).await?
                || !self.chain.may_use(&contract, tenant, &name).await?
            {
                continue;
            }
            let Some(metered) = self.chain.metered_use(&contract, tenant, &name).await? else { continue };
            let posted = self.chain.escrow(metered.escrow_id).await?.map_or(Amount::ZERO, |view| view.posted);
            let paid = posted.0.checked_div(metered.price_per_use.0).map_or(0, |uses| u64::try_from(uses).unwrap_or(u64::MAX));
            if self.db.take_use(metered.escrow_id, lease_id, paid).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn works_on(&self, node: NodeId, used: &Use) -> bool {
        let facts = self.facts.borrow();
        match used.work {
            WorkKind::Run => facts.runs.get(&RunId(used.id)).is_some_and(|run| run.roster.iter().any(|member| member.node_id == node)),
            WorkKind::Lease => facts.leases.get(&LeaseId(used.id)).is_some_and(|lease| lease.node_id == node),
        }
    }

    fn is_party(&self, used: &Use, account: &AccountId) -> bool {
        let facts = self.facts.borrow();
        match used.work {
            WorkKind::Run => facts.runs.get(&RunId(used.id)).is_some_and(|run| run.tenant == *account),
            WorkKind::Lease => facts.leases.get(&LeaseId(used.id)).is_some_and(|lease| {
                lease.tenant == *account || lease.terms.delegate.as_ref().is_some_and(|delegate| delegate.account == *account)
            }),
        }
    }
}

impl From<AccessError> for crate::problem::Fault {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Db(error) => error.into(),
            AccessError::Chain(error) => error.into(),
        }
    }
}
