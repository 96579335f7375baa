//! Durations, counted in a histogram of a few kilobytes.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

/// A longer duration counts as this long.
const MICROSECONDS_MAX: u64 = 60_000_000;
/// Two significant digits, in ten kilobytes.
const DIGITS: u8 = 2;

/// A histogram of durations of up to a minute.
#[derive(Debug)]
pub struct Durations(Histogram<u32>);

impl Durations {
    /// Fails only if the library refused the bounds, which are constants.
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

    /// The duration that this share of them did not exceed. `None` if nothing was recorded.
    pub fn quantile(&self, at: f64) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_micros(self.0.value_at_quantile(at)))
    }

    /// Removes all of them.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}
