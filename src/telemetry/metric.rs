//! Every metric: its name, and its unit as the name's ending, by Prometheus conventions.

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
