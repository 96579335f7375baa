//! How much may be with the producers: what the broker acknowledges soon enough, and no more.
//!
//! A broker with a quota, or far away, takes events at its own rate. What is handed over beyond that only waits in the client library, and
//! is resent when something fails. So the bytes in flight are bounded: by half as many whenever an event has taken long to be acknowledged, by more
//! again while they are acknowledged quickly. The upper bound is for a rate that falls all at once, as when a quota's credit is used up: even then
//! what is in flight leaves before it counts as lost.

use std::time::{Duration, Instant};

/// The slowest broker that is known to be slow at once, rather than after a failure, in bytes a second.
const SLOWEST: usize = 100_000;
/// In flight at the least, over all lanes. A lane may always send one event.
const BYTES_MIN: usize = 16_384;

pub(super) struct Flow {
    /// What is acknowledged within this time is quick; four times as long is slow.
    quick: Duration,
    bytes: usize,
    bytes_max: usize,
    /// Less time than a slow event takes must not pass between two reductions: they would be for the same cause.
    reduced_at: Option<Instant>,
}

impl Flow {
    pub(super) fn new(delivery_timeout: Duration) -> Self {
        let milliseconds = usize::try_from(delivery_timeout.as_millis()).unwrap_or(usize::MAX);
        let bytes_max = (SLOWEST.saturating_mul(milliseconds) / 1_000).max(BYTES_MIN);
        Self { quick: delivery_timeout / 20, bytes: bytes_max / 2, bytes_max, reduced_at: None }
    }

    /// Some events were acknowledged; the slowest took so long. `limited`: more could have been in flight.
    pub(super) fn acknowledged(&mut self, now: Instant, slowest: Duration, limited: bool) {
        let slow = self.quick * 4;
        if slowest > slow {
            if self.reduced_at.is_none_or(|at| now.duration_since(at) > slow) {
                self.bytes = (self.bytes / 2).max(BYTES_MIN);
                self.reduced_at = Some(now);
            }
        } else if limited && slowest < self.quick {
            self.bytes = (self.bytes + self.bytes / 8).min(self.bytes_max);
        }
    }

    /// Nothing was acknowledged in time: whatever it was, less is in flight when it is over.
    pub(super) fn failed(&mut self) {
        self.bytes = (self.bytes / 4).max(BYTES_MIN);
    }

    pub(super) fn lane_bytes_max(&self, lanes: u32) -> usize {
        self.bytes / lanes.max(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Plays a broker that takes `rate` bytes a second, after a credit that is taken at once. Returns the longest that an event took.
    fn longest_wait(rate: f64, credit: f64, seconds: f64) -> f64 {
        let (mut flow, begun) = (Flow::new(TIMEOUT), Instant::now());
        let (mut now, mut credit, mut longest) = (0.0, credit, 0.0_f64);
        while now < seconds {
            // All that may be in flight is handed over together, and acknowledged together.
            let bytes = flow.lane_bytes_max(1) as f64;
            let beyond = (bytes - credit).max(0.0);
            credit = (credit - bytes).max(0.0);
            let took = 0.005 + beyond / rate;
            now += took;
            longest = longest.max(took);
            flow.acknowledged(begun + Duration::from_secs_f64(now), Duration::from_secs_f64(took), true);
        }
        longest
    }

    #[test]
    fn what_is_in_flight_leaves_in_time_also_when_a_quotas_credit_ends() {
        for rate in [110_000.0, 200_000.0, 2_000_000.0] {
            let longest = longest_wait(rate, 10.0 * rate, 60.0);
            assert!(longest < TIMEOUT.as_secs_f64(), "{rate}: {longest}");
        }
    }

    #[test]
    fn a_slow_broker_gets_less_and_a_quick_one_more_again() {
        let (mut flow, mut now) = (Flow::new(TIMEOUT), Instant::now());
        for _ in 0..20 {
            flow.acknowledged(now, TIMEOUT / 2, true);
            now += TIMEOUT;
        }
        assert_eq!(flow.lane_bytes_max(1), BYTES_MIN);
        for _ in 0..100 {
            flow.acknowledged(now, Duration::from_millis(5), true);
        }
        assert_eq!(flow.lane_bytes_max(1), 500_000);
        assert_eq!(flow.lane_bytes_max(5), 100_000);
        flow.failed();
        assert_eq!(flow.lane_bytes_max(1), 125_000);
    }

    #[test]
    fn slow_events_of_the_same_moment_count_once() {
        let (mut flow, now) = (Flow::new(TIMEOUT), Instant::now());
        let before = flow.lane_bytes_max(1);
        flow.acknowledged(now, TIMEOUT / 2, true);
        flow.acknowledged(now + TIMEOUT / 50, TIMEOUT / 2, true);
        assert_eq!(flow.lane_bytes_max(1), before / 2);
    }
}
