//! Server-sent events: the last of each run and lease are kept, so that a reader who was away goes on where it stopped.

use serde::Serialize;
use starling_primitives::{LeaseId, RunId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast;

/// Events that are kept of each.
const KEPT: usize = 2_000;
/// Events that a slow reader may fall behind.
const QUEUE: usize = 1_024;

/// What a stream is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A run.
    Run(RunId),
    /// A lease.
    Lease(LeaseId),
}

/// An event with its number, in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Grows; also over restarts.
    pub id: u64,
    /// The event.
    pub json: Arc<str>,
}

/// All streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    topics: Arc<Mutex<HashMap<Topic, Channel>>>,
    clock: fn() -> u64,
}

struct Channel {
    next: u64,
    kept: VecDeque<Item>,
    sender: broadcast::Sender<Item>,
}

impl Streams {
    /// Streams whose numbers begin at the time of their first use by this clock of milliseconds, so that they grow over restarts and from one program to the next that leads.
    pub fn new(clock: fn() -> u64) -> Self {
        Self { topics: Arc::default(), clock }
    }

    /// Tells all readers.
    pub fn publish(&self, topic: Topic, event: &impl Serialize) {
        let Ok(json) = serde_json::to_string(event) else {
            tracing::error!("an event cannot be written");
            return;
        };
        let mut topics = self.lock();
        let channel = topics.entry(topic).or_insert_with(|| Channel::new((self.clock)().saturating_mul(1_000)));
        let item = Item { id: channel.next, json: json.into() };
        channel.next += 1;
        channel.kept.push_back(item.clone());
        if channel.kept.len() > KEPT {
            channel.kept.pop_front();
        }
        // Nobody may be reading.
        let _ = channel.sender.send(item);
    }

    /// What was missed after `last`, and what comes.
    pub fn subscribe(&self, topic: Topic, last: Option<u64>) -> (Vec<Item>, broadcast::Receiver<Item>) {
        let mut topics = self.lock();
        let channel = topics.entry(topic).or_insert_with(|| Channel::new((self.clock)().saturating_mul(1_000)));
        let missed = last.map_or_else(Vec::new, |last| channel.kept.iter().filter(|item| item.id > last).cloned().collect());
        (missed, channel.sender.subscribe())
    }

    /// Forgets a stream that nobody needs any more.
    pub fn forget(&self, topic: Topic) {
        let mut topics = self.lock();
        if topics.get(&topic).is_some_and(|channel| channel.sender.receiver_count() == 0) {
            topics.remove(&topic);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Channel>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn new(first_id: u64) -> Self {
        Self { next: first_id, kept: VecDeque::new(), sender: broadcast::channel(QUEUE).0 }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn streams__should_give_a_returning_reader_what_it_missed() {
        let streams = Streams::new(|| 7);
        let topic = Topic::Run(RunId(1));
        for event in ["a", "b", "c"] {
            streams.publish(topic, &event);
        }
        let (missed, mut coming) = streams.subscribe(topic, Some(7_000));
        assert_eq!(missed.iter().map(|item| &*item.json).collect::<Vec<_>>(), ["\"b\"", "\"c\""]);
        streams.publish(topic, &"d");
        assert_eq!(coming.try_recv().map(|item| (item.id, item.json.to_string())), Ok((7_003, "\"d\"".to_owned())));
        let (all, _) = streams.subscribe(topic, None);
        assert!(all.is_empty(), "a new reader is told the state instead");
    }
}
