//! Telemetry of a service: its log, the message of its last panic, its metrics.

mod durations;
mod log;
mod panic;
mod recorder;

pub use self::durations::Durations;
pub use self::log::{LogFormat, start_logs, start_logs_aside};
pub use self::panic::last_panic;
pub use self::recorder::{Buckets, keep_metrics_small, start_metrics};
