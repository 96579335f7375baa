//! Settings that more than one service takes, and how values are read. What they are called and what they mean is told to whoever runs
//! the service; their defaults, unless they are here, are each service's own.

mod auth;
mod clients;
mod kafka;
mod migrate;
mod postgres;
mod redis;
mod secret;
mod traces;

use std::num::NonZeroUsize;

use clap::builder::RangedU64ValueParser;

pub use self::migrate::Migrate;
pub use self::postgres::DatabaseUrl;
pub use self::secret::secret;
pub use self::traces::TraceSettings;

/// A number from `least` to `most`.
pub fn bounded(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// A text with something in it.
pub fn not_blank(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// For a number of threads: 0 is one a core.
pub fn or_cores(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        threads => threads,
    }
}
