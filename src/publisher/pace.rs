//! How fast a backlog is read while commands come in: so that they do not notice.
//!
//! A drain at full speed takes every core there is, and commands wait their turn behind it. So a long backlog is read in short pages with a
//! pause between them, for as long as this instance takes commands. What comes in meanwhile is added to the page: the backlog shrinks at any
//! rate of commands. An instance without commands drains as fast as it can.

use std::time::{Duration, Instant};

const PAGE: i64 = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

/// The journal's end at the last read.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<(Instant, i64)>,
}

impl Pace {
    /// How long to wait before the read of at most `limit` events behind position `after`, and how many to read. `head`: the last
    /// position that this instance has written.
    pub(super) fn next(&mut self, now: Instant, after: i64, head: i64, limit: i64) -> (Duration, i64) {
        let (then, seen) = self.last.replace((now, head)).unwrap_or((now, head));
        let came = head - seen;
        if came <= 0 || head - after <= PAGE {
            return (Duration::ZERO, limit);
        }
        let pauses = now.duration_since(then).div_duration_f64(PAUSE).max(1.0);
        let page = PAGE + (came as f64 / pauses) as i64;
        let read = page.min(limit);
        (PAUSE.mul_f64(read as f64 / page as f64), read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 2_000;
    const FULL: (Duration, i64) = (Duration::ZERO, LIMIT);

    #[test]
    fn without_commands_a_backlog_is_read_at_full_speed() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(now, 0, 200_000, LIMIT), FULL);
        assert_eq!(pace.next(now + PAUSE, LIMIT, 200_000, LIMIT), FULL);
    }

    #[test]
    fn beside_commands_it_is_read_in_pages_that_outrun_them() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let (mut after, mut head) = (0, 200_000);
        // The first read cannot know of any.
        assert_eq!(pace.next(now, after, head, LIMIT), FULL);
        for a_second in [1_000, 7_000, 50_000, 500_000] {
            let behind = head - after;
            for _ in 0..20 {
                let (pause, page) = pace.next(now, after, head, LIMIT);
                now += pause.max(Duration::from_millis(1));
                head += (a_second as f64 * pause.as_secs_f64()) as i64;
                after += page;
            }
            assert!(head - after < behind, "{a_second} a second: {} after {behind}", head - after);
        }
    }

    #[test]
    fn the_time_since_the_last_read_counts() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.next(now, 0, 0, LIMIT);
        // An outage of 20 s, with 5,000 commands a second.
        assert_eq!(pace.next(now + 400 * PAUSE, 0, 100_000, LIMIT), (PAUSE, 1_250));
    }

    #[test]
    fn who_is_not_far_behind_does_not_wait() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.next(now, 0, 100, LIMIT);
        assert_eq!(pace.next(now + PAUSE, 100, 1_100, LIMIT), FULL);
    }
}
