//! How much may be with the producers: what the broker acknowledges soon enough, and no more.
//!
//! A broker with a quota, or far away, takes events at its own rate. What is handed over beyond that only waits in the client library, and
//! is resent when something fails. So the bytes in flight are bounded: by half as many whenever an event has taken long to be acknowledged, by more
//! again while they are acknowledged quickly.
//!
//! The upper bound is for a rate that falls all at once, as when a quota's credit is used up. Kafka counts a client's bytes over ten seconds, so
//! a burst may be ten times the quota, and what exceeds it silences the connection until the ten seconds' mean is right again. The answer to
//! a request comes before that silence, so up to three times the bytes in flight are taken beyond the credit before a first late answer tells of it:
//! what was in flight when it ended, what followed that, and the halves of it. At the quota all of that must be through within the delivery
//! timeout. The credit is ten quotas; so what is in flight is at most an eightieth of the timeout at the last second's rate. (By the model of a
//! quota in the tests below: the longest wait is then two thirds of the timeout.)

use std::time::{Duration, Instant};

/// The slowest broker that is known to be slow at once, rather than after a failure, in bytes a second.
const SLOWEST: usize = 100_000;
/// In flight at the least, over all lanes. A lane may always send one event.
const BYTES_MIN: usize = 16_384;
/// The rate is counted over this time.
const RATE_OVER: Duration = Duration::from_secs(1);

pub(super) struct Flow {
    /// What is acknowledged within this time is quick; twice as long is slow.
    quick: Duration,
    bytes: usize,
    /// May be in flight whatever the rate is.
    floor: usize,
    /// What is acknowledged in this time may be in flight.
    of_rate: Duration,
    rate: Rate,
    /// Less time than a slow event takes must not pass between two reductions: they would be for the same cause.
    reduced_at: Option<Instant>,
}

impl Flow {
    pub(super) fn new(delivery_timeout: Duration) -> Self {
        let milliseconds = usize::try_from(delivery_timeout.as_millis()).unwrap_or(usize::MAX);
        // A tenth of the timeout, since more than three times as much may come together.
        let floor = (SLOWEST.saturating_mul(milliseconds) / 10_000).max(BYTES_MIN);
        Self {
            quick: delivery_timeout / 10,
            bytes: floor,
            floor,
            of_rate: delivery_timeout / 80,
            rate: Rate::default(),
            reduced_at: None,
        }
    }

    /// So many bytes were acknowledged; the slowest event took so long. `limited`: more could have been in flight.
    pub(super) fn acknowledged(&mut self, now: Instant, bytes: usize, slowest: Duration, limited: bool) {
        self.rate.count(now, bytes);
        let of_rate = self.rate.a_second() * self.of_rate.as_secs_f64();
        let bytes_max = self.floor.max(of_rate as usize);
        let slow = self.quick * 2;
        if slowest > slow {
            if self.reduced_at.is_none_or(|at| now.duration_since(at) > slow) {
                self.bytes = (self.bytes / 2).max(BYTES_MIN);
                self.reduced_at = Some(now);
            }
        } else if limited && slowest < self.quick {
            self.bytes += self.bytes / 8;
        }
        self.bytes = self.bytes.min(bytes_max);
    }

    /// Nothing was acknowledged in time: whatever it was, less is in flight when it is over.
    pub(super) fn failed(&mut self) {
        self.bytes = (self.bytes / 4).max(BYTES_MIN);
    }

    pub(super) fn lane_bytes_max(&self, lanes: u32) -> usize {
        self.bytes / lanes.max(1) as usize
    }
}

/// How much is acknowledged a second.
#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    counted: usize,
    /// Over the last whole [`RATE_OVER`].
    last: f64,
}

impl Rate {
    fn count(&mut self, now: Instant, bytes: usize) {
        let counted_for = now.duration_since(*self.since.get_or_insert(now));
        if counted_for >= RATE_OVER {
            self.last = self.counted as f64 / counted_for.as_secs_f64();
            (self.since, self.counted) = (Some(now), 0);
        }
        self.counted += bytes;
    }

    /// What the present [`RATE_OVER`] has brought so far counts as soon as it is more.
    fn a_second(&self) -> f64 {
        self.last.max(self.counted as f64 / RATE_OVER.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const LANES: usize = 6;
    /// What the broker's machine can take, and how long a request takes at least.
    const BYTES_A_SECOND: f64 = 20_000_000.0;
    const ROUND_TRIP: f64 = 0.002;

    /// Kafka's quota: samples of a second, eleven of them; a request beyond the quota is answered, and then its connection is not read
    /// until the mean over the samples would be right again.
    struct Quota {
        a_second: f64,
        samples: VecDeque<(f64, f64)>,
    }

    impl Quota {
        fn silence_after(&mut self, now: f64, bytes: f64) -> f64 {
            match self.samples.back_mut() {
                Some((began, counted)) if now < *began + 1.0 => *counted += bytes,
                _ => self.samples.push_back((now, bytes)),
            }
            self.samples.retain(|(began, _)| *began > now - 11.0);
            let began = self.samples.front().map_or(now, |(began, _)| *began);
            let counted: f64 = self.samples.iter().map(|(_, counted)| counted).sum();
            let elapsed = now - began;
            let window = elapsed + (10.0 - elapsed.floor()).max(0.0);
            (counted / self.a_second - window).max(0.0)
        }
    }

    /// Plays a backlog that drains under a quota for so many seconds. Returns the longest that an event took.
    fn longest_wait(quota: f64, seconds: f64) -> f64 {
        let (mut flow, begun) = (Flow::new(TIMEOUT), Instant::now());
        let mut quota = Quota { a_second: quota, samples: VecDeque::new() };
        // Of each lane: when its request is read, when that was handed over, and how large it is.
        let mut lanes = [(0.0_f64, 0.0, flow.lane_bytes_max(LANES as u32)); LANES];
        let (mut now, mut longest) = (0.0, 0.0_f64);
        while now < seconds {
            let lane = (0..LANES).min_by(|one, other| lanes[*one].0.total_cmp(&lanes[*other].0)).unwrap();
            let (read_at, handed_over, bytes) = lanes[lane];
            now = f64::max(now, read_at) + bytes as f64 / BYTES_A_SECOND;
            let silence = quota.silence_after(now, bytes as f64);
            let acknowledged = now + ROUND_TRIP;
            let took = acknowledged - handed_over;
            longest = longest.max(took);
            let at = begun + Duration::from_secs_f64(acknowledged);
            flow.acknowledged(at, bytes, Duration::from_secs_f64(took), true);
            lanes[lane] = (acknowledged.max(now + silence), acknowledged, flow.lane_bytes_max(LANES as u32));
        }
        longest
    }

    #[test]
    fn what_is_in_flight_leaves_in_time_also_when_a_quotas_credit_ends() {
        for quota in [100_000.0, 200_000.0, 500_000.0, 2_000_000.0, 10_000_000.0] {
            let longest = longest_wait(quota, 60.0);
            assert!(longest < 0.8 * TIMEOUT.as_secs_f64(), "{quota}: {longest}");
        }
    }

    #[test]
    fn a_slow_broker_gets_less_and_a_quick_one_more_again() {
        let (mut flow, mut now) = (Flow::new(TIMEOUT), Instant::now());
        for _ in 0..20 {
            flow.acknowledged(now, 1, TIMEOUT / 2, true);
            now += TIMEOUT;
        }
        assert_eq!(flow.lane_bytes_max(1), BYTES_MIN);
        for _ in 0..100 {
            flow.acknowledged(now, 1, Duration::from_millis(5), true);
        }
        assert_eq!(flow.lane_bytes_max(1), 50_000);
        assert_eq!(flow.lane_bytes_max(2), 25_000);
        flow.failed();
        assert_eq!(flow.lane_bytes_max(1), BYTES_MIN);
    }

    #[test]
    fn a_high_rate_may_have_more_in_flight_for_as_long_as_it_lasts() {
        let (mut flow, mut now) = (Flow::new(TIMEOUT), Instant::now());
        for _ in 0..300 {
            flow.acknowledged(now, 400_000, Duration::from_millis(5), true);
            now += Duration::from_millis(10);
        }
        let most = flow.lane_bytes_max(1);
        assert!((2_400_000..=2_500_000).contains(&most), "a sixteenth of a second of 40 MB/s: {most}");
        for _ in 0..5 {
            flow.acknowledged(now, 1_000, Duration::from_millis(5), false);
            now += Duration::from_secs(1);
        }
        assert_eq!(flow.lane_bytes_max(1), 50_000);
    }

    #[test]
    fn slow_events_of_the_same_moment_count_once() {
        let (mut flow, now) = (Flow::new(TIMEOUT), Instant::now());
        let before = flow.lane_bytes_max(1);
        flow.acknowledged(now, 1, TIMEOUT / 2, true);
        flow.acknowledged(now + TIMEOUT / 50, 1, TIMEOUT / 2, true);
        assert_eq!(flow.lane_bytes_max(1), before / 2);
    }
}
