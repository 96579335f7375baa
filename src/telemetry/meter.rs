//! A meter of the commands' present rate and latency.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use kit::telemetry::Durations;

/// Records commands since the last read. Shared by all threads that record; a record takes some tens of nanoseconds, under a lock
/// with little contention.
#[derive(Clone)]
pub struct Meter(Arc<Mutex<Interval>>);

struct Interval {
    took: Durations,
    failed: u64,
}

/// The result of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterReading {
    pub commands: u64,
    /// Of these, answered 5xx.
    pub failed: u64,
    /// `None` when there were no commands.
    pub p50: Option<Duration>,
    pub p99: Option<Duration>,
}

impl Meter {
    pub fn new() -> anyhow::Result<Self> {
        let took = Durations::new().context("the meter's bounds")?;
        Ok(Self(Arc::new(Mutex::new(Interval { took, failed: 0 }))))
    }

    pub fn record(&self, took: Duration, failed: bool) {
        let mut interval = self.interval();
        interval.took.record(took);
        interval.failed += u64::from(failed);
    }

    /// Reads the interval and begins the next.
    pub fn read(&self) -> MeterReading {
        let mut interval = self.interval();
        let (took, failed) = (&interval.took, interval.failed);
        let reading = MeterReading {
            commands: took.count(),
            failed,
            p50: took.quantile(0.5),
            p99: took.quantile(0.99),
        };
        interval.took.reset();
        interval.failed = 0;
        reading
    }

    fn interval(&self) -> MutexGuard<'_, Interval> {
        // Ignores poisoning: there are only counts, which are valid after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_what_was_recorded_since_the_last_reading() {
        let meter = Meter::new().unwrap();
        assert_eq!(meter.read(), MeterReading::default());
        for millis in 1..=100 {
            meter.record(Duration::from_millis(millis), millis > 97);
        }
        let reading = meter.read();
        assert_eq!((reading.commands, reading.failed), (100, 3));
        let near =
            |quantile: Option<Duration>, millis: u128| quantile.unwrap().as_millis().abs_diff(millis) <= 1;
        assert!(near(reading.p50, 50) && near(reading.p99, 99), "{reading:?}");
        meter.record(Duration::from_hours(1), true);
        assert!(meter.read().p99.unwrap() >= Duration::from_secs(60));
        assert_eq!(meter.read(), MeterReading::default());
    }
}
