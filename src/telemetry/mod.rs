//! Logs, metrics, traces and the memory of the last panic: how the service is seen from outside.

pub mod meter;
pub mod metric;
pub mod traces;

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: aligned, coloured on a terminal.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging to standard output. Called once, by the process.
pub fn start_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    subscribe(filter, format, std::io::stdout, std::io::stdout().is_terminal())?;
    remember_panics();
    Ok(())
}

/// The same to standard error, for a command whose standard output is its answer.
pub fn start_logs_aside(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    subscribe(filter, format, std::io::stderr, std::io::stderr().is_terminal())?;
    remember_panics();
    Ok(())
}

fn subscribe(
    filter: &str,
    format: LogFormat,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
    is_terminal: bool,
) -> anyhow::Result<()> {
    let logs = tracing_subscriber::fmt().with_env_filter(parse_filter(filter)?).with_writer(writer);
    match format {
        LogFormat::Pretty => logs.with_ansi(is_terminal).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

fn parse_filter(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!("RUST_LOG={filter:?} is not a log filter ({error}); try RUST_LOG=info")
    })
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Logs every panic, and keeps its message for the supervisor that sees the actor unwind on the same thread.
fn remember_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message").to_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, message, "A panic");
        LAST_PANIC.with_borrow_mut(|last| *last = Some(format!("panicked: {message}")));
    }));
}

/// The message of the latest panic on this thread.
pub fn last_panic() -> String {
    LAST_PANIC.with_borrow(Clone::clone).unwrap_or_else(|| "panicked".to_owned())
}

/// Installs the process's metrics recorder; the handle renders the Prometheus text.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    const SECONDS: [f64; 14] =
        [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0, 30.0];
    const COMMANDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 128.0, 256.0, 512.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(metric::BATCH_COMMANDS.into()), &COMMANDS)?
        .install_recorder()?;
    metric::describe();
    Ok(handle)
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
