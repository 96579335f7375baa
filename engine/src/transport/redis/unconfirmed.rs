//! PURE but for the lock: what was delivered, as long as Redis could lose it unnoticed by the cursor.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most late deliveries that are remembered, and for how long: far longer than Redis' disk or a replica is behind, as a rule.
const LATE_MAX: usize = 10_000;
const LATE_KEPT: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Mutex<Deliveries>);

#[derive(Debug, Default)]
struct Deliveries {
    /// The streams have confirmed this position.
    confirmed: i64,
    /// Delivered beyond it. Bounded: what is delivered between two confirmations, and the publisher's window.
    ahead: BTreeSet<i64>,
    /// Delivered behind it: out of quarantine, or of a partition that was stuck.
    late: VecDeque<(Instant, i64)>,
}

impl Unconfirmed {
    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn delivered(&self, seq: i64) {
        let mut deliveries = self.lock();
        if seq > deliveries.confirmed {
            deliveries.ahead.insert(seq);
            return;
        }
        if deliveries.late.len() == LATE_MAX {
            deliveries.late.pop_front();
        }
        deliveries.late.push_back((Instant::now(), seq));
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

    /// The last position that this process had confirmed.
    pub(super) fn position(&self) -> i64 {
        self.lock().confirmed
    }

    /// Whether it was delivered, beyond what is confirmed.
    pub(super) fn is_delivered(&self, seq: i64) -> bool {
        self.lock().ahead.contains(&seq)
    }

    /// What was delivered at or below `from`, and beyond `to`; each in order.
    pub(super) fn outside(&self, from: i64, to: i64) -> (Vec<i64>, Vec<i64>) {
        let deliveries = self.lock();
        let late: BTreeSet<i64> =
            deliveries.late.iter().map(|(_, seq)| *seq).filter(|seq| *seq <= from).collect();
        (late.into_iter().collect(), deliveries.ahead.range(to + 1..).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cursor_does_not_cover_is_remembered() {
        let (unconfirmed, now) = (Unconfirmed::default(), Instant::now());
        for seq in [1, 2, 3, 5] {
            unconfirmed.delivered(seq);
        }
        assert!(unconfirmed.is_delivered(3) && !unconfirmed.is_delivered(4));
        unconfirmed.confirmed(3, now);
        unconfirmed.delivered(2);
        assert_eq!(unconfirmed.outside(3, 3), (vec![2], vec![5]));
        assert_eq!(unconfirmed.outside(1, 5), (vec![], vec![]), "what lies between is read from the journal");
        unconfirmed.confirmed(5, now + LATE_KEPT * 2);
        assert_eq!(unconfirmed.outside(5, 5), (vec![], vec![]));
        assert_eq!(unconfirmed.position(), 5);
    }
}
