//! A checkpoint that a round began with, from the node that has it to the tenant who has that round made again.

use super::{App, extract::Path};
use crate::{
    db::WorkKind,
    problem::{Fault, one_line},
};
use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode},
};
use starling_http_api::node::{FromNode, ToNode};
use starling_primitives::{Hash32, NodeId, RunId};
use std::time::Duration;

/// A request waits for so long while the node uploads; then it is to be asked again.
const WAIT: Duration = Duration::from_secs(30);

/// Has the node bring it. What it brings becomes the run's, so that the tenant may read it and it goes when the run goes.
pub(super) async fn show(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    Path((run_id, checkpoint)): Path<(RunId, Hash32)>,
) -> Result<StatusCode, Fault> {
    let account = app.auth.account(&headers, &method).await?;
    let run = super::run::find(&app, run_id).await?;
    if run.tenant != account {
        return Err(Fault::not_found("run"));
    }
    let node = claimant(&app, run_id, checkpoint).await?.ok_or_else(|| Fault::not_found("checkpoint that a round began with"))?;
    if !app.tools.access.brought_by(node, checkpoint).await? {
        ask(&app, node, run_id, checkpoint).await?;
    }
    app.tools.db.add_use(checkpoint, WorkKind::Run, run_id.0, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The node of the run that committed to have begun a round with it.
async fn claimant(app: &App, run_id: RunId, checkpoint: Hash32) -> Result<Option<NodeId>, Fault> {
    let rounds = app.tools.db.rounds(run_id).await?;
    let mut commitments = rounds.into_iter().rev().flat_map(|round| round.commitments).flatten().map(|signed| signed.commitment);
    Ok(commitments.find(|commitment| commitment.began_with == Some(checkpoint)).map(|commitment| commitment.node_id))
}

async fn ask(app: &App, node: NodeId, run_id: RunId, checkpoint: Hash32) -> Result<(), Fault> {
    let refused = |status, code, detail: String| Fault::new(status, code, "The checkpoint is not here", detail);
    let message = |request_id| ToNode::ShowCheckpoint { request_id, run_id, checkpoint };
    match tokio::time::timeout(WAIT, app.tools.hub.ask(node, message)).await {
        Ok(Ok(FromNode::CheckpointShown { outcome: Ok(()), .. })) if app.tools.access.brought_by(node, checkpoint).await? => Ok(()),
        Ok(Ok(FromNode::CheckpointShown { outcome: Err(reason), .. })) => {
            let detail = format!("Node {node} does not show it: {}.", one_line(&reason));
            Err(refused(StatusCode::CONFLICT, "checkpoint_not_shown", detail))
        }
        Ok(Ok(_)) => {
            let detail = format!("Node {node} says that it brought the checkpoint, and did not.");
            Err(refused(StatusCode::CONFLICT, "checkpoint_not_shown", detail))
        }
        Ok(Err(_)) => {
            let detail = format!("Node {node} is not connected. Try again when it is.");
            Err(refused(StatusCode::SERVICE_UNAVAILABLE, "node_away", detail))
        }
        Err(_) => {
            let detail = format!("Node {node} is still uploading it. Ask again.");
            Err(refused(StatusCode::GATEWAY_TIMEOUT, "checkpoint_coming", detail))
        }
    }
}
