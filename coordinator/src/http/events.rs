//! Server-sent events of runs and leases: what was missed since `Last-Event-ID`, the state, what comes.

use super::{App, extract::Path, lease as leases, run as runs};
use crate::{
    board::{lease_view, pending_statement, run_view},
    clock,
    problem::Fault,
    streams::{Item, Topic},
};
use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde::Serialize;
use starling_http_api::{lease::LeaseEvent, run::RunEvent};
use starling_primitives::{LeaseId, RunId};
use std::{convert::Infallible, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

pub(super) async fn run(
    State(app): State<App>,
    Path(run_id): Path<RunId>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let run = runs::find(&app, run_id).await?;
    let reader = Reader::open(&app, Topic::Run(run_id), &headers)?;
    let first = {
        let shown = app.tools.board.read();
        let mut first = vec![written(&RunEvent::Changed { view: Box::new(run_view(&run, &shown, &app.tools.hub, clock::now())) })];
        let pending = shown.runs.get(&run_id).and_then(pending_statement);
        first.extend(pending.map(|pending| written(&RunEvent::StatementReady { pending: Box::new(pending) })));
        first
    };
    Ok(reader.answer(first))
}

pub(super) async fn lease(
    State(app): State<App>,
    Path(lease_id): Path<LeaseId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let lease = leases::find(&app, lease_id).await?;
    if app.auth.account(&headers, &method).await? != lease.tenant {
        return Err(Fault::not_found("lease of yours"));
    }
    let reader = Reader::open(&app, Topic::Lease(lease_id), &headers)?;
    let first = {
        let shown = app.tools.board.read();
        let mut first = vec![written(&LeaseEvent::Changed { view: Box::new(lease_view(&lease, &shown, &app.tools.hub)) })];
        let pending = shown.leases.get(&lease_id).and_then(|work| work.pending.clone());
        first.extend(pending.map(|pending| written(&LeaseEvent::StatementReady { pending: Box::new(pending) })));
        first
    };
    Ok(reader.answer(first))
}

fn numbered(item: &Item) -> Event {
    Event::default().id(item.id.to_string()).data(&*item.json)
}

struct Reader {
    missed: Vec<Item>,
    coming: broadcast::Receiver<Item>,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    fn open(app: &App, topic: Topic, headers: &HeaderMap) -> Result<Self, Fault> {
        let full = |_| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", "Too many open streams", "Try again in a moment.");
        let permit = app.streams.clone().try_acquire_owned().map_err(full)?;
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
        let (missed, coming) = app.tools.streams.subscribe(topic, last);
        Ok(Self { missed, coming, stopping: app.stopping.clone(), _permit: permit })
    }

    /// What was missed, how things stand now, what comes.
    fn answer(mut self, first: Vec<Event>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
        let missed: Vec<Event> = std::mem::take(&mut self.missed).iter().map(numbered).collect();
        let rest = stream::unfold(self, |mut reader| async move {
            let item = reader.next().await?;
            Some((Ok(numbered(&item)), reader))
        });
        let all = futures_util::StreamExt::chain(stream::iter(missed.into_iter().chain(first).map(Ok)), rest);
        Sse::new(all).keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
    }

    async fn next(&mut self) -> Option<Item> {
        loop {
            tokio::select! {
                item = self.coming.recv() => match item {
                    Ok(item) => return Some(item),
                    // Too slow: what was left out is in the next state.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = self.stopping.changed() => return None,
            }
        }
    }
}

fn written(event: &impl Serialize) -> Event {
    Event::default().json_data(event).unwrap_or_default()
}
