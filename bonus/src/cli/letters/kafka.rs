//! The dead-letter topic in Kafka, without a consumer group: nothing is committed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::timeout;
use tracing::debug;

use crate::config::Topics;
use crate::kafka;
use crate::source::SourceMessage;

/// For one answer of the broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// The context of a client whose caller notices every failure by a deadline: its log is not needed.
struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "Kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "Kafka client error");
    }
}

impl ConsumerContext for QuietContext {}

pub struct KafkaLetters {
    consumer: StreamConsumer<QuietContext>,
    /// By partition: the offset behind its last letter. Those read to their end are gone.
    ends: BTreeMap<i32, i64>,
}

impl KafkaLetters {
    /// From the beginning of every partition, or only its last `newest` letters. A topic that is not there holds none.
    pub fn open(topics: &Topics, newest: Option<i64>) -> Result<Self> {
        let topic = topics.dead_letter_topic();
        let consumer: StreamConsumer<QuietContext> = kafka::client_settings(topics)?
            .set("group.id", "bonus-cli")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create_with_context(QuietContext)?;
        let unreachable = || format!("Kafka at {} cannot be reached", topics.kafka_brokers);
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).with_context(unreachable)?;
        let (mut start, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let (low, high) =
                consumer.fetch_watermarks(&topic, partition.id(), PATIENCE).with_context(unreachable)?;
            let first = newest.map_or(low, |newest| low.max(high - newest));
            if first < high {
                start.add_partition_offset(&topic, partition.id(), Offset::Offset(first))?;
                ends.insert(partition.id(), high);
            }
        }
        consumer.assign(&start)?;
        Ok(Self { consumer, ends })
    }

    /// `None` at the end.
    pub async fn next(&mut self) -> Result<Option<SourceMessage>> {
        while !self.ends.is_empty() {
            let Ok(received) = timeout(PATIENCE, self.consumer.recv()).await else {
                bail!("Kafka does not answer any more");
            };
            match received {
                Ok(message) => {
                    let (partition, next) = (message.partition(), message.offset() + 1);
                    let Some(end) = self.ends.get(&partition).copied() else { continue };
                    if next >= end {
                        self.ends.remove(&partition);
                    }
                    if next <= end {
                        return Ok(Some(SourceMessage::Kafka(message.detach())));
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.ends.remove(&partition);
                }
                // The client reconnects; if it cannot, nothing is received any more.
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) => {}
                Err(error) => return Err(error).context("the dead-letter topic cannot be read"),
            }
        }
        Ok(None)
    }
}
