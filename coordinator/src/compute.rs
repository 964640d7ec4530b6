//! What of a round is computed and not decided: from artifacts to artifacts, the same wherever it is done. Of several programs on one database the leading one asks those
//! that stand by in turn, and does it itself where it gets no answer.

use crate::{
    artifacts::{ArtifactError, Artifacts},
    clock,
    db::Db,
    runs::{self, Made, MadeBytes, RecordError, RecordInput},
};
use anyhow::{Context as _, Result, bail, ensure};
use axum::{
    body::{Body, to_bytes},
    http::{Request, header},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use starling_http_api::node::PlacedUpdate;
use starling_primitives::{Hash32, RunId};
use starling_rounds::{ApplyError, Refusal};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// Where a program that stands by takes tasks, at its `replica_listen`.
pub const PATH: &str = "/compute";
/// It must take a connection within this.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// It must answer within this; then the leading program does the task itself.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// The longest answer.
const MAX_ANSWER: usize = 4 << 20;

/// A part of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Decode and compare updates.
    Inspect {
        /// Whose.
        run_id: RunId,
        /// Artifact of the recipe that fixes their code.
        recipe: Hash32,
        /// Artifact of the state that fixes their layout.
        state: Hash32,
        /// In order of commitment.
        updates: Vec<PlacedUpdate>,
    },
    /// Make the round record and the state after it.
    Record(Box<RecordInput>),
}

/// What a task gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of [`Task::Inspect`].
    Inspected {
        /// Places whose updates are to be scored.
        valid: Vec<u16>,
        /// The others.
        refused: BTreeMap<u16, Refusal>,
    },
    /// Of [`Task::Record`]: record and state are stored, and nobody's yet.
    Recorded(Box<Made>),
}

/// This program's part in it. Cheap to clone.
#[derive(Clone)]
pub struct Compute {
    artifacts: Artifacts,
    db: Db,
}

impl Task {
    /// The run that it is a part of.
    pub fn run_id(&self) -> RunId {
        match self {
            Self::Inspect { run_id, .. } => *run_id,
            Self::Record(input) => input.run_id,
        }
    }
}

impl Compute {
    /// With the artifacts that all programs on the database have.
    pub fn new(artifacts: Artifacts, db: Db) -> Self {
        Self { artifacts, db }
    }

    /// Has a task done: by this program and those that stand by in turn, by the number of the run.
    ///
    /// # Errors
    /// Artifacts cannot be read or stored, or give no round.
    pub async fn divide(&self, task: Task) -> Result<Answer> {
        if let Some(address) = self.whose_turn(task.run_id()).await {
            match tokio::time::timeout(ANSWER_TIME, ask(address, &task)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::warn!(%address, %error, "a program that stands by did not compute"),
                Err(_) => tracing::warn!(%address, "a program that stands by was too slow to compute"),
            }
        }
        self.here(task).await
    }

    /// One of those that stand by, or nobody where it is this program's turn.
    async fn whose_turn(&self, run_id: RunId) -> Option<SocketAddr> {
        let standing_by = self.db.standing_by(clock::now()).await.unwrap_or_default();
        let turns = u64::try_from(standing_by.len()).ok()?.checked_add(1)?;
        let turn = usize::try_from(run_id.0 % turns).ok()?;
        standing_by.get(turn.checked_sub(1)?)?.parse().ok()
    }

    /// Does a task on a thread of its own.
    ///
    /// # Errors
    /// As [`Compute::divide`].
    pub async fn here(&self, task: Task) -> Result<Answer> {
        match task {
            Task::Inspect { recipe, state, updates, .. } => self.inspect(recipe, state, updates).await,
            Task::Record(input) => self.record(*input).await,
        }
    }

    async fn inspect(&self, recipe: Hash32, state: Hash32, updates: Vec<PlacedUpdate>) -> Result<Answer> {
        let (recipe, state) = (self.artifacts.get(recipe).await?, self.artifacts.get(state).await?);
        let mut read = Vec::with_capacity(updates.len());
        for PlacedUpdate { place, update, .. } in updates {
            read.push((place, self.update(update).await?));
        }
        let (valid, refused) = tokio::task::spawn_blocking(move || runs::inspect(&recipe, &state, &read)).await??;
        Ok(Answer::Inspected { valid, refused })
    }

    /// Its bytes, if there are any; a store that is away is an error, and no node's fault.
    async fn update(&self, hash: Hash32) -> Result<Option<Vec<u8>>, ArtifactError> {
        match self.artifacts.get(hash).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ArtifactError::Missing(_) | ArtifactError::HashMismatch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn record(&self, input: RecordInput) -> Result<Answer> {
        let (state, recipe) = (self.artifacts.get(input.state).await?, self.artifacts.get(input.recipe).await?);
        let mut updates = BTreeMap::new();
        for place in &input.scored.valid {
            if let Some(committed) = input.scored.frozen.commitments.get(place) {
                updates.insert(*place, self.artifacts.get(committed.update).await?);
            }
        }
        let of_round = Arc::new((input, state, recipe, updates));
        let mut ready = make(of_round.clone(), None).await?;
        if let (Err(RecordError::Apply(ApplyError::EarlierMissing(_))), Some(earlier)) = (&ready, of_round.0.earlier) {
            ready = make(of_round, Some(self.artifacts.get(earlier).await?)).await?;
        }
        let ready = ready?;
        for bytes in [ready.record, ready.state] {
            self.artifacts.put(bytes).await?;
        }
        Ok(Answer::Recorded(Box::new(ready.made)))
    }
}

/// Recipe, state and updates of a round.
type OfRound = (RecordInput, Vec<u8>, Vec<u8>, BTreeMap<u16, Vec<u8>>);

async fn make(of_round: Arc<OfRound>, earlier: Option<Vec<u8>>) -> Result<Result<MadeBytes, RecordError>> {
    let made = tokio::task::spawn_blocking(move || {
        let (input, state, recipe, updates) = &*of_round;
        runs::make_record(input, state, earlier.as_deref(), recipe, updates)
    });
    Ok(made.await?)
}

/// Asks a program that stands by.
async fn ask(address: SocketAddr, task: &Task) -> Result<Answer> {
    let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await.context("it takes no connection")??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::post(PATH).header(header::HOST, address.to_string()).header(header::CONTENT_TYPE, "application/json");
    let response = sender.send_request(request.body(Body::from(serde_json::to_vec(task)?))?).await?;
    let status = response.status();
    let bytes = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
    if !status.is_success() {
        bail!("it answers {status}: {}", String::from_utf8_lossy(&bytes));
    }
    let answer: Answer = serde_json::from_slice(&bytes)?;
    let fits = match (task, &answer) {
        (Task::Inspect { updates, .. }, Answer::Inspected { valid, refused }) => valid.len() + refused.len() == updates.len(),
        (Task::Record(input), Answer::Recorded(made)) => made.statement.run_id == input.run_id && made.statement.round == input.round,
        _ => false,
    };
    ensure!(fits, "it answers something else");
    Ok(answer)
}

#[cfg(test)]
#[path = "compute_tests.rs"]
mod tests;
