//! The events in hand, and each order's gate: only the first of an order's events may be with the producer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::journal::StoredEvent;
use crate::order::OrderId;

struct Taken {
    event: Arc<StoredEvent>,
    sent: bool,
    /// Was parked before; its row in the quarantine goes when it is delivered.
    released: bool,
}

pub(super) struct Window {
    capacity: usize,
    in_flight: usize,
    /// Events taken in and neither delivered nor parked, by position.
    taken: BTreeMap<i64, Taken>,
    /// Each order's events in hand, in order.
    gates: HashMap<OrderId, VecDeque<i64>>,
    /// First of their gate and not sent.
    ready: VecDeque<i64>,
}

impl Window {
    pub(super) fn new(capacity: usize) -> Self {
        let (taken, gates, ready) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { capacity, in_flight: 0, taken, gates, ready }
    }

    pub(super) fn clear(&mut self) {
        self.in_flight = 0;
        self.taken.clear();
        self.gates.clear();
        self.ready.clear();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.taken.len())
    }

    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.taken.len() <= self.capacity / 2
    }

    pub(super) fn holds(&self, seq: i64) -> bool {
        self.taken.contains_key(&seq)
    }

    /// The first position behind `seq` that is still in hand.
    pub(super) fn first_behind(&self, seq: i64) -> Option<i64> {
        self.taken.range(seq + 1..).next().map(|(seq, _)| *seq)
    }

    /// Events of one order must come in their order.
    pub(super) fn enqueue(&mut self, event: Arc<StoredEvent>, released: bool) {
        let seq = event.seq;
        let gate = self.gates.entry(event.order_id).or_default();
        gate.push_back(seq);
        if gate.len() == 1 {
            self.ready.push_back(seq);
        }
        self.taken.insert(seq, Taken { event, sent: false, released });
    }

    /// The next event whose order has nothing in flight; in flight from now on.
    pub(super) fn send_next(&mut self) -> Option<Arc<StoredEvent>> {
        while let Some(seq) = self.ready.pop_front() {
            // A quarantine removes events without looking for them in here.
            if let Some(taken) = self.taken.get_mut(&seq).filter(|taken| !taken.sent) {
                taken.sent = true;
                self.in_flight += 1;
                return Some(Arc::clone(&taken.event));
            }
        }
        None
    }

    /// A report has come; false when the event was not in flight.
    pub(super) fn land(&mut self, seq: i64) -> bool {
        let Some(taken) = self.taken.get_mut(&seq).filter(|taken| taken.sent) else { return false };
        taken.sent = false;
        self.in_flight -= 1;
        true
    }

    /// To be sent again.
    pub(super) fn put_back(&mut self, seq: i64) {
        self.ready.push_back(seq);
    }

    /// Opens the gate for the order's next event; true when this one had been released from quarantine.
    pub(super) fn delivered(&mut self, seq: i64) -> bool {
        let Some(taken) = self.taken.remove(&seq) else { return false };
        let order_id = taken.event.order_id;
        if let Some(gate) = self.gates.get_mut(&order_id) {
            gate.pop_front();
            match gate.front() {
                Some(&next) => self.ready.push_back(next),
                None => {
                    self.gates.remove(&order_id);
                }
            }
        }
        taken.released
    }

    /// Takes the event's whole order out of hand.
    pub(super) fn evict_order_of(&mut self, seq: i64) -> Option<(OrderId, VecDeque<i64>)> {
        let order_id = self.taken.get(&seq)?.event.order_id;
        let seqs = self.gates.remove(&order_id)?;
        for seq in &seqs {
            self.taken.remove(seq);
        }
        Some((order_id, seqs))
    }
}
