//! Durations, counted in a histogram of a few kilobytes.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

/// Whatever takes longer counts as this long.
const MICROSECONDS_MAX: u64 = 60_000_000;
/// Two digits tell 1.23 ms from 1.25 ms, and keep the counts within ten kilobytes.
const DIGITS: u8 = 2;

/// How often what took how long, up to a minute.
#[derive(Debug)]
pub struct Durations(Histogram<u32>);

impl Durations {
    /// An error if the bounds were refused, which they are not.
    pub fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1, MICROSECONDS_MAX, DIGITS).map(Self)
    }

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(MICROSECONDS_MAX));
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time within which that share of them stayed. `None` when nothing was recorded.
    pub fn quantile(&self, at: f64) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_micros(self.0.value_at_quantile(at)))
    }

    /// Forgets them all.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}
