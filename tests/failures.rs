//! The failure matrix: real servers killed, frozen and emptied under a running service. Each test harms servers of its own.
//! The service runs as a role that may only serve.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use serde_json::Value;
use stack::servers::{Condition, Kafka, Postgres, SmallDisk};
use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};
use support::{Servers, Stage, an_order, eventually};
use tempfile::TempDir;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn kafka_killed_then_back() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    assert_eq!(stage.waiting().await, 20);
    retry_is(&orders, "redis", 3).await;
    assert_eq!(orders.outbox().await["is_publisher"], false, "the lease goes with the job");
    let (status, ready) = orders.get("/readyz").await;
    assert_eq!((status.as_u16(), &ready["kafka"]), (200, &Value::from("down")));
    ten_orders(&orders).await;
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
    let log = orders.log();
    assert!(log.contains("Publish attempt failed"), "the log tells the story");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_frozen_then_thawed() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start_with(stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "2000")).await;
    ten_orders(&orders).await;
    blocking(|| kafka.freeze());
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 2).await;
    blocking(|| kafka.thaw());
    recovered(stage, &orders, Instant::now()).await;
}

/// A broker whose only disk is full ends itself: somebody makes room, and starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn kafkas_disk_is_full() {
    if let Some(reason) = SmallDisk::unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    let directory = TempDir::new().unwrap();
    let (kafka, disk) = blocking(|| Kafka::start_on_small_disk(directory.path(), 128));
    let stage = Stage::with_roles(Servers { kafka: kafka.brokers(), ..Servers::shared() }).await;
    let orders = stage.start_with(stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "1500")).await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    blocking(|| disk.fill());
    eventually("the broker has ended itself", async || {
        orders.create().await;
        (kafka.condition() == Condition::Down).then_some(())
    })
    .await;
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    eventually("the log says that no broker is there", async || {
        let told = |line: &str| line.contains("Publish attempt failed") && line.contains("brokers are down");
        orders.log().lines().any(told).then_some(())
    })
    .await;
    assert!(stage.waiting().await >= 20);
    blocking(|| disk.free());
    blocking(|| kafka.start_again());
    recovered(&stage, &orders, Instant::now()).await;
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    anyhow::ensure!(copied.success(), "{} was not copied", from.display());
    Ok(())
}

/// Each order's versions in the order in which they are first on the topic.
async fn first_published(stage: &Stage) -> BTreeMap<Uuid, Vec<i64>> {
    let mut versions: BTreeMap<Uuid, Vec<i64>> = BTreeMap::new();
    for message in stage.messages().await {
        let of = versions.entry(message.order_id).or_default();
        if !of.contains(&message.version) {
            of.push(message.version);
        }
    }
    versions
}

/// With what it had acknowledged the broker has lost each producer's sequence number. That is fatal for a producer: it sends nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restored_from_an_older_disk_gets_other_producers() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, directory, .. } = &fragile;
    let (data, older) = (directory.path().join("kafka/kafka/data"), directory.path().join("older"));
    let orders = stage.start().await;
    let mut created = Vec::new();
    for _ in 0..12 {
        created.push(orders.create().await);
    }
    stage.outbox_empties().await;
    blocking(|| kafka.kill());
    blocking(|| copy(&data, &older));
    blocking(|| kafka.start_again());
    for order_id in &created {
        orders.command(*order_id, "pay").await;
    }
    stage.outbox_empties().await;

    blocking(|| kafka.kill());
    blocking(|| Ok(std::fs::remove_dir_all(&data)?));
    blocking(|| copy(&older, &data));
    blocking(|| kafka.start_again());
    for command in ["ship", "complete"] {
        for order_id in &created {
            orders.command(*order_id, command).await;
        }
    }
    stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    assert!(orders.log().contains("OutOfOrderSequenceNumber"), "the producers' errors are what is tested");
    // What Kafka has lost is not sent again by itself; all else is there, each order's in order.
    let expected: BTreeMap<Uuid, Vec<i64>> =
        created.iter().map(|order_id| (*order_id, vec![1, 3, 4])).collect();
    assert_eq!(first_published(stage).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_down_changes_nothing() {
    let fragile = fragile().await;
    let Fragile { redis, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| redis.kill());
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    assert_eq!(orders.outbox().await["breaker"], "closed");
    let (status, ready) = orders.get("/readyz").await;
    assert_eq!((status.as_u16(), &ready["redis"]), (200, &Value::from("down")));
    blocking(|| redis.start_again());
    eventually("the worker is back", async || (orders.get("/readyz").await.1["redis"] == "up").then_some(()))
        .await;
    assert_eq!(stage.assert_published_in_order().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_redis_down_together() {
    let fragile = fragile().await;
    let Fragile { kafka, redis, stage, .. } = &fragile;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    blocking(|| redis.kill());
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "memory", 2).await;
    assert_eq!(orders.outbox().await["is_publisher"], true, "without Redis the lease is kept");
    ten_orders(&orders).await;
    // Kafka alone comes back: Redis is not needed for it.
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
    blocking(|| redis.start_again());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_dies_with_the_job_in_it() {
    let fragile = fragile().await;
    let Fragile { kafka, redis, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 1).await;
    blocking(|| redis.kill());
    retry_is(&orders, "memory", 1).await;
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_everything_while_kafka_is_down() {
    let fragile = fragile().await;
    let Fragile { kafka, redis, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 1).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    let left: Vec<String> = connection.keys("*publish-backlog*").await.unwrap();
    assert!(left.iter().all(|key| !key.ends_with(":scheduled")), "{left:?}");
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_survives_the_service() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    let before = retry_is(&orders, "redis", 3).await;
    orders.blocking(|service| service.kill());
    orders.blocking(|service| service.start_again());
    // Still down, still served, still waiting; and the count of attempts goes on where it was.
    ten_orders(&orders).await;
    assert_eq!(stage.waiting().await, 40);
    let after = retry_is(&orders, "redis", 1).await;
    assert!(after["attempt"].as_u64() >= before["attempt"].as_u64(), "{before} then {after}");
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_an_outage_is_quick_and_loses_nothing() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    let begun = Instant::now();
    orders.blocking(|service| service.stop());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(orders.log().contains("Stopped"), "an orderly end");
    blocking(|| kafka.start_again());
    orders.blocking(|service| service.start_again());
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_an_outage() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let first = stage.start().await;
    let second = stage.start_with(stage.settings("orders-2")).await;
    blocking(|| kafka.kill());
    ten_orders(&first).await;
    ten_orders(&second).await;
    first.breaker_is("open").await;
    // The instance that had the job handed off dies; the other one finishes the story.
    first.blocking(|service| service.kill());
    ten_orders(&second).await;
    blocking(|| kafka.start_again());
    recovered(stage, &second, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_killed_then_back() {
    let directory = TempDir::new().unwrap();
    let postgres = blocking(|| Postgres::start(directory.path()));
    let stage = Stage::with_roles(Servers { postgres: postgres.url(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    let order_id = orders.create().await;
    blocking(|| postgres.kill());
    let response = orders.http.post(orders.url("/api/orders")).json(&an_order()).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(orders.get("/readyz").await.0, 503);
    assert_eq!(orders.get("/livez").await.0, 200, "alive, only not ready");
    assert_eq!(orders.get(&format!("/api/orders/{order_id}")).await.0, 503);
    blocking(|| postgres.start_again());
    eventually("ready again by itself", async || (orders.get("/readyz").await.0 == 200).then_some(())).await;
    assert_eq!(stage.events().await, 21, "what was refused left nothing behind");
    ten_orders(&orders).await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_frozen_then_thawed() {
    let directory = TempDir::new().unwrap();
    let postgres = blocking(|| Postgres::start(directory.path()));
    let stage = Stage::with_roles(Servers { postgres: postgres.url(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    blocking(|| postgres.freeze());
    let begun = Instant::now();
    let (status, problem) = orders.post("/api/orders", an_order()).await;
    assert_eq!(status, 503, "{problem}");
    assert_eq!(orders.get("/api/orders").await.0, 503, "reads do not hang either");
    assert!(begun.elapsed() < Duration::from_secs(15), "answers in bounded time: {:?}", begun.elapsed());
    blocking(|| postgres.thaw());
    eventually("ready again by itself", async || (orders.get("/readyz").await.0 == 200).then_some(())).await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

/// Connections are accepted, and then nothing: the worst kind of broker for a client with patience.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answers() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kafka = silent.local_addr().unwrap().to_string();
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok(connection) = silent.accept().await {
            open.push(connection);
        }
    });
    let stage = Stage::with_roles(Servers { kafka, ..Servers::shared() }).await;
    let orders = stage.start_with(stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "1000")).await;
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    retry_is(&orders, "redis", 2).await;
    ten_orders(&orders).await;
    assert_eq!(stage.waiting().await, 40);
    orders.blocking(|service| service.stop());
    assert!(orders.log().contains("Stopped"), "an orderly end");
    accepting.abort();
}
