//! The hub: which nodes are connected, and the way to each. Messages go out once per connection and key, so a plan may be made again at any time.

use crate::{clock, runs::Presence, secret};
use starling_http_api::{
    machine::{MachineState, MachineView},
    node::{FromNode, ToNode},
};
use starling_primitives::{Hash32, NodeId, TimestampMs};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for a slow node; one that lets more pile up is cut off.
const QUEUE: usize = 256;
/// Tokens of earlier connections that still move artifacts.
const TOKENS_PER_NODE: usize = 4;
/// What is kept of the names of what a machine lacks, and of the data that it keeps.
const MAX_NAMES: usize = 16;
/// Letters of each.
const MAX_NAME: usize = 64;

/// What a node can do besides training and leases, by its last hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it takes scripts, or what its machine lacks for them.
    pub scripts: Result<(), Vec<String>>,
    /// Names of the data that it keeps for federated runs.
    pub data: Vec<String>,
}

/// What nodes do, in order.
#[derive(Debug)]
pub enum NodeEvent {
    /// A node connected.
    Joined(NodeId),
    /// A node went.
    Left(NodeId),
    /// A node said something.
    Said(NodeId, Box<FromNode>),
}

/// The hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    events: mpsc::Sender<NodeEvent>,
    limit: usize,
}

#[derive(Default)]
struct State {
    next: u64,
    connections: BTreeMap<NodeId, Connection>,
    /// Shared with who reads it; copied where it changes meanwhile.
    presence: Arc<BTreeMap<NodeId, Presence>>,
    heard_at: BTreeMap<NodeId, TimestampMs>,
    tokens: HashMap<Hash32, NodeId>,
    token_order: BTreeMap<NodeId, VecDeque<Hash32>>,
    /// What nodes said when they connected.
    abilities: HashMap<NodeId, Abilities>,
    /// How the machines of connected nodes stand, by their own word.
    machines: HashMap<NodeId, Box<MachineState>>,
    /// Who waits for a node's answer, by the request's number.
    asked: HashMap<u64, (NodeId, oneshot::Sender<FromNode>)>,
}

struct Connection {
    number: u64,
    queue: mpsc::Sender<Box<ToNode>>,
    sent: HashSet<String>,
}

/// A connection's own end.
pub struct Line {
    /// Which connection of the node it is.
    pub number: u64,
    /// What is to be said to the node. A queue has room for some messages from the start: boxed, so that an idle node's costs little.
    pub queue: mpsc::Receiver<Box<ToNode>>,
    /// For `Authorization: Bearer`.
    pub token: String,
}

impl Hub {
    /// A hub for at most so many nodes, and what they do.
    pub fn new(limit: usize) -> (Self, mpsc::Receiver<NodeEvent>) {
        let (events, receiver) = mpsc::channel(4_096);
        (Self { state: Arc::default(), events, limit }, receiver)
    }

    /// Takes a node's new connection; an older one of the same node is dropped. Nothing when the hub is full.
    pub async fn join(&self, node: NodeId) -> Option<Line> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let token = secret::random_hex::<32>();
        let number = {
            let mut state = self.lock();
            if state.connections.len() >= self.limit && !state.connections.contains_key(&node) {
                return None;
            }
            state.next += 1;
            let number = state.next;
            state.connections.insert(node, Connection { number, queue: sender, sent: HashSet::new() });
            let now = clock::now();
            Arc::make_mut(&mut state.presence).insert(node, Presence { connected: true, since: now });
            state.heard_at.insert(node, now);
            state.add_token(node, secret::token_hash(&token));
            number
        };
        self.tell(NodeEvent::Joined(node)).await;
        Some(Line { number, queue, token })
    }

    /// A connection ended; does nothing if the node has a newer one.
    pub async fn leave(&self, node: NodeId, number: u64) {
        {
            let mut state = self.lock();
            if state.connections.get(&node).is_none_or(|connection| connection.number != number) {
                return;
            }
            state.connections.remove(&node);
            state.machines.remove(&node);
            Arc::make_mut(&mut state.presence).insert(node, Presence { connected: false, since: clock::now() });
            // Whoever waits for this node is told by the closed channel.
            state.asked.retain(|_, (asked, _)| *asked != node);
        }
        self.tell(NodeEvent::Left(node)).await;
    }

    /// A node said something on its connection.
    pub async fn hear(&self, node: NodeId, message: FromNode) {
        let answers = message.answers();
        let asked = {
            let mut state = self.lock();
            state.heard_at.insert(node, clock::now());
            let request = answers.filter(|request| state.asked.get(request).is_some_and(|(asked, _)| *asked == node));
            request.and_then(|request| state.asked.remove(&request))
        };
        match (message, asked) {
            (message, Some((_, waiting))) => drop(waiting.send(message)),
            (FromNode::Machine { state }, _) => drop(self.lock().machines.insert(node, state)),
            (FromNode::Alive | FromNode::Hello { .. }, _) => {}
            _ if answers.is_some() => {}
            (message, _) => self.tell(NodeEvent::Said(node, Box::new(message))).await,
        }
    }

    /// Says something to a node once per connection and key. Says whether it was said now.
    pub fn send_once(&self, node: NodeId, key: &str, message: ToNode) -> bool {
        let mut state = self.lock();
        let Some(connection) = state.connections.get_mut(&node) else { return false };
        if connection.sent.contains(key) {
            return false;
        }
        if connection.queue.try_send(Box::new(message)).is_err() {
            // The node takes nothing more: dropping the queue ends its connection, and a new one is told everything again.
            let (closed, _) = mpsc::channel(1);
            connection.queue = closed;
            return false;
        }
        connection.sent.insert(key.to_owned());
        true
    }

    /// Asks a node what it answers by the request's number; the answer comes by the receiver, which closes when the node goes.
    pub fn ask(&self, node: NodeId, message: impl FnOnce(u64) -> ToNode) -> oneshot::Receiver<FromNode> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.next += 1;
        let request_id = state.next;
        if let Some(connection) = state.connections.get(&node)
            && connection.queue.try_send(Box::new(message(request_id))).is_ok()
        {
            // Who waited too long for an answer is gone.
            state.asked.retain(|_, (_, waiting)| !waiting.is_closed());
            state.asked.insert(request_id, (node, sender));
        }
        receiver
    }

    /// Nodes that are or were connected since the start.
    pub fn presence(&self) -> Arc<BTreeMap<NodeId, Presence>> {
        self.lock().presence.clone()
    }

    /// Whether a node is connected.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.lock().connections.contains_key(&node)
    }

    /// Connected nodes.
    pub fn connected(&self) -> Vec<NodeId> {
        self.lock().connections.keys().copied().collect()
    }

    /// A node's last sign of life.
    pub fn heard_at(&self, node: NodeId) -> Option<TimestampMs> {
        self.lock().heard_at.get(&node).copied()
    }

    /// How a connected node's machine stands, where it told.
    pub fn machine(&self, node_id: NodeId) -> Option<MachineView> {
        let state = self.lock();
        Some(MachineView { node_id, at: *state.heard_at.get(&node_id)?, state: state.machines.get(&node_id)?.as_ref().clone() })
    }

    /// Notes what a node can do; few and short names are kept.
    pub fn set_abilities(&self, node: NodeId, told: Abilities) {
        let short = |name: String| name.chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
        let few = |names: Vec<String>| names.into_iter().take(MAX_NAMES).map(short).collect();
        self.lock().abilities.insert(node, Abilities { scripts: told.scripts.map_err(few), data: few(told.data) });
    }

    /// What a node can do, by its last hello.
    pub fn abilities(&self, node: NodeId) -> Abilities {
        self.lock().abilities.get(&node).cloned().unwrap_or_default()
    }

    /// Whether a node keeps data by this name for federated runs.
    pub fn keeps_data(&self, node: NodeId, name: &str) -> bool {
        self.lock().abilities.get(&node).is_some_and(|told| told.data.iter().any(|kept| kept == name))
    }

    /// Whose token it is.
    pub fn token_owner(&self, token: &str) -> Option<NodeId> {
        self.lock().tokens.get(&secret::token_hash(token)).copied()
    }

    async fn tell(&self, event: NodeEvent) {
        // Only a stopping service has nobody who listens.
        if self.events.send(event).await.is_err() {
            tracing::debug!("nobody listens to nodes any more");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Abilities {
    fn default() -> Self {
        Self { scripts: Err(Vec::new()), data: Vec::new() }
    }
}

impl State {
    fn add_token(&mut self, node: NodeId, hash: Hash32) {
        self.tokens.insert(hash, node);
        let order = self.token_order.entry(node).or_default();
        order.push_back(hash);
        if order.len() > TOKENS_PER_NODE
            && let Some(oldest) = order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_primitives::RunId;

    #[tokio::test]
    async fn hub__should_say_each_thing_once_per_connection() {
        let (hub, mut events) = Hub::new(1);
        let node = NodeId(1);
        let message = || ToNode::RunEnded { run_id: RunId(1) };
        assert!(!hub.send_once(node, "a", message()), "nobody is there");
        let mut first = hub.join(node).await.unwrap();
        assert!(hub.send_once(node, "a", message()));
        assert!(!hub.send_once(node, "a", message()));
        assert_eq!(first.queue.recv().await, Some(Box::new(message())));
        let second = hub.join(node).await.unwrap();
        assert!(hub.send_once(node, "a", message()), "a new connection is told again");
        assert_eq!(first.queue.recv().await, None, "the older connection ends");
        hub.leave(node, first.number).await;
        assert!(hub.is_connected(node), "the older one's end does not end the newer");
        assert_eq!(hub.token_owner(&second.token), Some(node));
        assert!(hub.join(NodeId(2)).await.is_none(), "the hub is full");
        hub.leave(node, second.number).await;
        assert!(!hub.presence()[&node].connected);
        assert!(matches!(events.recv().await, Some(NodeEvent::Joined(NodeId(1)))));
    }

    #[tokio::test]
    async fn machine__should_be_told_as_long_as_its_node_is_connected() {
        let (hub, _events) = Hub::new(2);
        let node = NodeId(1);
        let line = hub.join(node).await.unwrap();
        assert_eq!(hub.machine(node), None, "it said nothing yet");
        for work in ["run 1", "lease 2"] {
            let state = MachineState { work: vec![work.to_owned()], ..MachineState::default() };
            hub.hear(node, FromNode::Machine { state: Box::new(state) }).await;
        }
        hub.hear(node, FromNode::Alive).await;
        let told = hub.machine(node).unwrap();
        assert_eq!((told.node_id, told.state.work, Some(told.at)), (node, vec!["lease 2".to_owned()], hub.heard_at(node)));
        hub.leave(node, line.number).await;
        assert_eq!(hub.machine(node), None);
    }

    #[tokio::test]
    async fn question__should_end_when_the_node_goes() {
        let (hub, _events) = Hub::new(1);
        let line = hub.join(NodeId(1)).await.unwrap();
        let waiting = hub.ask(NodeId(1), |_| ToNode::RunEnded { run_id: RunId(1) });
        hub.leave(NodeId(1), line.number).await;
        assert!(waiting.await.is_err());
        assert!(hub.ask(NodeId(9), |_| ToNode::RunEnded { run_id: RunId(1) }).await.is_err());
    }
}
