//! Messages that cannot be read go to the dead-letter topic, whole, with the reason and their origin in headers.
//!
//! At least once: a process that is killed between Kafka's acknowledgement and the offset commit sends them again. The
//! origin in the headers tells repetitions apart.

use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders, ToBytes};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::OnceCell;
use tracing::warn;

use crate::batch::DeadLetter;
use crate::config::Config;
use crate::error::DeadLetterError;
use crate::kafka;
use crate::telemetry::metric;

/// How long one attempt may take before it counts as failed and is repeated.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest reason in a header, in bytes.
const REASON_LENGTH_MAX: usize = 500;

pub struct DeadLetters {
    settings: ClientConfig,
    topic: String,
    group_id: String,
    /// Connects when the first dead letter is there: most processes never need it.
    producer: OnceCell<FutureProducer>,
}

impl DeadLetters {
    pub fn new(config: &Config) -> Self {
        Self {
            settings: kafka::client_settings(&config.topics),
            topic: config.topics.dead_letter_topic(),
            group_id: config.group_id.clone(),
            producer: OnceCell::new(),
        }
    }

    /// Sends all of `letters` at once and returns those that Kafka has not acknowledged, with the last error.
    pub async fn deliver(&self, letters: Vec<DeadLetter>) -> (Vec<DeadLetter>, Option<DeadLetterError>) {
        let producer = match self.producer.get_or_try_init(|| self.connect()).await {
            Ok(producer) => producer,
            Err(error) => return (letters, Some(error)),
        };
        let results = join_all(letters.iter().map(|letter| self.send(producer, letter))).await;
        let mut undelivered = Vec::new();
        let mut last_error = None;
        for (letter, result) in letters.into_iter().zip(results) {
            match result {
                Ok(()) => metric::dead_letter(),
                Err(error) => {
                    undelivered.push(letter);
                    last_error = Some(error);
                }
            }
        }
        (undelivered, last_error)
    }

    async fn connect(&self) -> Result<FutureProducer, DeadLetterError> {
        self.create_topic().await?;
        let producer = self
            .settings
            .clone()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // What the topic held must fit here too: the broker's bound decides, not the client's lower one.
            .set("message.max.bytes", "100000000")
            // Kafka refuses a batch as a whole: a letter that is too large must not cost others their values.
            .set("batch.num.messages", "1")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .create()?;
        Ok(producer)
    }

    /// Brokers may be told not to create topics by themselves; then every dead letter would stop the partition for good.
    async fn create_topic(&self) -> Result<(), DeadLetterError> {
        let admin: AdminClient<DefaultClientContext> = self.settings.create()?;
        // -1: as many replicas as the broker's default says.
        let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(DELIVERY_TIMEOUT));
        for created in admin.create_topics([&topic], &options).await? {
            match created {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                // Perhaps it exists and only creating is forbidden: sending will tell.
                Err((topic, code)) => warn!(topic, %code, "The dead-letter topic could not be created"),
            }
        }
        Ok(())
    }

    async fn send(&self, producer: &FutureProducer, letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let whole = self.record(letter, letter.message.payload());
        match producer.send(whole, DELIVERY_TIMEOUT).await {
            Ok(_) => Ok(()),
            // As large as the broker takes, and the headers were too much. The original stays where the headers say.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                let without_value = self.record(letter, None);
                producer
                    .send(without_value, DELIVERY_TIMEOUT)
                    .await
                    .map(|_| ())
                    .map_err(|(error, _)| error.into())
            }
            Err((error, _)) => Err(error.into()),
        }
    }

    fn record<'a>(&'a self, letter: &'a DeadLetter, value: Option<&'a [u8]>) -> FutureRecord<'a, [u8], [u8]> {
        let message = &letter.message;
        let reason = truncated(letter.reason.to_string());
        let value_bytes = message.payload().map_or(0, <[u8]>::len);
        let mut headers = message.headers().cloned().unwrap_or_default();
        for (key, value) in [
            ("dead_letter_reason", reason),
            ("dead_letter_topic", message.topic().to_owned()),
            ("dead_letter_partition", message.partition().to_string()),
            ("dead_letter_offset", message.offset().to_string()),
            ("dead_letter_value_bytes", value_bytes.to_string()),
            ("dead_letter_group", self.group_id.clone()),
        ] {
            headers = header(headers, key, &value);
        }
        let mut record = FutureRecord::to(&self.topic).headers(headers);
        record.key = message.key();
        record.payload = value;
        record
    }
}

fn header(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value.to_bytes()) })
}

fn truncated(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_LENGTH_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(truncated("short".into()), "short");
        assert_eq!(truncated("ü".repeat(400)).len(), REASON_LENGTH_MAX);
        assert_eq!(truncated(format!("x{}", "ü".repeat(400))).len(), REASON_LENGTH_MAX - 1);
    }
}
