//! Virtual time: events in the order of their times, and lines that carry so many bytes a second.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Microseconds since the simulation began, or between two moments.
pub type Micros = u64;

/// What is to happen when. Of two events of one time the first that was noted happens first.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    times: BinaryHeap<Reverse<(Micros, u64)>>,
    events: BTreeMap<u64, E>,
    noted: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { times: BinaryHeap::new(), events: BTreeMap::new(), noted: 0 }
    }
}

impl<E> Agenda<E> {
    /// Notes an event.
    pub(crate) fn note(&mut self, at: Micros, event: E) {
        self.times.push(Reverse((at, self.noted)));
        self.events.insert(self.noted, event);
        self.noted += 1;
    }

    /// Takes the next event.
    pub(crate) fn next(&mut self) -> Option<(Micros, E)> {
        let Reverse((at, number)) = self.times.pop()?;
        self.events.remove(&number).map(|event| (at, event))
    }
}

/// One direction of someone's line: first come, first served.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    bits_per_second: u64,
    free_at: Micros,
    bytes: u64,
}

impl Lane {
    /// When so many bytes are through that can begin at `from`.
    fn carry(&mut self, from: Micros, bytes: u64) -> Micros {
        let takes = (u128::from(bytes) * 8_000_000).div_ceil(u128::from(self.bits_per_second.max(1)));
        self.free_at = self.free_at.max(from).saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        self.bytes += bytes;
        self.free_at
    }
}

/// The lines of the coordinator and of each node, both ways, and the delay between any two.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    delay: Micros,
    hub: (Lane, Lane),
    nodes: Vec<(Lane, Lane)>,
}

/// Which end of the line.
const UP: fn(&mut (Lane, Lane)) -> &mut Lane = |lanes| &mut lanes.0;
const DOWN: fn(&mut (Lane, Lane)) -> &mut Lane = |lanes| &mut lanes.1;

impl Network {
    /// Lines of so many bits a second each way.
    pub(crate) fn new(nodes: usize, node_bits_per_second: u64, hub_bits_per_second: u64, delay: Micros) -> Self {
        let line = |bits_per_second| {
            let lane = Lane { bits_per_second, ..Lane::default() };
            (lane, lane)
        };
        Self { delay, hub: line(hub_bits_per_second), nodes: vec![line(node_bits_per_second); nodes] }
    }

    /// When bytes that a node sends at `now` have arrived at the coordinator.
    pub(crate) fn node_sends(&mut self, now: Micros, node: usize, bytes: u64) -> Micros {
        let sent = UP(&mut self.nodes[node]).carry(now, bytes);
        // The far end takes them in while they are sent, if it is free.
        DOWN(&mut self.hub).carry(now, bytes).max(sent) + self.delay
    }

    /// When bytes that the coordinator sends at `now` have arrived at a node.
    pub(crate) fn hub_sends(&mut self, now: Micros, node: usize, bytes: u64) -> Micros {
        let sent = UP(&mut self.hub).carry(now, bytes);
        DOWN(&mut self.nodes[node]).carry(now, bytes).max(sent) + self.delay
    }

    /// Bytes that a node has sent and received.
    pub(crate) fn of_node(&self, node: usize) -> (u64, u64) {
        (self.nodes[node].0.bytes, self.nodes[node].1.bytes)
    }

    /// Bytes that the coordinator has sent and received.
    pub(crate) fn of_hub(&self) -> (u64, u64) {
        (self.hub.0.bytes, self.hub.1.bytes)
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn agenda__should_give_events_by_time_then_as_noted() {
        let mut agenda = Agenda::default();
        for (at, event) in [(5, 'a'), (3, 'b'), (5, 'c'), (4, 'd')] {
            agenda.note(at, event);
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(order, [(3, 'b'), (4, 'd'), (5, 'a'), (5, 'c')]);
    }

    #[test]
    fn network__should_share_the_coordinators_line() {
        // 8 Mbit/s at nodes, 16 at the coordinator: a megabyte takes a second, two at once as well, four take two.
        let mut network = Network::new(4, 8_000_000, 16_000_000, 100_000);
        let arrivals: Vec<Micros> = (0..4).map(|node| network.node_sends(0, node, 1_000_000)).collect();
        assert_eq!(arrivals, [1_100_000, 1_100_000, 1_600_000, 2_100_000]);
        assert_eq!(network.hub_sends(0, 0, 1_000_000), 1_100_000);
        assert_eq!((network.of_node(0), network.of_hub()), ((1_000_000, 1_000_000), (1_000_000, 4_000_000)));
    }
}
