//! PURE but for the lock: what was delivered, as long as Redis could lose it unnoticed by the cursor.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Most late deliveries that are remembered, and for how long: far longer than Redis' disk or a replica is behind, as a rule.
const LATE_MAX: usize = 10_000;
const LATE_KEPT: Duration = Duration::from_secs(300);

/// A position, and which event was delivered: a journal that was set back has another one there by now.
pub(super) type Delivery = (i64, Uuid);

#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Mutex<Deliveries>);

#[derive(Debug, Default)]
struct Deliveries {
    /// The streams have confirmed this position.
    confirmed: i64,
    /// Delivered beyond it. Bounded: what is delivered between two confirmations, and the publisher's window.
    ahead: BTreeMap<i64, Uuid>,
    /// Delivered behind it: out of quarantine, of a partition that was stuck, or of a journal that was set back.
    late: VecDeque<(Instant, Delivery)>,
}

impl Unconfirmed {
    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn delivered(&self, (seq, event_id): Delivery) {
        let mut deliveries = self.lock();
        if seq > deliveries.confirmed {
            deliveries.ahead.insert(seq, event_id);
            return;
        }
        if deliveries.late.len() == LATE_MAX {
            deliveries.late.pop_front();
        }
        deliveries.late.push_back((Instant::now(), (seq, event_id)));
    }

    pub(super) fn confirmed(&self, seq: i64, now: Instant) {
        let mut deliveries = self.lock();
        deliveries.confirmed = seq.max(deliveries.confirmed);
        let confirmed = deliveries.confirmed;
        deliveries.ahead = deliveries.ahead.split_off(&(confirmed + 1));
        while deliveries.late.front().is_some_and(|(at, _)| now.duration_since(*at) > LATE_KEPT) {
            deliveries.late.pop_front();
        }
    }

    /// The highest position that this process had confirmed.
    pub(super) fn position(&self) -> i64 {
        self.lock().confirmed
    }

    /// Whether this event was delivered, beyond what is confirmed or late.
    pub(super) fn is_delivered(&self, delivery: Delivery) -> bool {
        let deliveries = self.lock();
        deliveries.ahead.get(&delivery.0) == Some(&delivery.1)
            || deliveries.late.iter().any(|(_, late)| *late == delivery)
    }

    /// What was delivered at or below `from`, and beyond `to`; each in order. If the journal was set back, some of it is there no more.
    pub(super) fn outside(&self, from: i64, to: i64) -> (Vec<Delivery>, Vec<Delivery>) {
        let deliveries = self.lock();
        let late = deliveries.late.iter().map(|(_, delivery)| *delivery);
        let behind: BTreeSet<Delivery> = late.clone().filter(|(seq, _)| *seq <= from).collect();
        let ahead = deliveries.ahead.range(to + 1..).map(|(seq, event_id)| (*seq, *event_id));
        // The cursor of a journal that was set back is below what was confirmed before, and so may late ones be beyond it.
        let beyond: BTreeSet<Delivery> = late.filter(|(seq, _)| *seq > to).chain(ahead).collect();
        (behind.into_iter().collect(), beyond.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of the journal as it was at first, at this position.
    fn first(seq: i64) -> Delivery {
        (seq, Uuid::from_u64_pair(1, seq.unsigned_abs()))
    }

    /// Another one, after the journal was set back.
    fn second(seq: i64) -> Delivery {
        (seq, Uuid::from_u64_pair(2, seq.unsigned_abs()))
    }

    #[test]
    fn what_the_cursor_does_not_cover_is_remembered() {
        let (unconfirmed, now) = (Unconfirmed::default(), Instant::now());
        for seq in [1, 2, 3, 5] {
            unconfirmed.delivered(first(seq));
        }
        assert!(unconfirmed.is_delivered(first(3)) && !unconfirmed.is_delivered(first(4)));
        unconfirmed.confirmed(3, now);
        unconfirmed.delivered(first(2));
        assert!(unconfirmed.is_delivered(first(2)));
        assert_eq!(unconfirmed.outside(3, 3), (vec![first(2)], vec![first(5)]));
        assert_eq!(unconfirmed.outside(1, 5), (vec![], vec![]), "what lies between is read from the journal");
        unconfirmed.confirmed(5, now + LATE_KEPT * 2);
        assert_eq!(unconfirmed.outside(5, 5), (vec![], vec![]));
        assert_eq!(unconfirmed.position(), 5);
    }

    #[test]
    fn a_journal_that_was_set_back_has_other_events_beyond_its_cursor() {
        let (unconfirmed, now) = (Unconfirmed::default(), Instant::now());
        unconfirmed.confirmed(10, now);
        unconfirmed.delivered(first(11));
        // Set back to 6, from where it goes on.
        unconfirmed.confirmed(6, now);
        for seq in [7, 8, 9] {
            unconfirmed.delivered(second(seq));
        }
        unconfirmed.confirmed(7, now);
        assert_eq!(unconfirmed.outside(6, 7), (vec![], vec![second(8), second(9), first(11)]));
        assert!(unconfirmed.is_delivered(second(8)) && !unconfirmed.is_delivered(first(8)));
        assert!(unconfirmed.is_delivered(first(11)) && !unconfirmed.is_delivered(second(11)));
        unconfirmed.confirmed(10, now);
        unconfirmed.delivered(second(11));
        assert!(unconfirmed.is_delivered(second(11)) && !unconfirmed.is_delivered(first(11)));
    }
}
