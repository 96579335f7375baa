//! The topic as Kafka has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use super::message::Field;
use super::{Published, TOPIC, published};

/// Without a message for so long, the rest is not coming.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Every message up to the present end. Blocks.
pub(crate) fn read(brokers: &str) -> Result<Vec<Published>> {
    let mut reading = Reading::begin(brokers, TOPIC, published)?;
    reading.catch_up()?;
    Ok(reading.messages)
}

/// How many messages a topic has; none if it is not there. Blocks.
pub(crate) fn count(brokers: &str, topic: &str) -> Result<u64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
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
    pub(crate) messages: Vec<T>,
}

impl<T> Reading<T> {
    pub(crate) fn begin(brokers: &str, name: &'static str, parse: Parse<T>) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
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
        Ok(Self { consumer, topic: name, partitions, parse, messages: Vec::new() })
    }

    /// Reads what there is at this moment. Blocks.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        let mut expected = 0;
        for partition in &self.partitions {
            let (low, high) = self.watermarks(*partition)?;
            expected += usize::try_from(high - low)?;
        }
        let mut last = Instant::now();
        while self.messages.len() < expected {
            if last.elapsed() > PATIENCE {
                bail!("only {} of the topic's {expected} messages could be read", self.messages.len());
            }
            if let Some(message) = self.consumer.poll(Duration::from_millis(100)) {
                self.messages.push(parsed(self.parse, &message?)?);
                last = Instant::now();
            }
        }
        Ok(())
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
