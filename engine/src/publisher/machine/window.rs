//! The events in hand, and each aggregate's gate: only the first of an aggregate's events may be with the producer.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;

/// What a message carries besides its payload: key, headers, framing. In bytes.
const OVERHEAD_BYTES: usize = 400;

/// Of a message with a payload of so many bytes.
pub fn message_bytes(payload: usize) -> usize {
    payload + OVERHEAD_BYTES
}

/// Where an event was taken from: what is to be done with its row when it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Journal,
    /// Was parked; an operator released its order.
    Quarantine,
    /// Was set aside when its lane took nothing.
    Deferral,
}

struct Taken {
    event: Arc<StoredEvent>,
    lane: usize,
    origin: Origin,
    /// While it is with the producer: how many deliveries there had been when it was given to it.
    sent: Option<u64>,
}

impl Taken {
    fn bytes(&self) -> usize {
        message_bytes(self.event.payload.len())
    }
}

#[derive(Default)]
struct Queue {
    /// First of their gate and not sent.
    ready: VecDeque<i64>,
    /// Taken, and in no gate yet: what is read of their lane meanwhile goes before them.
    held: Vec<i64>,
    in_hand: usize,
    in_flight: usize,
    in_flight_bytes: usize,
}

/// A report was about this event.
pub(super) struct Landed {
    pub(super) lane: usize,
    pub(super) sent: u64,
}

pub(super) struct Window {
    /// Most events from the journal.
    capacity: usize,
    /// Most events from deferral and quarantine, besides.
    row_capacity: usize,
    in_flight: usize,
    rows: usize,
    /// Events taken in and neither delivered nor set aside, by position.
    taken: BTreeMap<i64, Taken>,
    /// Each aggregate's events in hand, in order.
    gates: HashMap<AggregateId, VecDeque<i64>>,
    lanes: Vec<Queue>,
}

impl Window {
    /// A quarter of `capacity` is kept for what was set aside, so that a stream of new events cannot keep it out.
    pub(super) fn new(capacity: usize) -> Self {
        let row_capacity = (capacity / 4).max(1);
        let (taken, gates) = (BTreeMap::new(), HashMap::new());
        let capacity = capacity.saturating_sub(row_capacity).max(1);
        let lanes = vec![Queue::default()];
        Self { capacity, row_capacity, in_flight: 0, rows: 0, taken, gates, lanes }
    }

    /// Empty, with so many lanes.
    pub(super) fn clear(&mut self, lanes: usize) {
        (self.in_flight, self.rows) = (0, 0);
        self.taken.clear();
        self.gates.clear();
        self.lanes.clear();
        self.lanes.resize_with(lanes, Queue::default);
    }

    /// Spreads what is in hand, none of it held, over other lanes.
    pub(super) fn relane(&mut self, lanes: usize, lane_of: impl Fn(AggregateId) -> usize) {
        self.lanes.clear();
        self.lanes.resize_with(lanes, Queue::default);
        for (seq, taken) in &mut self.taken {
            taken.lane = lane_of(taken.event.aggregate_id);
            let queue = &mut self.lanes[taken.lane];
            queue.in_hand += 1;
            if taken.sent.is_some() {
                queue.in_flight += 1;
                queue.in_flight_bytes += taken.bytes();
            } else if self.gates.get(&taken.event.aggregate_id).and_then(|gate| gate.front()) == Some(seq) {
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
        self.taken.values().filter(|taken| taken.lane == lane).filter_map(|taken| taken.sent).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.taken.len() - self.rows)
    }

    pub(super) fn row_room(&self) -> usize {
        self.row_capacity.saturating_sub(self.rows)
    }

    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.taken.len() - self.rows <= self.capacity / 2
    }

    pub(super) fn holds(&self, seq: i64) -> bool {
        self.taken.contains_key(&seq)
    }

    pub(super) fn has_aggregate(&self, aggregate_id: AggregateId) -> bool {
        self.gates.contains_key(&aggregate_id)
    }

    /// Whether an event in hand was set aside with its lane.
    pub(super) fn has_deferred(&self) -> bool {
        self.rows > 0 && self.taken.values().any(|taken| taken.origin == Origin::Deferral)
    }

    /// The first position behind `seq` that is still in hand.
    pub(super) fn first_behind(&self, seq: i64) -> Option<i64> {
        self.taken.range(seq + 1..).next().map(|(seq, _)| *seq)
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

    /// Takes an event from the journal that is not to be sent before [`Window::take_held`] has given it back.
    pub(super) fn hold(&mut self, event: Arc<StoredEvent>, lane: usize) {
        self.lanes[lane].held.push(event.seq);
        self.insert(event, lane, Origin::Journal);
    }

    fn insert(&mut self, event: Arc<StoredEvent>, lane: usize, origin: Origin) {
        self.rows += usize::from(origin != Origin::Journal);
        self.lanes[lane].in_hand += 1;
        self.taken.insert(event.seq, Taken { event, lane, origin, sent: None });
    }

    pub(super) fn take_held(&mut self, lane: usize) -> Vec<Arc<StoredEvent>> {
        let held = std::mem::take(&mut self.lanes[lane].held);
        held.into_iter().filter_map(|seq| self.forget(seq)).map(|taken| taken.event).collect()
    }

    /// The lane's next event whose aggregate has nothing in flight; in flight from now on.
    pub(super) fn send_next(&mut self, lane: usize, deliveries: u64) -> Option<Arc<StoredEvent>> {
        let queue = &mut self.lanes[lane];
        while let Some(seq) = queue.ready.pop_front() {
            // What is set aside is removed without looking for it in here.
            if let Some(taken) = self.taken.get_mut(&seq).filter(|taken| taken.sent.is_none()) {
                taken.sent = Some(deliveries);
                queue.in_flight += 1;
                queue.in_flight_bytes += taken.bytes();
                self.in_flight += 1;
                return Some(Arc::clone(&taken.event));
            }
        }
        None
    }

    /// A report has come; `None` when the event was not in flight.
    pub(super) fn land(&mut self, seq: i64) -> Option<Landed> {
        let taken = self.taken.get_mut(&seq)?;
        let sent = taken.sent.take()?;
        let queue = &mut self.lanes[taken.lane];
        queue.in_flight -= 1;
        queue.in_flight_bytes -= taken.bytes();
        self.in_flight -= 1;
        Some(Landed { lane: taken.lane, sent })
    }

    /// To be sent again.
    pub(super) fn put_back(&mut self, seq: i64) {
        if let Some(taken) = self.taken.get(&seq) {
            self.lanes[taken.lane].ready.push_back(seq);
        }
    }

    /// Takes the first event of its aggregate out of hand, and opens the gate for the next one.
    pub(super) fn remove(&mut self, seq: i64) -> Option<(Arc<StoredEvent>, Origin)> {
        let taken = self.forget(seq)?;
        if let Some(gate) = self.gates.get_mut(&taken.event.aggregate_id) {
            gate.pop_front();
            match gate.front() {
                Some(&next) => self.lanes[taken.lane].ready.push_back(next),
                None => {
                    self.gates.remove(&taken.event.aggregate_id);
                }
            }
        }
        Some((taken.event, taken.origin))
    }

    /// Takes the event's whole order out of hand, but for what is held.
    pub(super) fn evict_aggregate_of(&mut self, seq: i64) -> Vec<(Arc<StoredEvent>, Origin)> {
        let aggregate_id = self.taken.get(&seq).map(|taken| taken.event.aggregate_id);
        let seqs = aggregate_id.and_then(|aggregate_id| self.gates.remove(&aggregate_id)).unwrap_or_default();
        let evicted = seqs.into_iter().filter_map(|seq| self.forget(seq));
        evicted.map(|taken| (taken.event, taken.origin)).collect()
    }

    /// Takes all of a lane out of hand that is not in flight, in order.
    pub(super) fn evict_lane(&mut self, lane: usize) -> Vec<(Arc<StoredEvent>, Origin)> {
        let waits = |taken: &Taken| taken.lane == lane && taken.sent.is_none();
        let seqs: Vec<i64> =
            self.taken.iter().filter(|(_, taken)| waits(taken)).map(|(seq, _)| *seq).collect();
        let queue = &mut self.lanes[lane];
        queue.ready.clear();
        queue.held.clear();
        let evicted: Vec<_> = seqs.into_iter().filter_map(|seq| self.forget(seq)).collect();
        for taken in &evicted {
            if let Some(gate) = self.gates.get_mut(&taken.event.aggregate_id) {
                gate.retain(|seq| *seq != taken.event.seq);
                if gate.is_empty() {
                    self.gates.remove(&taken.event.aggregate_id);
                }
            }
        }
        evicted.into_iter().map(|taken| (taken.event, taken.origin)).collect()
    }

    /// Orders of this lane of which a released event is in hand.
    pub(super) fn released_aggregates(&self, lane: usize) -> HashSet<AggregateId> {
        let released = |taken: &&Taken| taken.lane == lane && taken.origin == Origin::Quarantine;
        self.taken.values().filter(released).map(|taken| taken.event.aggregate_id).collect()
    }

    fn forget(&mut self, seq: i64) -> Option<Taken> {
        let taken = self.taken.remove(&seq)?;
        self.lanes[taken.lane].in_hand -= 1;
        self.rows -= usize::from(taken.origin != Origin::Journal);
        Some(taken)
    }
}
