//! The failure matrix, its rows of the retry: what becomes of it when its lease, its Redis or its process fails too.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use stack::servers::Redis;
use support::eventually;
use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};

/// A holder that is cut off keeps the lease for a while after the broker is back. That is no failure of the broker, so it must
/// not lengthen the back-off.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_without_the_lease_has_not_failed() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 2).await;
    let mut stranger = PgConnection::connect(&stage.database_url).await.unwrap();
    // The lease.
    sqlx::query("SELECT pg_advisory_lock(publisher_lease_key())").execute(&mut stranger).await.unwrap();
    let without_the_lease = async |count: usize| {
        eventually("attempts go without the lease", async || {
            (orders.log().matches("Another session has the lease").count() >= count).then_some(())
        })
        .await;
    };
    without_the_lease(1).await;
    let before = orders.outbox().await["retry"]["attempt"].as_u64();
    blocking(|| kafka.start_again());
    without_the_lease(4).await;
    assert_eq!(orders.outbox().await["retry"]["attempt"].as_u64(), before);
    stranger.close().await.unwrap();
    recovered(stage, &orders, Instant::now()).await;
}

/// What a command may take while servers are frozen, on a loaded machine; waiting for either would take longer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Killed while it has the job in hand and the attempt is under way.
#[tokio::test(flavor = "multi_thread")]
async fn killed_during_an_attempt() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start_with(stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "3000")).await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    // Frozen, it keeps an attempt waiting.
    blocking(|| kafka.freeze());
    ten_orders(&orders).await;
    for round in 1..=3 {
        orders.breaker_is("half_open").await;
        let jobs = orders.log().matches("Running the retry job").count();
        assert!(jobs >= round, "the attempt is the job's: {jobs} in round {round}");
        orders.blocking(|service| service.kill());
        orders.blocking(|service| service.start_again());
        ten_orders(&orders).await;
    }
    assert_eq!(stage.waiting().await, 80);
    blocking(|| kafka.thaw());
    recovered(stage, &orders, Instant::now()).await;
}

async fn answers_at_once(orders: &support::Orders) {
    for _ in 0..10 {
        let asked = Instant::now();
        orders.create().await;
        assert!(asked.elapsed() < ANSWER_MAX, "a command took {:?}", asked.elapsed());
    }
}

async fn redis_is_back(orders: &support::Orders, redis: &Redis, queue: &str) {
    eventually("the worker is back", async || (orders.get("/readyz").await.1["redis"] == "up").then_some(()))
        .await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // A job that came through goes when it finds nothing to do.
    eventually("no job is left", async || {
        let left: bool =
            redis::cmd("EXISTS").arg(format!("{queue}:outage")).query_async(&mut connection).await.unwrap();
        (!left).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_frozen_while_kafka_is_down() {
    let fragile = fragile().await;
    let Fragile { kafka, redis, stage, .. } = &fragile;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 1).await;
    blocking(|| redis.freeze());
    answers_at_once(&orders).await;
    retry_is(&orders, "memory", 1).await;
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
    blocking(|| redis.thaw());
    redis_is_back(&orders, redis, &stage.queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_redis_frozen_together() {
    let fragile = fragile().await;
    let Fragile { kafka, redis, stage, .. } = &fragile;
    let orders = stage.start_with(stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "2000")).await;
    ten_orders(&orders).await;
    blocking(|| redis.freeze());
    blocking(|| kafka.freeze());
    answers_at_once(&orders).await;
    retry_is(&orders, "memory", 2).await;
    answers_at_once(&orders).await;
    blocking(|| kafka.thaw());
    recovered(stage, &orders, Instant::now()).await;
    blocking(|| redis.thaw());
    redis_is_back(&orders, redis, &stage.queue).await;
}

/// Its files are gone, as on a machine that was set up anew.
#[tokio::test(flavor = "multi_thread")]
async fn redis_restarted_empty_while_kafka_is_down() {
    let fragile = fragile().await;
    let Fragile { kafka, redis, stage, directory } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 2).await;
    blocking(|| redis.stop());
    std::fs::remove_dir_all(directory.path().join("redis/redis")).unwrap();
    blocking(|| redis.start_again());
    ten_orders(&orders).await;
    // Somebody notices that nobody is coming, and the retries go on.
    eventually("a retry is arranged again", async || {
        let retry = orders.outbox().await["retry"].clone();
        (retry["attempt"].as_u64() >= Some(3)).then_some(())
    })
    .await;
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
    redis_is_back(&orders, redis, &stage.queue).await;
}
