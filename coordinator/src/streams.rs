//! Server-sent events: the last of each run and lease are kept, so that a reader who was away goes on where it stopped.

use serde::Serialize;
use starling_primitives::{LeaseId, RunId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast;

/// Events that are kept of each, and their bytes.
const KEPT: usize = 2_000;
const KEPT_BYTES: usize = 1 << 20;
/// What nobody reads or tells for so many milliseconds is not kept.
const SILENT_MS: u64 = 3_600_000;
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
    kept_bytes: usize,
    /// When something was told or read last.
    used_at: u64,
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
        let channel = self.channel(&mut topics, topic);
        let item = Item { id: channel.next, json: json.into() };
        channel.next += 1;
        channel.keep(item.clone());
        // Nobody may be reading.
        let _ = channel.sender.send(item);
    }

    /// What was missed after `last`, and what comes.
    pub fn subscribe(&self, topic: Topic, last: Option<u64>) -> (Vec<Item>, broadcast::Receiver<Item>) {
        let mut topics = self.lock();
        let channel = self.channel(&mut topics, topic);
        let missed = last.map_or_else(Vec::new, |last| channel.kept.iter().filter(|item| item.id > last).cloned().collect());
        (missed, channel.sender.subscribe())
    }

    /// The stream of a topic; where it is new, those go that were silent for long.
    fn channel<'a>(&self, topics: &'a mut HashMap<Topic, Channel>, topic: Topic) -> &'a mut Channel {
        let now = (self.clock)();
        if !topics.contains_key(&topic) {
            topics.retain(|_, channel| channel.sender.receiver_count() > 0 || now.saturating_sub(channel.used_at) < SILENT_MS);
        }
        let channel = topics.entry(topic).or_insert_with(|| Channel::new(now.saturating_mul(1_000)));
        channel.used_at = now;
        channel
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Channel>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn new(first_id: u64) -> Self {
        Self { next: first_id, kept: VecDeque::new(), kept_bytes: 0, used_at: 0, sender: broadcast::channel(QUEUE).0 }
    }

    fn keep(&mut self, item: Item) {
        self.kept_bytes += item.json.len();
        self.kept.push_back(item);
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes -= oldest.json.len();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

    #[test]
    fn streams__should_keep_no_more_than_a_part_and_nothing_of_what_is_silent() {
        static NOW: AtomicU64 = AtomicU64::new(1);
        let streams = Streams::new(|| NOW.load(Relaxed));
        let lease = |id| Topic::Lease(LeaseId(id));
        for _ in 0..20 {
            streams.publish(lease(1), &"x".repeat(KEPT_BYTES / 10));
        }
        let kept = streams.subscribe(lease(1), Some(0)).0;
        assert_eq!((kept.len(), kept.last().map(|item| item.id)), (9, Some(1_019)));
        let reader = streams.subscribe(lease(2), None).1;
        NOW.store(SILENT_MS + 1, Relaxed);
        streams.publish(lease(3), &"new");
        assert!(streams.subscribe(lease(1), Some(0)).0.is_empty(), "nobody reads it");
        streams.publish(lease(2), &"still read");
        assert_eq!(reader.len(), 1);
    }
}
