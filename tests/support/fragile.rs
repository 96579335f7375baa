//! Servers that a test may harm, and what it asks of the service meanwhile and afterwards.

use std::time::{Duration, Instant};

use serde_json::Value;
use stack::servers::{Kafka, Redis};
use tempfile::TempDir;

use super::{Orders, Servers, Stage, eventually};

/// From the broker's readiness to an empty outbox. The promise is a second or two; a loaded machine gets more.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// Runs something that blocks without stopping the test's runtime.
pub fn blocking<T>(work: impl FnOnce() -> anyhow::Result<T>) -> T {
    tokio::task::block_in_place(work).unwrap()
}

/// A Kafka, and a Redis, that this test may harm. Instances run as a role that owns nothing.
pub struct Fragile {
    pub kafka: Kafka,
    pub redis: Redis,
    pub stage: Stage,
    pub directory: TempDir,
}

pub async fn fragile() -> Fragile {
    let directory = TempDir::new().unwrap();
    let kafka = blocking(|| Kafka::start(&directory.path().join("kafka")));
    let redis = blocking(|| Redis::start(&directory.path().join("redis")));
    let servers = Servers { kafka: kafka.brokers(), redis: redis.url(), ..Servers::shared() };
    Fragile { stage: Stage::with_roles(servers).await, kafka, redis, directory }
}

pub async fn ten_orders(orders: &Orders) {
    for _ in 0..10 {
        let order_id = orders.create().await;
        orders.command(order_id, "pay").await;
    }
}

pub async fn retry_is(orders: &Orders, place: &str, attempt_min: u64) -> Value {
    eventually(&format!("retry {attempt_min} in {place}"), async || {
        let retry = orders.outbox().await["retry"].clone();
        let there = retry["where"] == place && retry["attempt"].as_u64() >= Some(attempt_min);
        (there && retry["next_attempt_at"].is_string()).then_some(retry)
    })
    .await
}

/// Everything is published, in order, soon after `since`.
pub async fn recovered(stage: &Stage, orders: &Orders, since: Instant) {
    stage.outbox_empties().await;
    let took = since.elapsed();
    assert!(took < RECOVERY_MAX, "recovery took {took:?}");
    orders.breaker_is("closed").await;
    assert!(orders.outbox().await["retry"].is_null());
    stage.assert_published_in_order().await;
}
