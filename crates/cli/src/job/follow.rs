//! A lease of a script to its end: live output and figures, every statement's outputs downloaded before it is signed.

use super::{Api, Context, Output, receive::Receiver};
use crate::{
    api::{Place, unless_away},
    lease::{co_sign, waiting},
};
use anyhow::{Result, ensure};
use futures_util::StreamExt as _;
use serde_json::json;
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    lease::{LeaseEvent, LeaseView},
    path,
};
use starling_primitives::LeaseId;
use starling_protocol::lease::LeaseState;
use std::{io::Write as _, time::Duration};

/// How long events may be silent before it is asked for what waits.
const SILENCE: Duration = Duration::from_secs(3);

/// Follows until the lease is closed. Where `interruptible`, the first Ctrl C ends the lease; what both signed until then is paid.
pub(crate) async fn follow(
    context: &Context,
    api: &Api,
    meter: &Signer,
    lease_id: LeaseId,
    receiver: &mut Receiver,
    interruptible: bool,
    out: Output,
) -> Result<LeaseView> {
    let follower = Follower { context, api, meter, lease_id, place: Place::start(), out };
    let money = format!("the escrow of lease {lease_id}");
    let mut interrupted = false;
    loop {
        tokio::select! {
            heard = async { unless_away(follower.listen(receiver).await, &money, SILENCE, out).await } => if let Some(view) = heard? {
                return Ok(view);
            },
            stop = tokio::signal::ctrl_c(), if interruptible => {
                stop?;
                ensure!(!interrupted, "the lease {lease_id} is closed; what was signed is paid, the rest comes back by itself");
                interrupted = true;
                out.note("Stopping: the lease is closed, what was signed is paid, the rest comes back.");
                context.rpc.call(&context.signer, &context.compute().close_lease(lease_id)).await?;
            }
        }
    }
}

struct Follower<'a> {
    context: &'a Context,
    api: &'a Api,
    meter: &'a Signer,
    lease_id: LeaseId,
    place: Place,
    out: Output,
}

impl Follower<'_> {
    /// Takes what comes until it is silent, then signs what waits. Gives the lease once it is closed.
    async fn listen(&self, receiver: &mut Receiver) -> Result<Option<LeaseView>> {
        let &Self { context, api, meter, lease_id, out, .. } = self;
        let mut events = std::pin::pin!(api.events::<LeaseEvent>(&path::fill(path::LEASE_EVENTS, &[&lease_id]), &self.place).await?);
        while let Ok(Some(event)) = tokio::time::timeout(SILENCE, events.next()).await {
            match event {
                LeaseEvent::Output { text } => print(&text, out),
                LeaseEvent::Metrics { points } => {
                    let line = |point: &starling_http_api::job::Metric| format!("  {} {} at step {}", point.name, point.value, point.step);
                    out.say("metrics", &json!({ "points": points }), &points.iter().map(line).collect::<Vec<_>>().join("\n"));
                }
                LeaseEvent::Setup { line } => out.say("setup", &json!({ "line": line }), &format!("setup: {line}")),
                // It may be told of one that was signed long ago.
                LeaseEvent::StatementReady { .. } => sign(context, api, meter, lease_id, receiver).await?,
                LeaseEvent::Changed { view } if matches!(view.lease.state, LeaseState::Closed { .. }) => {
                    // The last statement may have been signed by what came in between.
                    if let Some(output) = view.lease.output {
                        receiver.take(api, output).await?;
                    }
                    return Ok(Some(*view));
                }
                LeaseEvent::Changed { .. } => {}
            }
        }
        sign(context, api, meter, lease_id, receiver).await?;
        Ok(None)
    }
}

/// Signs the statement that waits, if what it pays for is here: a node that withholds its outputs is not paid for them.
async fn sign(context: &Context, api: &Api, meter: &Signer, lease_id: LeaseId, receiver: &mut Receiver) -> Result<()> {
    match waiting(api, lease_id).await? {
        Some(pending) => {
            receiver.take(api, pending.statement.output).await?;
            co_sign(context, api, meter, &pending).await
        }
        None => Ok(()),
    }
}

fn print(text: &str, out: Output) {
    if out.is_json() {
        out.say("output", &json!({ "text": text }), "");
    } else {
        print!("{text}");
        // A closed pipe ends nobody's job.
        let _ = std::io::stdout().flush();
    }
}
