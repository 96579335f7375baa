//! When events arrived in a message queue, by the queue's own clock, which is this machine's and tells milliseconds.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use serde::Deserialize;
use uuid::Uuid;

use crate::topic::TOPIC;

const PARTITIONS: i32 = 6;
/// Without a message for so long, the rest is not coming.
const READ_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) occurred_us: i64,
    pub(super) arrived_us: i64,
}

#[derive(Deserialize)]
struct Occurred {
    occurred_at: DateTime<Utc>,
}

impl Arrival {
    fn of(value: &[u8], arrived_ms: i64) -> Result<Self> {
        let value: Occurred = serde_json::from_slice(value)?;
        Ok(Self { occurred_us: value.occurred_at.timestamp_micros(), arrived_us: arrived_ms * 1_000 })
    }
}

/// Of every message that the broker wrote since then, in milliseconds since 1970. The topic has `LogAppendTime`.
pub(super) async fn in_kafka(brokers: &str, since_ms: i64) -> Result<Vec<Arrival>> {
    let brokers = brokers.to_owned();
    tokio::task::spawn_blocking(move || read_kafka(&brokers, since_ms)).await?
}

fn read_kafka(brokers: &str, since_ms: i64) -> Result<Vec<Arrival>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("bench-{}", Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .create()?;
    let mut since = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        since.add_partition_offset(TOPIC, partition, Offset::Offset(since_ms))?;
    }
    let begin = consumer.offsets_for_times(since, READ_PATIENCE)?;
    let mut expected = 0;
    for of in begin.elements() {
        // A partition without anything since then begins at its end.
        if let Offset::Offset(offset) = of.offset() {
            let (_, end) = consumer.fetch_watermarks(TOPIC, of.partition(), READ_PATIENCE)?;
            expected += usize::try_from(end - offset)?;
        }
    }
    consumer.assign(&begin)?;
    let mut arrivals = Vec::with_capacity(expected);
    while arrivals.len() < expected {
        let message = consumer.poll(READ_PATIENCE).context("the topic's messages do not come")??;
        let arrived = message.timestamp().to_millis().context("a message without a time")?;
        arrivals.push(Arrival::of(message.payload().context("a message without a value")?, arrived)?);
    }
    Ok(arrivals)
}

/// Of every entry that Redis has appended since then, in milliseconds since 1970: an entry's id begins with its time.
pub(super) async fn in_streams(redis: &mut MultiplexedConnection, since_ms: i64) -> Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    for partition in 0..PARTITIONS {
        let mut range = redis::cmd("XRANGE");
        range.arg(format!("{TOPIC}:{partition}")).arg(since_ms).arg("+");
        let entries: StreamRangeReply = range.query_async(redis).await?;
        for entry in entries.ids {
            let (arrived, _) = entry.id.split_once('-').context("an entry without a time")?;
            let value: String = entry.get("value").context("an entry without a value")?;
            arrivals.push(Arrival::of(value.as_bytes(), arrived.parse()?)?);
        }
    }
    Ok(arrivals)
}
