//! Logs, metrics and the memory of the last panic: how the service is seen from outside.

use std::cell::RefCell;

use clap::ValueEnum;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: aligned, coloured on a terminal.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging to standard output. Called once, by the process.
pub fn start_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!("RUST_LOG={filter:?} is not a log filter ({error}); try RUST_LOG=info")
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Pretty => logs.with_ansi(std::io::stdout().is_terminal()).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    remember_panics();
    Ok(())
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

/// Every metric: its name, and its unit as the name's ending, by Prometheus conventions.
pub mod metric {
    use std::time::Duration;

    use metrics::{counter, gauge, histogram};

    pub const COMMAND_SECONDS: &str = "orders_command_duration_seconds";
    pub const BATCH_SECONDS: &str = "orders_journal_batch_duration_seconds";
    pub const BATCH_COMMANDS: &str = "orders_journal_batch_commands";
    pub const PUBLISH_SECONDS: &str = "orders_publish_duration_seconds";

    pub fn command(kind: &'static str, outcome: &'static str, took: Duration) {
        counter!("orders_commands_total", "command" => kind, "outcome" => outcome).increment(1);
        histogram!(COMMAND_SECONDS, "command" => kind).record(took);
    }

    pub fn journal_batch(commands: usize, took: Duration) {
        histogram!(BATCH_COMMANDS).record(f64::from(u32::try_from(commands).unwrap_or(u32::MAX)));
        histogram!(BATCH_SECONDS).record(took);
    }

    /// From the event's time to the broker's acknowledgement.
    pub fn published(since_event: Duration) {
        counter!("orders_events_published_total").increment(1);
        histogram!(PUBLISH_SECONDS).record(since_event);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
    pub fn outbox(pending: i64, oldest_age_seconds: f64) {
        gauge!("orders_outbox_pending_events").set(pending as f64);
        gauge!("orders_outbox_oldest_pending_age_seconds").set(oldest_age_seconds);
    }

    /// 0 closed, 1 half-open, 2 open.
    pub fn breaker(state: f64) {
        gauge!("orders_publisher_breaker_state").set(state);
    }

    pub fn lease_held(held: bool) {
        gauge!("orders_publisher_lease_held").set(if held { 1.0 } else { 0.0 });
    }

    /// `place`: `redis` or `memory`.
    pub fn retry(place: &'static str) {
        counter!("orders_publisher_retries_total", "place" => place).increment(1);
    }

    pub fn quarantined(orders: usize) {
        gauge!("orders_quarantined_orders").set(f64::from(u32::try_from(orders).unwrap_or(u32::MAX)));
    }

    pub fn actor_restarted(actor: &str) {
        counter!("orders_actor_restarts_total", "actor" => actor.to_owned()).increment(1);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
    pub fn live_orders(shard: usize, orders: usize) {
        gauge!("orders_live_actors", "shard" => shard.to_string()).set(orders as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
    pub fn projection_lag(events: i64) {
        gauge!("orders_projection_lag_events").set(events as f64);
    }
}

/// Installs the process's metrics recorder; the handle renders the Prometheus text.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    const SECONDS: [f64; 14] =
        [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0, 30.0];
    const COMMANDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 128.0, 256.0, 512.0];
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(metric::BATCH_COMMANDS.into()), &COMMANDS)?
        .install_recorder()?)
}
