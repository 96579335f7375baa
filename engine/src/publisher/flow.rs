//! How many bytes may be in flight: no more than the broker acknowledges soon enough.
//!
//! A broker with a quota, or far away, takes events at its own rate. Events beyond that only wait in the client library, and are
//! resent when something fails. So the bytes in flight are bounded. The bound is halved whenever an acknowledgement takes long, and
//! grows while acknowledgements are quick.
//!
//! The upper bound is for a rate that falls suddenly, as when a quota's credit is used up. A broker may count a client's bytes over
//! ten seconds. Then a burst may be ten times the quota, and bytes beyond that silence the connection until the mean over ten
//! seconds is within the quota again. The answer to a request comes before that silence. So up to three times the bytes in flight
//! are taken beyond the credit before the first late answer: those in flight when the credit ended, those that followed, and the
//! halves after that. At the quota's rate all of them must be through within the delivery timeout. The credit is ten quotas, so the
//! bytes in flight are at most what the last second's rate acknowledges in an eightieth of the timeout. In the model of a quota in
//! the tests below the longest wait is then two thirds of the timeout. On a busy machine it may be longer. That is no failure
//! either, since the broker says for how long it is silent (see [`super::lanes`]).

use std::time::{Duration, Instant};

/// A broker of this rate or more is adapted to without a failure, in bytes a second.
const SLOWEST: usize = 100_000;
/// The least bound, over all lanes. A lane may always send one event.
const BYTES_MIN: usize = 16_384;
/// The rate is counted over this time.
const RATE_OVER: Duration = Duration::from_secs(1);

pub(super) struct Flow {
    /// An acknowledgement within this time is quick; one that takes more than twice as long is slow.
    quick: Duration,
    bytes: usize,
    /// This many bytes may be in flight whatever the rate is.
    floor: usize,
    /// As many bytes may be in flight as are acknowledged in this time.
    of_rate: Duration,
    rate: Rate,
    /// Two reductions are at least as far apart as a slow event takes: otherwise they would have the same cause.
    reduced_at: Option<Instant>,
}

impl Flow {
    pub(super) fn new(delivery_timeout: Duration) -> Self {
        let milliseconds = usize::try_from(delivery_timeout.as_millis()).unwrap_or(usize::MAX);
        // A tenth of the timeout, since more than three times as many bytes may be taken at once.
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

    /// `bytes` were acknowledged; the slowest event took `slowest`. `limited`: the bound kept further events from being sent.
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

    /// Nothing was acknowledged in time: whatever the cause, less is in flight afterwards.
    pub(super) fn failed(&mut self) {
        self.bytes = (self.bytes / 4).max(BYTES_MIN);
    }

    pub(super) fn lane_bytes_max(&self, lanes: u32) -> usize {
        self.bytes / lanes.max(1) as usize
    }
}

/// Bytes acknowledged a second.
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

    /// The present [`RATE_OVER`] counts as soon as it has more than the last.
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

    /// A broker's quota, as Kafka has it: eleven samples of a second. A request beyond the quota is answered; then its connection
    /// is not read until the mean over the samples is within the quota again.
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
