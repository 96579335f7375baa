//! Publication to Redis Streams: its format, its order, and a Redis that is killed, frozen, full, emptied or set back.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod access;
mod instances;
mod losses;
mod quarantine;
#[path = "support.rs"]
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod trimming;

use std::process::Command;
use std::time::Instant;

use engine::aggregate::AggregateId;
use engine::transport::partition_of;
use redis::AsyncCommands;
use serde_json::{Value, json};

use self::streams::{PARTITIONS, Streams, logged, start_again};
use self::support::eventually;
use self::support::fragile::{blocking, retry_is, ten_orders};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_in_version_order_with_its_attributes() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    for _ in 0..20 {
        let order_id = orders.create().await;
        for command in ["pay", "ship", "complete"] {
            orders.command(order_id, command).await;
        }
    }
    streams.stage.outbox_empties().await;
    assert_eq!(streams.stage.events().await, 80);
    assert_eq!(streams.assert_published_in_order().await, 0, "nothing failed, so nothing is sent twice");
    for entry in streams.entries().await {
        assert_eq!(entry.partition, partition_of(AggregateId(entry.order_id), PARTITIONS));
        let field = |name: &str| entry.fields.get(name).map(String::as_str).unwrap_or_default();
        assert_eq!((field("ce_specversion"), field("ce_source")), ("1.0", "/orders"));
        assert_eq!(field("ce_subject"), entry.order_id.to_string());
        assert_eq!(field("ce_sequence"), entry.version.to_string());
        assert_eq!(field("content-type"), "application/json");
        let value: Value = serde_json::from_str(field("value")).unwrap();
        assert_eq!(
            (field("ce_id"), field("ce_type")),
            (text(&value, "event_id"), text(&value, "event_type"))
        );
    }
    assert_eq!(streams.field("", "partitions").await, Some(PARTITIONS.to_string()));
    assert!(streams.field("", "id").await.is_some());
    let outbox = orders.outbox().await;
    assert_eq!((&outbox["breaker"], &outbox["is_publisher"]), (&"closed".into(), &true.into()));
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Redis is the queue and has the retry: the retry runs from memory.
#[tokio::test(flavor = "multi_thread")]
async fn streams_killed_then_back() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    assert_eq!(readiness(&orders).await, json!({ "ready": true, "postgres": "up", "redis": "up" }));
    blocking(|| streams.redis.kill());
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    assert_eq!(readiness(&orders).await, json!({ "ready": true, "postgres": "up", "redis": "down" }));
    assert_eq!(streams.stage.waiting().await, 20);
    retry_is(&orders, "memory", 2).await;
    ten_orders(&orders).await;
    blocking(|| start_again(&streams.redis));
    recovered(&streams, &orders).await;
    assert_eq!(readiness(&orders).await["redis"], "up");
}

/// What `/readyz` answers: commands can be taken all the time.
async fn readiness(orders: &support::Orders) -> Value {
    let (status, answer) = orders.get("/readyz").await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_frozen_then_thawed() {
    let streams = Streams::new().await;
    let orders =
        streams.stage.start_with(streams.settings("orders").with("DELIVERY_TIMEOUT_MS", "1500")).await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    blocking(|| streams.redis.freeze());
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    ten_orders(&orders).await;
    retry_is(&orders, "memory", 2).await;
    blocking(|| streams.redis.thaw());
    recovered(&streams, &orders).await;
}

/// Redis refuses every write. What is published stays, what is not waits.
#[tokio::test(flavor = "multi_thread")]
async fn streams_full_then_with_room_again() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.configure("maxmemory", "1").await;
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    assert_eq!(readiness(&orders).await["redis"], "down", "it answers, and takes no events");
    logged(&orders, &["Publish attempt failed", "OOM", "maxmemory"]).await;
    assert_eq!(streams.stage.waiting().await, 20);
    let (status, quarantine) = orders.get("/api/outbox/quarantine").await;
    assert_eq!((status.as_u16(), quarantine), (200, Value::Array(Vec::new())), "it is no event's fault");
    streams.configure("maxmemory", "0").await;
    recovered(&streams, &orders).await;
}

/// Everything is published, in order.
async fn recovered(streams: &Streams, orders: &support::Orders) {
    let since = Instant::now();
    streams.stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    println!("recovered after {:?}", since.elapsed());
    streams.assert_published_in_order().await;
}

/// One stream's key is taken by something else: its orders wait, all others are published.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_nothing_holds_up_its_own_orders_only() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    let mut connection = streams.connection().await;
    let (stream, aside) = (streams.stream(1), streams.stream(9));
    let _: () = connection.rename(&stream, &aside).await.unwrap();
    let _: () = connection.set(&stream, "in the way").await.unwrap();
    let mut other = 0;
    while other < 10 {
        let order_id = orders.create().await;
        other += i32::from(partition_of(AggregateId(order_id), PARTITIONS) != 1);
    }
    let stuck = eventually("one partition is stuck", async || {
        let outbox = orders.outbox().await;
        (outbox["stuck_partitions"].as_array().is_some_and(|stuck| stuck.len() == 1)).then_some(outbox)
    })
    .await;
    assert_eq!(stuck["stuck_partitions"][0]["partitions"], serde_json::json!([1]), "{stuck}");
    assert!(stuck["stuck_partitions"][0]["cause"].as_str().unwrap().contains("WRONGTYPE"), "{stuck}");
    let _: () = connection.rename(&aside, &stream).await.unwrap();
    recovered(&streams, &orders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_publisher_is_replaced_and_nothing_is_missing() {
    let streams = Streams::new().await;
    let first = streams.start().await;
    eventually("the first publishes", async || (first.outbox().await["is_publisher"] == true).then_some(()))
        .await;
    let second = streams.stage.start_with(streams.settings("orders-2")).await;
    ten_orders(&first).await;
    first.blocking(|service| service.kill());
    ten_orders(&second).await;
    streams.stage.outbox_empties().await;
    streams.assert_published_in_order().await;
    // It comes back as a second instance; the tenure is the other one's.
    first.blocking(|service| service.start_again());
    ten_orders(&first).await;
    streams.stage.outbox_empties().await;
    streams.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_copies_to_the_streams_and_a_check_reads_them() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    let replayed = command(&streams, &["replay", "--from", "1", "--to", "15", "--yes"]).await;
    assert_eq!(replayed["sent"], 15, "{replayed}");
    assert_eq!(streams.assert_published_in_order().await, 15);
    // The publisher goes on as before.
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    assert_eq!(streams.assert_published_in_order().await, 15);
    let check = command(&streams, &["check"]).await;
    let of = |name: &str| {
        let found = check["checks"].as_array().unwrap().iter().find(|finding| finding["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {check}")).clone()
    };
    assert_eq!(of("topic")["status"], "ok", "{check}");
    assert!(of("topic")["message"].as_str().unwrap().contains("3 partitions, 55 entries"), "{check}");
    assert_eq!(of("groups")["status"], "warn", "{check}");
    assert_eq!(of("persistence")["status"], "ok", "{check}");
}

/// `orders` with these arguments; its document.
async fn command(streams: &Streams, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command
        .args(arguments)
        .arg("--json")
        .env("DATABASE_URL", &streams.stage.database_url)
        .env("ORDERS_MQ", "redis")
        .env("REDIS_URL", streams.redis.url())
        .env("ORDERS_TOPIC_PARTITIONS", PARTITIONS.to_string())
        .env("ORDERS_TOPIC", &streams.stage.topic);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)))
}
