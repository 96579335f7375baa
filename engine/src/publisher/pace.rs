//! How fast a backlog is read while commands come in, so that they do not slow down.
//!
//! A drain at full speed uses every core, and commands wait for the CPU. So while this instance takes commands, a long backlog is
//! read in short pages, one a period. Events that were appended since the last page are added to the next, so the backlog shrinks
//! by a page a period at any rate of commands. An instance without commands drains as fast as it can.

use std::time::{Duration, Instant};

const PAGE: i64 = 1_000;
const PERIOD: Duration = Duration::from_millis(60);
/// An instance that has taken a command within this time counts as taking commands. With a shorter time a few commands a second
/// would be missed.
const BUSY: Duration = Duration::from_secs(1);
/// Least time between two reads that a rate is computed from, in seconds.
const INSTANTLY: f64 = 0.001;

#[derive(Default)]
pub(super) struct Pace {
    last: Option<LastRead>,
    /// When commands were last seen to come in.
    busy_at: Option<Instant>,
}

/// The last read: when it was asked for, the journal's end as it was then, and when it was due.
#[derive(Clone, Copy)]
struct LastRead {
    asked: Instant,
    head: i64,
    due: Instant,
}

impl Pace {
    /// How long to wait before the read of at most `limit` events behind position `after`, and how many to read. `head`: the last
    /// position that this instance has written.
    pub(super) fn next(&mut self, now: Instant, after: i64, head: i64, limit: i64) -> (Duration, i64) {
        let last = self.last.unwrap_or(LastRead { asked: now, head, due: now });
        let came = head - last.head;
        if came > 0 {
            self.busy_at = Some(now);
        }
        let busy = self.busy_at.is_some_and(|at| now.duration_since(at) < BUSY);
        if !busy || head - after <= PAGE {
            self.last = Some(LastRead { asked: now, head, due: now });
            return (Duration::ZERO, limit);
        }
        let period = PERIOD.as_secs_f64();
        let a_second = came as f64 / now.duration_since(last.asked).as_secs_f64().max(INSTANTLY);
        let page = limit.min(PAGE + came.max((a_second * period) as i64));
        let lasts = Duration::from_secs_f64(page as f64 / (a_second + PAGE as f64 / period));
        let due = now.max(last.due + lasts);
        self.last = Some(LastRead { asked: now, head, due });
        (due - now, page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 2_000;
    const FULL: (Duration, i64) = (Duration::ZERO, LIMIT);
    const WAITING: i64 = 200_000;

    #[test]
    fn without_commands_a_backlog_is_read_at_full_speed() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(now, 0, WAITING, LIMIT), FULL);
        assert_eq!(pace.next(now + PERIOD, LIMIT, WAITING, LIMIT), FULL);
    }

    /// Events a second by which a backlog shrinks beside so many commands a second, when a read and what follows takes so long.
    fn shrinks(commands: i64, read: Duration) -> f64 {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let (mut now, mut after, mut noticed) = (begun, 0, None);
        let head =
            |now: Instant| WAITING + (now.duration_since(begun).as_secs_f64() * commands as f64) as i64;
        while now.duration_since(begun) < Duration::from_secs(2) {
            let (pause, page) = pace.next(now, after, head(now), LIMIT);
            (now, after) = (now + pause + read, after + page);
            // The first reads cannot know of any.
            if head(now) > WAITING {
                noticed.get_or_insert((now, head(now) - after));
            }
        }
        let (then, waited) = noticed.unwrap();
        (waited - (head(now) - after)) as f64 / now.duration_since(then).as_secs_f64()
    }

    #[test]
    fn beside_commands_it_shrinks_steadily_at_any_rate_of_them() {
        let steadily = PAGE as f64 / PERIOD.as_secs_f64();
        for commands in [100, 7_000, 50_000] {
            for read in [1, 20] {
                let shrinks = shrinks(commands, Duration::from_millis(read));
                assert!((0.8..1.25).contains(&(shrinks / steadily)), "{commands}, {read} ms: {shrinks}");
            }
        }
    }

    #[test]
    fn when_reads_are_slow_there_is_no_pause_between_them() {
        let full_speed = LIMIT as f64 / 0.15 - 7_000.0;
        let shrinks = shrinks(7_000, Duration::from_millis(150));
        assert!(shrinks > 0.9 * full_speed, "{shrinks} of {full_speed}");
    }

    #[test]
    fn a_few_commands_a_second_count_as_well() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.next(now, 0, WAITING, LIMIT);
        pace.next(now + PERIOD, 0, WAITING + 1, LIMIT);
        let (pause, page) = pace.next(now + PERIOD, 0, WAITING + 1, LIMIT);
        assert_eq!((pause > PERIOD / 2, page), (true, PAGE));
        assert_eq!(pace.next(now + PERIOD + BUSY, 0, WAITING + 1, LIMIT), FULL);
    }

    #[test]
    fn who_is_not_far_behind_does_not_wait() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.next(now, 0, 100, LIMIT);
        assert_eq!(pace.next(now + PERIOD, 100, 1_100, LIMIT), FULL);
    }
}
