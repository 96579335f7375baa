//! What the order service measures: metrics, the meter of commands, traces. The log and the recorder are the kit's; the engine has its
//! own metrics and spans.

pub mod meter;
pub mod metric;
pub mod traces;

use engine::aggregate::Aggregate;
use metrics_exporter_prometheus::{Matcher, PrometheusHandle};

use crate::order::Order;

/// Counted by the Guardian.
pub const RESTARTS: &str = "orders_actor_restarts_total";

/// Installs the process's metrics recorder; the handle renders the Prometheus text.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    const SECONDS: [f64; 14] =
        [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0, 30.0];
    const COMMANDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 128.0, 256.0, 512.0];
    let handle = kit::telemetry::start_metrics(&[
        (Matcher::Suffix("_seconds".into()), &SECONDS),
        (Matcher::Full(engine::metric::batch_commands(Order::NAME)), &COMMANDS),
    ])?;
    metric::describe();
    Ok(handle)
}
