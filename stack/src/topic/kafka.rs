//! The topic as Kafka has it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::message::Field;
use super::{Published, TOPIC, published};
use crate::servers::kafka::Access;

/// Without a message for so long, the rest is not coming.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Every message up to the present end. Blocks.
pub(crate) fn read(access: &Access) -> Result<Vec<Published>> {
    let mut reading = Reading::begin(access, TOPIC, published)?;
    reading.catch_up()?;
    Ok(reading.messages)
}

/// How many messages a topic has; none if it is not there. Blocks.
pub(crate) fn count(access: &Access, topic: &str) -> Result<u64> {
    let consumer: BaseConsumer = access.client().create()?;
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let mut count = 0;
    for found in metadata.topics().iter().filter(|found| found.name() == topic) {
        for partition in found.partitions() {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
            count += u64::try_from(high - low)?;
        }
    }
    Ok(count)
}

type Parse<T> = fn(i32, Field<'_>) -> Result<T>;

/// A topic from its beginning on, in steps.
pub(crate) struct Reading<T> {
    consumer: BaseConsumer,
    topic: &'static str,
    partitions: Vec<i32>,
    parse: Parse<T>,
    /// By partition, the offset after the last message that was read.
    next: BTreeMap<i32, i64>,
    pub(crate) messages: Vec<T>,
}

impl<T> Reading<T> {
    pub(crate) fn begin(access: &Access, name: &'static str, parse: Parse<T>) -> Result<Self> {
        let consumer: BaseConsumer = access
            .client()
            .set("group.id", format!("topic-reader-{}", Uuid::new_v4()))
            .set("enable.auto.commit", "false")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(name), PATIENCE)?;
        let topic = metadata.topics().first().context("the topic is not there")?;
        let partitions: Vec<i32> = topic.partitions().iter().map(MetadataPartition::id).collect();
        let mut beginning = TopicPartitionList::new();
        for partition in &partitions {
            beginning.add_partition_offset(name, *partition, Offset::Beginning)?;
        }
        consumer.assign(&beginning)?;
        Ok(Self { consumer, topic: name, partitions, parse, next: BTreeMap::new(), messages: Vec::new() })
    }

    /// Reads what there is at this moment. Blocks.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        // By offsets, not by a number of messages: a broker whose disk was full may have written one offset twice.
        let mut ends = BTreeMap::new();
        for partition in &self.partitions {
            let (low, high) = self.watermarks(*partition)?;
            if low < high {
                ends.insert(*partition, high);
            }
        }
        let mut last = Instant::now();
        loop {
            ends.retain(|partition, end| self.next.get(partition).is_none_or(|next| *next < *end));
            if ends.is_empty() {
                return Ok(());
            }
            if last.elapsed() > PATIENCE {
                bail!("partitions could not be read to their ends: {ends:?}; so far {:?}", self.next);
            }
            if let Some(message) = self.consumer.poll(Duration::from_millis(100)) {
                let message = message?;
                self.next.insert(message.partition(), message.offset() + 1);
                self.messages.push(parsed(self.parse, &message)?);
                last = Instant::now();
            }
        }
    }

    /// A partition may have just got another leader: then the client still knows the former one.
    fn watermarks(&self, partition: i32) -> Result<(i64, i64)> {
        let begun = Instant::now();
        loop {
            match self.consumer.fetch_watermarks(self.topic, partition, PATIENCE) {
                Ok(watermarks) => return Ok(watermarks),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => {
                    let _ = self.consumer.fetch_metadata(Some(self.topic), PATIENCE);
                    std::thread::sleep(LOOK_PAUSE);
                }
            }
        }
    }
}

fn parsed<T>(parse: Parse<T>, message: &impl Message) -> Result<T> {
    let text = |bytes: Option<&[u8]>| Some(std::str::from_utf8(bytes?).ok()?.to_owned());
    parse(message.partition(), &|name| match name {
        "key" => text(message.key()),
        "value" => text(message.payload()),
        _ => {
            let header = message.headers()?.iter().find(|header| header.key == name)?;
            text(header.value)
        }
    })
}
