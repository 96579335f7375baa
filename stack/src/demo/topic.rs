//! What really is in the topic, read from its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Serialize;
use uuid::Uuid;

const TOPIC: &str = "orders.events";
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Serialize)]
pub(super) struct TopicSummary {
    pub(super) messages: usize,
    pub(super) events: usize,
    /// Messages whose event was in the topic already. At-least-once allows them; the ledger sorts them out.
    pub(super) repeated: usize,
    pub(super) orders: usize,
}

/// Reads the whole topic, and checks that it holds every order's versions 1 to n, each first seen in that order, for
/// exactly the orders and versions given. Blocks.
pub(super) fn check_order(brokers: &str, versions: &BTreeMap<Uuid, i64>) -> Result<TopicSummary> {
    let messages = read(brokers)?;
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut latest: BTreeMap<Uuid, i64> = BTreeMap::new();
    for message in messages.iter().filter(|message| seen.insert(&message.event_id)) {
        let last = latest.entry(message.order).or_default();
        if message.version != *last + 1 {
            bail!("order {}: version {} follows version {last} in the topic", message.order, message.version);
        }
        *last = message.version;
    }
    for (order, version) in versions {
        let published = latest.get(order).copied().unwrap_or_default();
        if published != *version {
            bail!("order {order} is at version {version}, the topic at {published}");
        }
    }
    if latest.len() != versions.len() {
        bail!("the topic holds {} orders, {} were created", latest.len(), versions.len());
    }
    let (messages, events) = (messages.len(), seen.len());
    Ok(TopicSummary { messages, events, repeated: messages - events, orders: latest.len() })
}

struct Published {
    order: Uuid,
    version: i64,
    event_id: String,
}

fn read(brokers: &str) -> Result<Vec<Published>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("demo-reader-{}", Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE)?;
    let topic = metadata.topics().first().context("the topic is not there")?;
    let mut partitions = TopicPartitionList::new();
    let mut expected = 0;
    for partition in topic.partitions() {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition.id(), PATIENCE)?;
        expected += usize::try_from(high - low)?;
        partitions.add_partition_offset(TOPIC, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let deadline = Instant::now() + PATIENCE;
    let mut messages = Vec::with_capacity(expected);
    while messages.len() < expected {
        if Instant::now() > deadline {
            bail!("only {} of the topic's {expected} messages could be read", messages.len());
        }
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(published(&message?)?);
        }
    }
    Ok(messages)
}

fn published(message: &impl Message) -> Result<Published> {
    let header = |name: &str| -> Result<String> {
        let headers = message.headers().context("a message without headers")?;
        let value = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        Ok(std::str::from_utf8(value.with_context(|| format!("a message without {name}"))?)?.to_owned())
    };
    let key = std::str::from_utf8(message.key().context("a message without a key")?)?;
    let subject = header("ce_subject")?;
    if subject != key {
        bail!("a message with key {key} is about {subject}");
    }
    let version = header("ce_sequence")?;
    Ok(Published { order: key.parse()?, version: version.parse()?, event_id: header("ce_id")? })
}
