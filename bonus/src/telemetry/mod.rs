//! What the bonus service measures. The log and the recorder are the kit's.

pub mod metric;

use metrics_exporter_prometheus::{Matcher, PrometheusHandle};

/// Installs the process's metrics recorder; the handle renders the Prometheus text.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    const SECONDS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 10.0];
    const MESSAGES: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 250.0, 500.0, 1_000.0, 2_000.0, 10_000.0];
    let handle = kit::telemetry::start_metrics(&[
        (Matcher::Suffix("_seconds".into()), &SECONDS),
        (Matcher::Full(metric::BATCH_MESSAGES.into()), &MESSAGES),
    ])?;
    metric::describe();
    Ok(handle)
}
