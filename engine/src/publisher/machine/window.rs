//! The window: the events held in memory, and a gate for each aggregate, which lets only its first event be in flight.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;

/// Bytes of a message besides its payload: key, headers, framing.
const OVERHEAD_BYTES: usize = 400;

/// The size of a message whose payload has so many bytes.
pub fn message_bytes(payload: usize) -> usize {
    payload + OVERHEAD_BYTES
}

/// Where an event was read from. It decides what happens to its row on delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Journal,
    /// Was parked; an operator released its aggregate.
    Quarantine,
    /// Was set aside when its lane had failed.
    Deferral,
}

struct WindowEntry {
    event: Arc<StoredEvent>,
    lane: usize,
    origin: Origin,
    /// While in flight: how many deliveries there had been when it was sent.
    sent: Option<u64>,
}

impl WindowEntry {
    fn bytes(&self) -> usize {
        message_bytes(self.event.payload.len())
    }
}

#[derive(Default)]
struct LaneQueue {
    /// First of their gate, and not in flight.
    ready: VecDeque<i64>,
    /// In no gate yet: the rows of their lane that are being read go first.
    held: Vec<i64>,
    in_hand: usize,
    in_flight: usize,
    in_flight_bytes: usize,
}

/// The send that a report ends.
pub(super) struct EndedSend {
    pub(super) lane: usize,
    pub(super) sent: u64,
}

pub(super) struct Window {
    /// Most events from the journal.
    capacity: usize,
    /// Most events from deferral and quarantine, in addition.
    row_capacity: usize,
    in_flight: usize,
    rows: usize,
    /// Events that are neither delivered nor set aside, by position.
    entries: BTreeMap<i64, WindowEntry>,
    /// Each aggregate's events in the window, in order.
    gates: HashMap<AggregateId, VecDeque<i64>>,
    lanes: Vec<LaneQueue>,
}

impl Window {
    /// A quarter of `capacity` is kept for what was set aside, so that a stream of new events cannot keep it out.
    pub(super) fn new(capacity: usize) -> Self {
        let row_capacity = (capacity / 4).max(1);
        let (entries, gates) = (BTreeMap::new(), HashMap::new());
        let capacity = capacity.saturating_sub(row_capacity).max(1);
        let lanes = vec![LaneQueue::default()];
        Self { capacity, row_capacity, in_flight: 0, rows: 0, entries, gates, lanes }
    }

    /// Empty, with so many lanes.
    pub(super) fn clear(&mut self, lanes: usize) {
        (self.in_flight, self.rows) = (0, 0);
        self.entries.clear();
        self.gates.clear();
        self.lanes.clear();
        self.lanes.resize_with(lanes, LaneQueue::default);
    }

    /// Assigns every event to a lane again, after the number of partitions has changed. No event may be held or in flight.
    pub(super) fn assign_lanes(&mut self, lanes: usize, lane_of: impl Fn(AggregateId) -> usize) {
        self.lanes.clear();
        self.lanes.resize_with(lanes, LaneQueue::default);
        for (seq, entry) in &mut self.entries {
            entry.lane = lane_of(entry.event.aggregate_id);
            let queue = &mut self.lanes[entry.lane];
            queue.in_hand += 1;
            if self.gates.get(&entry.event.aggregate_id).and_then(|gate| gate.front()) == Some(seq) {
                queue.ready.push_back(*seq);
            }
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn in_flight_of(&self, lane: usize) -> usize {
        self.lanes[lane].in_flight
    }

    pub(super) fn in_flight_bytes_of(&self, lane: usize) -> usize {
        self.lanes[lane].in_flight_bytes
    }

    pub(super) fn in_hand_of(&self, lane: usize) -> usize {
        self.lanes[lane].in_hand
    }

    /// Deliveries there had been when the oldest event in flight in this lane was sent.
    pub(super) fn oldest_sent(&self, lane: usize) -> Option<u64> {
        self.entries.values().filter(|entry| entry.lane == lane).filter_map(|entry| entry.sent).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.entries.len() - self.rows)
    }

    pub(super) fn row_room(&self) -> usize {
        self.row_capacity.saturating_sub(self.rows)
    }

    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.entries.len() - self.rows <= self.capacity / 2
    }

    pub(super) fn holds(&self, seq: i64) -> bool {
        self.entries.contains_key(&seq)
    }

    pub(super) fn has_aggregate(&self, aggregate_id: AggregateId) -> bool {
        self.gates.contains_key(&aggregate_id)
    }

    /// Whether an event in the window was read from a deferred row.
    pub(super) fn has_deferred(&self) -> bool {
        self.rows > 0 && self.entries.values().any(|entry| entry.origin == Origin::Deferral)
    }

    /// The first position after `seq` that is in the window.
    pub(super) fn first_behind(&self, seq: i64) -> Option<i64> {
        self.entries.range(seq + 1..).next().map(|(seq, _)| *seq)
    }

    /// Events of one aggregate must come in their order.
    pub(super) fn enqueue(&mut self, event: Arc<StoredEvent>, lane: usize, origin: Origin) {
        let seq = event.seq;
        let gate = self.gates.entry(event.aggregate_id).or_default();
        gate.push_back(seq);
        if gate.len() == 1 {
            self.lanes[lane].ready.push_back(seq);
        }
        self.insert(event, lane, origin);
    }

    /// Keeps an event from the journal that must not be sent before [`Window::take_held`] has returned it.
    pub(super) fn hold(&mut self, event: Arc<StoredEvent>, lane: usize) {
        self.lanes[lane].held.push(event.seq);
        self.insert(event, lane, Origin::Journal);
    }

    fn insert(&mut self, event: Arc<StoredEvent>, lane: usize, origin: Origin) {
        self.rows += usize::from(origin != Origin::Journal);
        self.lanes[lane].in_hand += 1;
        self.entries.insert(event.seq, WindowEntry { event, lane, origin, sent: None });
    }

    pub(super) fn take_held(&mut self, lane: usize) -> Vec<Arc<StoredEvent>> {
        let held = std::mem::take(&mut self.lanes[lane].held);
        held.into_iter().filter_map(|seq| self.forget(seq)).map(|entry| entry.event).collect()
    }

    /// The lane's next event whose aggregate has nothing in flight; in flight from now on.
    pub(super) fn send_next(&mut self, lane: usize, deliveries: u64) -> Option<Arc<StoredEvent>> {
        let queue = &mut self.lanes[lane];
        while let Some(seq) = queue.ready.pop_front() {
            // A position may be stale: events that are set aside are not removed from this queue.
            if let Some(entry) = self.entries.get_mut(&seq).filter(|entry| entry.sent.is_none()) {
                entry.sent = Some(deliveries);
                queue.in_flight += 1;
                queue.in_flight_bytes += entry.bytes();
                self.in_flight += 1;
                return Some(Arc::clone(&entry.event));
            }
        }
        None
    }

    /// A report has come; `None` when the event was not in flight.
    pub(super) fn end_send(&mut self, seq: i64) -> Option<EndedSend> {
        let entry = self.entries.get_mut(&seq)?;
        let sent = entry.sent.take()?;
        let queue = &mut self.lanes[entry.lane];
        queue.in_flight -= 1;
        queue.in_flight_bytes -= entry.bytes();
        self.in_flight -= 1;
        Some(EndedSend { lane: entry.lane, sent })
    }

    /// To be sent again.
    pub(super) fn put_back(&mut self, seq: i64) {
        if let Some(entry) = self.entries.get(&seq) {
            self.lanes[entry.lane].ready.push_back(seq);
        }
    }

    /// Removes the first event of an aggregate, and opens the gate for the next one.
    pub(super) fn remove(&mut self, seq: i64) -> Option<(Arc<StoredEvent>, Origin)> {
        let entry = self.forget(seq)?;
        if let Some(gate) = self.gates.get_mut(&entry.event.aggregate_id) {
            gate.pop_front();
            match gate.front() {
                Some(&next) => self.lanes[entry.lane].ready.push_back(next),
                None => {
                    self.gates.remove(&entry.event.aggregate_id);
                }
            }
        }
        Some((entry.event, entry.origin))
    }

    /// Removes all events of this event's aggregate, except held ones.
    pub(super) fn evict_aggregate_of(&mut self, seq: i64) -> Vec<(Arc<StoredEvent>, Origin)> {
        let aggregate_id = self.entries.get(&seq).map(|entry| entry.event.aggregate_id);
        let seqs = aggregate_id.and_then(|aggregate_id| self.gates.remove(&aggregate_id)).unwrap_or_default();
        let evicted = seqs.into_iter().filter_map(|seq| self.forget(seq));
        evicted.map(|entry| (entry.event, entry.origin)).collect()
    }

    /// Removes all events of a lane that are not in flight, in order.
    pub(super) fn evict_lane(&mut self, lane: usize) -> Vec<(Arc<StoredEvent>, Origin)> {
        let waits = |entry: &WindowEntry| entry.lane == lane && entry.sent.is_none();
        let seqs: Vec<i64> =
            self.entries.iter().filter(|(_, entry)| waits(entry)).map(|(seq, _)| *seq).collect();
        let queue = &mut self.lanes[lane];
        queue.ready.clear();
        queue.held.clear();
        let evicted: Vec<_> = seqs.into_iter().filter_map(|seq| self.forget(seq)).collect();
        for entry in &evicted {
            if let Some(gate) = self.gates.get_mut(&entry.event.aggregate_id) {
                gate.retain(|seq| *seq != entry.event.seq);
                if gate.is_empty() {
                    self.gates.remove(&entry.event.aggregate_id);
                }
            }
        }
        evicted.into_iter().map(|entry| (entry.event, entry.origin)).collect()
    }

    /// Aggregates of this lane that have a released event in the window.
    pub(super) fn released_aggregates(&self, lane: usize) -> HashSet<AggregateId> {
        let released = |entry: &&WindowEntry| entry.lane == lane && entry.origin == Origin::Quarantine;
        self.entries.values().filter(released).map(|entry| entry.event.aggregate_id).collect()
    }

    fn forget(&mut self, seq: i64) -> Option<WindowEntry> {
        let entry = self.entries.remove(&seq)?;
        self.lanes[entry.lane].in_hand -= 1;
        self.rows -= usize::from(entry.origin != Origin::Journal);
        Some(entry)
    }
}
