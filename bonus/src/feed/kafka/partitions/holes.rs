//! Offsets without a message between two messages of a partition.
//!
//! A hole is not necessarily a loss: a transaction's marker takes an offset, and compaction removes messages. A topic of order
//! events has neither, so holes are counted and logged. A message that is removed before it was read makes no hole: reading stops,
//! and the partition is settled again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::telemetry::metric;

/// Holes may be as many as messages.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Holes {
    /// The next offset to read, by partition.
    next: BTreeMap<i32, i64>,
    logged_at: Option<Instant>,
}

impl Holes {
    /// Reading starts at these offsets.
    pub fn start(&mut self, starts: BTreeMap<i32, i64>) {
        self.next.extend(starts);
    }

    /// The message at `offset` was read.
    pub fn pass(&mut self, partition: i32, offset: i64) {
        let hole = self.pass_over(partition, offset);
        if hole == 0 {
            return;
        }
        metric::hole(hole);
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged_at = Some(Instant::now());
            warn!(
                partition,
                from = offset - hole,
                to = offset,
                "There are no messages at some offsets: markers of transactions, or compaction"
            );
        }
    }

    fn pass_over(&mut self, partition: i32, offset: i64) -> i64 {
        let expected = self.next.insert(partition, offset + 1).unwrap_or(offset);
        (offset - expected).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_jumped_over_is_a_hole() {
        let mut holes = Holes::default();
        holes.start(BTreeMap::from([(0, 10)]));
        for (partition, offset, hole) in
            [(0, 10, 0), (0, 11, 0), (0, 14, 2), (0, 15, 0), (0, 12, 0), (0, 13, 0), (1, 7, 0), (1, 9, 1)]
        {
            assert_eq!(holes.pass_over(partition, offset), hole, "{partition}/{offset}");
        }
    }
}
