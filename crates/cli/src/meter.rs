//! The tenant as meter: recomputes a round from its artifacts and co-signs it only when every figure is right.

use crate::api::Api;
use anyhow::{Context as _, Result, bail, ensure};
use starling_contract_api::{Deployment, rpc::Signer};
use starling_http_api::run::{MeterSignature, PendingStatement};
use starling_primitives::Hash32;
use starling_protocol::{
    run::Run,
    signing::{Role, RoundStatement},
};
use starling_rounds::{Codec, Fragments, OuterState, Plan, Previous, RoundRecord, apply_round, recipe::Recipe};
use std::collections::BTreeMap;

/// Follows a run's outer state round by round.
pub(crate) struct RoundChecker {
    state: OuterState,
    /// The state one round earlier.
    earlier: Option<OuterState>,
    previous: Previous,
    plan: Plan,
    codec: Codec,
    fragments: Fragments,
}

impl RoundChecker {
    /// Before the first round: `recipe` and `base` are the artifacts that the run's terms name.
    pub(crate) fn new(run: &Run, recipe: &[u8], base: &[u8]) -> Result<Self> {
        let recipe = Recipe::from_json(std::str::from_utf8(recipe).context("the recipe is no text")?)?;
        ensure!(blake3::hash(base).as_bytes() == &run.terms.base.0, "the base state is not the artifact that was paid for");
        let state = OuterState::from_bytes(base).context("the base state is damaged")?;
        ensure!(state.root() == run.terms.base_root, "the base state has another root than the one that was paid for");
        let roster = u16::try_from(run.roster.len())?;
        let previous = Previous::genesis(run.id, &state, roster);
        let fragments = recipe.fragments(state.layout())?;
        Ok(Self { state, earlier: None, previous, plan: recipe.plan()?, codec: recipe.outer.codec, fragments })
    }

    /// The rounds applied so far.
    pub(crate) fn rounds(&self) -> u32 {
        self.state.round()
    }

    /// Bytes of the outer state now.
    pub(crate) fn state_bytes(&self) -> Vec<u8> {
        self.state.to_bytes()
    }

    /// The state root now.
    pub(crate) fn root(&self) -> Hash32 {
        self.previous.state_root
    }

    /// Applies a round after checking all that is deterministic; `updates` are the artifacts by place.
    pub(crate) fn apply(&mut self, statement: &RoundStatement, record: &[u8], updates: &BTreeMap<u16, Vec<u8>>) -> Result<()> {
        let record: RoundRecord = borsh::from_slice(record).context("the round record is damaged")?;
        ensure!(record.digest() == statement.record, "the round record is not the one that was signed");
        ensure!(record.tokens_by_place() == statement.tokens, "the signed tokens are not those of the record");
        let layout = self.fragments.layout_of_round(record.round);
        let mut decoded = BTreeMap::new();
        for place in record.accepted() {
            let bytes = updates.get(&place).with_context(|| format!("the update of place {place} is missing"))?;
            let update = self.codec.decode(layout, bytes);
            decoded.insert(place, update.with_context(|| format!("the update of place {place} is damaged"))?);
        }
        record.check(&self.previous, self.plan, &decoded).context("the round record is wrong")?;
        let mut next = self.state.clone();
        let root = apply_round(&mut next, self.earlier.as_ref(), &self.fragments, &record, &decoded).context("the outer step failed")?;
        if root != statement.state_root {
            bail!("the round's state root is {}, not {} as was signed", root, statement.state_root);
        }
        self.previous = Previous::after(&record, root, record.roster_size);
        self.earlier = Some(std::mem::replace(&mut self.state, next));
        Ok(())
    }
}

/// Co-signs what waits, after checking it.
pub(crate) struct Meter {
    signer: Signer,
    checker: RoundChecker,
}

impl Meter {
    pub(crate) fn new(signer: Signer, checker: RoundChecker) -> Self {
        Self { signer, checker }
    }

    /// Bytes of the outer state before this round, if that is where the checker stands.
    pub(crate) fn state_before(&self, round: u32) -> Option<Vec<u8>> {
        (self.checker.rounds() == round).then(|| self.checker.state_bytes())
    }

    /// Checks a pending round against the artifacts and signs it. A round that was applied before is signed again as it was.
    pub(crate) async fn sign(
        &mut self,
        api: &Api,
        deployment: &Deployment,
        run: &Run,
        pending: &PendingStatement,
    ) -> Result<MeterSignature> {
        let statement = &pending.statement;
        ensure!(statement.run_id == run.id && statement.escrow_id == run.escrow_id, "the statement is for another run");
        ensure!(statement.previous == run.chain, "the statement does not follow the chain's last round");
        if self.checker.rounds() == statement.round {
            let record = api.download(pending.record).await?;
            let mut updates = BTreeMap::new();
            for (place, update) in pending.updates.iter().enumerate() {
                if let Some(update) = update {
                    updates.insert(u16::try_from(place)?, api.download(*update).await?);
                }
            }
            self.checker.apply(statement, &record, &updates)?;
        }
        ensure!(
            self.checker.rounds() == statement.round + 1 && self.checker.root() == statement.state_root,
            "round {} is not the one that was checked",
            statement.round
        );
        let signature = self.signer.sign_bytes(&statement.signing_bytes(&deployment.compute_domain(), Role::Meter));
        Ok(MeterSignature { round: statement.round, signature })
    }
}
