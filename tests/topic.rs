//! The topic: made by this service with its own settings, watched while it is there, and what is said when it changes.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::process::Command;

use clap::Parser;
use orders::config::Config;
use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use serde_json::Value;
use support::fragile::{Fragile, blocking, fragile};
use support::narrow::admin;
use support::{Orders, Stage, eventually};

async fn logged(orders: &Orders, parts: &[&str]) -> String {
    let line = |log: String| {
        log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    };
    eventually(&format!("the log says {parts:?}"), async || line(orders.log())).await
}

async fn metric(orders: &Orders, name: &str) -> Option<f64> {
    let text = orders.http.get(orders.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn metric_becomes(orders: &Orders, name: &str, wanted: f64) {
    eventually(&format!("{name} is {wanted}"), async || {
        (metric(orders, name).await == Some(wanted)).then_some(())
    })
    .await;
}

async fn orders_are_published(stage: &Stage, orders: &Orders, count: usize) {
    for _ in 0..count {
        let order_id = orders.create().await;
        orders.command(order_id, "pay").await;
    }
    stage.outbox_empties().await;
}

async fn configured(stage: &Stage, name: &str) -> String {
    let topic = ResourceSpecifier::Topic(&stage.topic);
    let described = admin(stage).describe_configs([&topic], &AdminOptions::new()).await.unwrap().pop();
    described.unwrap().unwrap().get(name).unwrap().value.clone().unwrap()
}

async fn make(stage: &Stage, partitions: i32) {
    let topic = NewTopic::new(&stage.topic, partitions, TopicReplication::Fixed(1));
    for made in admin(stage).create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

async fn delete(stage: &Stage) {
    for deleted in admin(stage).delete_topics(&[&stage.topic], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
}

/// `orders` with these arguments; its document.
async fn command(stage: &Stage, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command
        .args(arguments)
        .arg("--json")
        .env("DATABASE_URL", &stage.database_url)
        .env("KAFKA_BROKERS", &stage.servers.kafka)
        .env("REDIS_URL", &stage.servers.redis)
        .env("ORDERS_TOPIC", &stage.topic);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)))
}

/// The broker makes topics that are asked for, with its own settings, and is away at first: it is asked for the topic all the time.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_ours_even_where_the_broker_makes_topics() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    blocking(|| kafka.kill());
    let settings = stage.settings("orders").with("ORDERS_TOPIC_PARTITIONS", "3");
    let orders = stage.start_with(settings.with("ORDERS_TOPIC_RETENTION_HOURS", "48")).await;
    let order_id = orders.create().await;
    orders.breaker_is("open").await;
    blocking(|| kafka.start_again());
    stage.outbox_empties().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    metric_becomes(&orders, "orders_topic_partitions", 3.0).await;
    for (name, value) in [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "172800000"),
        ("retention.bytes", "-1"),
        ("cleanup.policy", "delete"),
    ] {
        assert_eq!(configured(stage, name).await, value, "{name}");
    }
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_the_topic_cannot_be_made_is_said_once() {
    let stage = Stage::new().await;
    // There is one broker.
    let settings = stage.settings("orders").with("ORDERS_TOPIC_REPLICATION", "3");
    let orders = stage.start_with(settings.with("DELIVERY_TIMEOUT_MS", "1000")).await;
    orders.create().await;
    let said = logged(&orders, &["The topic is missing and cannot be made", "WARN"]).await;
    assert!(said.contains("replication factor") && said.contains("ORDERS_TOPIC_REPLICATION"), "{said}");
    // By now it was tried several times.
    logged(&orders, &["Publish attempt failed", "attempt=3"]).await;
    assert_eq!(orders.log().matches("The topic is missing and cannot be made").count(), 1);
    make(&stage, 6).await;
    stage.outbox_empties().await;
    logged(&orders, &["The topic is there now"]).await;
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_noticed_and_filled_again() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders_are_published(&stage, &orders, 5).await;
    logged(&orders, &["The topic is seen for the first time"]).await;
    // By somebody, and faster than anyone could see that it was not there.
    delete(&stage).await;
    eventually("the topic is gone, or made again", async || {
        let topic = NewTopic::new(&stage.topic, 6, TopicReplication::Fixed(1));
        admin(&stage).create_topics([&topic], &AdminOptions::new()).await.ok()
    })
    .await;
    let said = logged(&orders, &["ERROR", "deleted and made anew", "up to position 10"]).await;
    assert!(said.contains("orders replay --from 1"), "{said}");
    metric_becomes(&orders, "orders_topic_lost_events", 10.0).await;
    orders_are_published(&stage, &orders, 5).await;
    // Known to a service that starts now, and not told again.
    orders.blocking(|service| service.kill());
    orders.blocking(|service| service.start_again());
    metric_becomes(&orders, "orders_topic_lost_events", 10.0).await;
    assert_eq!(orders.log().matches("deleted and made anew").count(), 1);

    let replayed = command(&stage, &["replay", "--from", "1", "--yes"]).await;
    assert_eq!((&replayed["sent"], &replayed["restored"]), (&20.into(), &true.into()), "{replayed}");
    metric_becomes(&orders, "orders_topic_lost_events", 0.0).await;
    assert_eq!(stage.assert_published_in_order().await, 10, "what came after it is there twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_were_added_are_noticed() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders_are_published(&stage, &orders, 2).await;
    metric_becomes(&orders, "orders_topic_partitions", 6.0).await;
    let more = NewPartitions::new(&stage.topic, 9);
    for added in admin(&stage).create_partitions([&more], &AdminOptions::new()).await.unwrap() {
        added.unwrap();
    }
    logged(&orders, &["WARN", "Partitions were added", "from position 4 on"]).await;
    metric_becomes(&orders, "orders_topic_partitions", 9.0).await;
    orders_are_published(&stage, &orders, 2).await;
    let check = command(&stage, &["check"]).await;
    let said = check["checks"].as_array().unwrap().iter().find(|finding| finding["name"] == "topic").unwrap();
    assert_eq!(said["status"], "warn", "{check}");
    assert!(
        said["message"].as_str().unwrap().contains("9 partitions; ORDERS_TOPIC_PARTITIONS is 6"),
        "{said}"
    );
}

#[test]
fn a_name_that_kafka_refuses_is_refused_at_the_start() {
    for name in ["..", "orders events", &"x".repeat(250)] {
        let refused = Config::try_parse_from(["orders", &format!("--topic={name}")]).unwrap_err().to_string();
        assert!(refused.contains("--topic") && refused.contains("opic"), "{refused}");
    }
    Config::try_parse_from(["orders", "--topic=orders.events-2"]).unwrap();
}
