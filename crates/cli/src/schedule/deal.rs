//! What a run of a schedule buys: a node's time for a script, or a training.

use super::store::{Order, TrainingOrder};
use crate::{
    api::Api,
    commands,
    corpus::corpus_for,
    job::rent,
    output::Output,
    pay::Payment,
    profile::Context,
    train::{self, TrainOptions, now, run_of},
};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    lease::LeaseView,
    path,
    run::{PreparedRun, RunView},
};
use starling_primitives::{Amount, DurationMs, EscrowId, Hash32, LeaseId, PublicKey, RunId};
use std::{fmt, future::Future, time::Duration};

/// How long nodes are waited for that take it.
const NODE_PATIENCE: DurationMs = DurationMs::from_secs(600);
/// The wait before they are asked again.
const PAUSE: Duration = Duration::from_secs(5);
/// The newest leases or runs that are looked through for one that is paid.
const MAX_LISTED: u32 = 200;

/// What is bought, with its quote.
pub(super) enum Deal {
    Lease { choice: Box<rent::Choice>, job: Hash32 },
    Run(Box<PreparedRun>),
}

/// What a payment opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    Lease(LeaseId),
    Run(RunId),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(id) => write!(f, "lease {id}"),
            Self::Run(id) => write!(f, "run {id}"),
        }
    }
}

impl Deal {
    /// Finds nodes for an order at no more than `each`.
    ///
    /// # Errors
    /// None take it for ten minutes, it costs more, or its data cannot be read.
    pub(super) async fn make(context: &Context, api: &Api, order: &Order, each: Amount, meter: &Signer, out: Output) -> Result<Self> {
        match order {
            Order::Script(order) => {
                let wish = rent::wish(&order.file, Some(each), order.hours, None)?;
                let choice = patiently(|| rent::choose(context, api, &wish)).await?;
                Ok(Self::Lease { choice: Box::new(choice), job: order.job })
            }
            Order::Training(order) => {
                let options = options(context, order).await?;
                let prepared = patiently(|| train::prepare(context, api, &options, meter, out)).await?;
                let most = prepared.quote.at_most;
                ensure!(most <= each, "its quote of {} is more than the {} allowed", most.display_near(), each.display_near());
                Ok(Self::Run(Box::new(prepared)))
            }
        }
    }

    pub(super) fn payment(&self, context: &Context, meter: &Signer) -> Payment {
        match self {
            Self::Lease { choice, job } => rent::payment(context, choice, *job, meter),
            Self::Run(prepared) => train::payment(context, prepared),
        }
    }

    pub(super) fn at_most(&self) -> Amount {
        match self {
            Self::Lease { choice, .. } => choice.quote.at_most,
            Self::Run(prepared) => prepared.quote.at_most,
        }
    }
}

impl Work {
    /// What an escrow pays for.
    pub(super) async fn of_escrow(context: &Context, order: &Order, escrow_id: EscrowId) -> Result<Self> {
        Ok(match order {
            Order::Script(_) => Self::Lease(rent::lease_of(context, escrow_id).await?),
            Order::Training(_) => Self::Run(run_of(context, escrow_id).await?),
        })
    }

    /// The work whose meter is this key, which no other has, with its escrow.
    pub(super) async fn of_meter(context: &Context, api: &Api, order: &Order, meter: &PublicKey) -> Result<Option<(Self, EscrowId)>> {
        let newest = |list: &str| format!("{list}?tenant={}&limit={MAX_LISTED}", context.signer.account());
        match order {
            Order::Script(_) => {
                let leases: Vec<LeaseView> = api.get(&newest(path::LEASES)).await?;
                let found = leases.into_iter().find(|view| view.lease.terms.meter == *meter);
                Ok(found.map(|view| (Self::Lease(view.lease.id), view.lease.escrow_id)))
            }
            Order::Training(_) => {
                let runs: Vec<RunView> = api.get(&newest(path::RUNS)).await?;
                let found = runs.into_iter().find(|view| view.run.terms.meter == *meter);
                Ok(found.map(|view| (Self::Run(view.run.id), view.run.escrow_id)))
            }
        }
    }
}

async fn options(context: &Context, order: &TrainingOrder) -> Result<TrainOptions> {
    Ok(TrainOptions {
        recipe: order.recipe.clone(),
        fit: order.fit,
        corpus: corpus_for(&order.recipe, &order.data)?,
        base: commands::base(context, order.from.as_ref()).await?,
        min_nodes: order.min_nodes,
        max_nodes: order.max_nodes,
        price_per_million_tokens: order.price_per_million_tokens,
        acknowledge: true,
    })
}

async fn patiently<T, F: Future<Output = Result<T>>>(ask: impl Fn() -> F) -> Result<T> {
    let began = now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if now().since(began) > NODE_PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
