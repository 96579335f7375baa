//! The recorder of metrics, which Prometheus scrapes.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The buckets of histograms, by name. A histogram without buckets is a summary.
pub type Buckets<'a> = [(Matcher, &'a [f64])];

/// Installs the process's metrics recorder; the handle renders the Prometheus text.
pub fn start_metrics(buckets: &Buckets<'_>) -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (histograms, bounds) in buckets {
        builder = builder.set_buckets_for_metric(histograms.clone(), bounds)?;
    }
    Ok(builder.install_recorder()?)
}

/// Moves recorded values into the histograms' buckets, until the process ends. Otherwise every single value is kept until the next
/// scrape, and there may be none.
pub async fn keep_metrics_small(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}
