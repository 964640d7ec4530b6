//! The program that runs what is due.

use super::{occurrence::Occurrence, store::Store};
use crate::{api::Api, output::Output, profile::Context, train::now};
use anyhow::Result;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::json;
use starling_primitives::TimestampMs;
use starling_schedules::Next;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How often it is looked for what is due, added, paused or removed.
const EVERY: Duration = Duration::from_secs(1);

/// Serves until interrupted.
pub(crate) async fn serve(store: &Store, context: Context, out: Output) -> Result<()> {
    let _only_one = store.serving()?;
    context.check_network().await?;
    let (api, context, signing) = (&Api::of(&context)?, &context, Arc::new(Mutex::new(())));
    let mut runs = FuturesUnordered::new();
    let mut busy = BTreeSet::new();
    out.say(
        "serving",
        &json!({"schedules": store.names()?}),
        "Serving schedules; Ctrl C ends it, and what runs then goes on at the next start.",
    );
    loop {
        for name in store.names()? {
            if busy.contains(&name) {
                // What is due while it runs is noted as skipped.
                store.change(&name, |schedule| Ok(schedule.step(now())?))?;
                continue;
            }
            match due(store, &name) {
                Ok(None) => {}
                Ok(Some(at)) => {
                    let occurrence = Occurrence { store: store.clone(), name: name.clone(), at, signing: signing.clone() };
                    busy.insert(name);
                    runs.push(async move {
                        occurrence.run(context, api, out).await;
                        occurrence.name
                    });
                }
                Err(error) => {
                    out.say("schedule_unreadable", &json!({"name": name, "reason": format!("{error:#}")}), &format!("{name}: {error:#}"))
                }
            }
        }
        tokio::select! {
            Some(ended) = runs.next() => {
                busy.remove(&ended);
            }
            () = tokio::time::sleep(EVERY) => {}
            stop = tokio::signal::ctrl_c() => return Ok(stop?),
        }
    }
}

/// The occurrence to run now: the one that was under way when this program ended, or one that is due. It is noted before anything is paid for it.
fn due(store: &Store, name: &str) -> Result<Option<TimestampMs>> {
    store.change(name, |schedule| {
        if let Some(at) = schedule.running {
            return Ok(Some(at));
        }
        Ok(match schedule.step(now())? {
            Next::Run(at) => Some(at),
            Next::Wait(_) | Next::Rest => None,
        })
    })
}
