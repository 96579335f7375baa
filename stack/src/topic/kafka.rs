//! The topic as Kafka has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use super::{Published, TOPIC};

/// Without a message for so long, the rest is not coming.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Every message up to the present end. Blocks.
pub(crate) fn read(brokers: &str) -> Result<Vec<Published>> {
    let mut reading = Reading::begin(brokers)?;
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

/// The topic from its beginning on, in steps.
pub(crate) struct Reading {
    consumer: BaseConsumer,
    partitions: Vec<i32>,
    pub(crate) messages: Vec<Published>,
}

impl Reading {
    pub(crate) fn begin(brokers: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("topic-reader-{}", Uuid::new_v4()))
            .set("enable.auto.commit", "false")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE)?;
        let topic = metadata.topics().first().context("the topic is not there")?;
        let partitions: Vec<i32> = topic.partitions().iter().map(MetadataPartition::id).collect();
        let mut beginning = TopicPartitionList::new();
        for partition in &partitions {
            beginning.add_partition_offset(TOPIC, *partition, Offset::Beginning)?;
        }
        consumer.assign(&beginning)?;
        Ok(Self { consumer, partitions, messages: Vec::new() })
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
                self.messages.push(published(&message?)?);
                last = Instant::now();
            }
        }
        Ok(())
    }

    /// A partition may have just got another leader: then the client still knows the former one.
    fn watermarks(&self, partition: i32) -> Result<(i64, i64)> {
        let begun = Instant::now();
        loop {
            match self.consumer.fetch_watermarks(TOPIC, partition, PATIENCE) {
                Ok(watermarks) => return Ok(watermarks),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => {
                    let _ = self.consumer.fetch_metadata(Some(TOPIC), PATIENCE);
                    std::thread::sleep(LOOK_PAUSE);
                }
            }
        }
    }
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
    Ok(Published {
        partition: message.partition(),
        order: key.parse()?,
        version: version.parse()?,
        event_id: header("ce_id")?,
    })
}
