//! The recorder of metrics, which Prometheus scrapes.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Which histograms have which buckets; without any a histogram is a summary.
pub type Buckets<'a> = [(Matcher, &'a [f64])];

/// Installs the process's metrics recorder; the handle renders the Prometheus text.
pub fn start_metrics(buckets: &Buckets<'_>) -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (histograms, bounds) in buckets {
        builder = builder.set_buckets_for_metric(histograms.clone(), bounds)?;
    }
    Ok(builder.install_recorder()?)
}

/// Moves what the histograms were given into their buckets, for good. Until then every single value is kept, and a scrape, which does
/// the same, may never come.
pub async fn keep_metrics_small(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}
