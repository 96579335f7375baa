//! The order service's side of the topic, and a reader for dead letters.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::{DEADLINE, TestEvent, World};

pub async fn create_topic(brokers: &str, topic: &str, partitions: i32) {
    create(brokers, NewTopic::new(topic, partitions, TopicReplication::Fixed(1))).await;
}

/// A topic that takes batches of up to `bytes` only.
pub async fn create_narrow_topic(brokers: &str, topic: &str, bytes: &str) {
    create(brokers, NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", bytes))
        .await;
}

async fn create(brokers: &str, new: NewTopic<'_>) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    for created in admin.create_topics([&new], &options).await.expect("KAFKA_BROKERS cannot be reached") {
        created.unwrap();
    }
}

pub fn producer(brokers: &str) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "1000000")
        .set("linger.ms", "5")
        // The broker's bound is the one to meet.
        .set("message.max.bytes", "10000000")
        .create()
        .unwrap()
}

/// Sends in order, all in flight at once, and waits for every acknowledgement.
pub async fn produce(world: &World, events: &[TestEvent]) {
    produce_to(&producer(&world.brokers), &world.topic, events).await;
}

pub async fn produce_to(producer: &FutureProducer, topic: &str, events: &[TestEvent]) {
    let mut acknowledgements = Vec::with_capacity(events.len());
    for event in events {
        let (key, value) = (event.order_id.to_string(), event.value.to_string());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "ce_specversion", value: Some("1.0") })
            .insert(Header { key: "ce_type", value: event.value["event_type"].as_str() });
        let record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
        acknowledgements.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
    }
    for acknowledgement in try_join_all(acknowledgements).await.unwrap() {
        acknowledgement.map_err(|(error, _)| error).unwrap();
    }
}

/// Reads `count` messages from partition 0 of `topic`, from its start.
pub async fn read(brokers: &str, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "500")
        .create()
        .unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let started = Instant::now();
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(started.elapsed() < DEADLINE, "{} of {count} messages arrived in {topic}", messages.len());
        match consumer.poll(Duration::ZERO) {
            Some(Ok(message)) => messages.push(message.detach()),
            // An unknown topic, until the dead letter's sender has made it.
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    messages
}

pub fn header(message: &OwnedMessage, key: &str) -> Option<String> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == key)?;
    header.value.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// What the group has committed, summed over the topic's partitions, and the topic's end likewise.
pub fn committed_and_end(world: &World) -> (i64, i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("group.id", &world.group)
        .create()
        .unwrap();
    let timeout = Duration::from_secs(10);
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(&world.topic, 0, 2);
    let committed = consumer.committed_offsets(partitions, timeout).unwrap();
    let committed =
        committed.elements().iter().map(|element| element.offset().to_raw().unwrap_or(0).max(0)).sum();
    let end =
        (0..3).map(|partition| consumer.fetch_watermarks(&world.topic, partition, timeout).unwrap().1).sum();
    (committed, end)
}

/// The end of each partition of the topic.
pub fn ends(world: &World) -> Vec<i64> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap();
    let end =
        |partition| consumer.fetch_watermarks(&world.topic, partition, Duration::from_secs(10)).unwrap().1;
    (0..3).map(end).collect()
}

fn admin(brokers: &str) -> (AdminClient<DefaultClientContext>, AdminOptions) {
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    (ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap(), options)
}

/// Removes every message that the topic holds, as retention does.
pub async fn remove_all(world: &World) {
    let mut before = TopicPartitionList::new();
    for (partition, end) in (0..).zip(ends(world)) {
        before.add_partition_offset(&world.topic, partition, Offset::Offset(end)).unwrap();
    }
    let (admin, options) = admin(&world.brokers);
    let removed = admin.delete_records(&before, &options).await.unwrap();
    assert!(removed.elements().iter().all(|element| element.error().is_ok()));
}

/// Deletes the topic and makes another one of the same name.
pub async fn make_anew(brokers: &str, topic: &str, partitions: i32) {
    let (admin, options) = admin(brokers);
    for deleted in admin.delete_topics(&[topic], &options).await.unwrap() {
        deleted.unwrap();
    }
    // The name is free when the deletion is through, and until somebody else has made it.
    super::eventually("the topic is made anew", async || {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = admin.create_topics([&new], &options).await.unwrap();
        made.into_iter().try_for_each(|made| made.map(|_| ()).map_err(|(_, code)| code.to_string()))
    })
    .await;
}

pub async fn add_partitions(world: &World, in_all: usize) {
    let (admin, options) = admin(&world.brokers);
    let more = NewPartitions::new(&world.topic, in_all);
    for made in admin.create_partitions([&more], &options).await.unwrap() {
        made.unwrap();
    }
}

/// A setting of a topic.
pub async fn set(brokers: &str, topic: &str, setting: &str, value: &str) {
    let (admin, options) = admin(brokers);
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(setting, value);
    for changed in admin.alter_configs([&change], &options).await.unwrap() {
        changed.unwrap();
    }
}

/// A topic that takes nothing, because it wants more replicas than there are, until the setting is lowered.
pub async fn create_topic_that_waits(brokers: &str, topic: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("min.insync.replicas", "2");
    create(brokers, new).await;
}
