//! The dead-letter topic in Kafka.

use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tracing::warn;

use super::delivery::{Failure, SendOutcome};
use super::outbox::Letter;
use super::record::{self, Omissions, Record};

use crate::config::Topics;
use crate::kafka;

/// How long one attempt may take before it counts as failed.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

pub struct KafkaTopic {
    topics: Topics,
    topic: String,
    /// Made when the first letter is there: most processes never need it.
    producer: Option<FutureProducer>,
}

enum Sent {
    Delivered,
    Refused(KafkaError),
    Waits(KafkaError),
}

impl KafkaTopic {
    pub fn new(topics: &Topics) -> Self {
        Self { topics: topics.clone(), topic: topics.dead_letter_topic(), producer: None }
    }

    /// One outcome for each letter.
    pub async fn send(&mut self, letters: &[Letter]) -> Vec<SendOutcome> {
        let sent = self
            .send_all(letters)
            .await
            .unwrap_or_else(|error| letters.iter().map(|_| Sent::Waits(error.clone())).collect());
        sent.into_iter().map(SendOutcome::from).collect()
    }

    async fn send_all(&mut self, letters: &[Letter]) -> KafkaResult<Vec<Sent>> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect().await?,
        };
        let outcomes = join_all(letters.iter().map(|letter| self.send_one(&producer, letter))).await;
        let topic_is_missing = |outcome: &Sent| {
            let Sent::Waits(error) = outcome else { return false };
            matches!(
                error.rdkafka_error_code(),
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
            )
        };
        // A new producer makes the topic first.
        if !outcomes.iter().any(topic_is_missing) && producer.client().fatal_error().is_none() {
            self.producer = Some(producer);
        }
        Ok(outcomes)
    }

    /// The whole letter, or the first of its forms that the topic takes.
    async fn send_one(&self, producer: &FutureProducer, letter: &Letter) -> Sent {
        let mut refusal = None;
        for form in record::forms(letter) {
            let record = record::record(letter, form);
            match producer.send(to_kafka(&record, &self.topic), DELIVERY_TIMEOUT).await {
                Ok(_) => {
                    if refusal.is_some() {
                        report_reduced(letter, form);
                    }
                    return Sent::Delivered;
                }
                Err((error, _)) if is_of_the_letter(&error) => refusal = Some(error),
                Err((error, _)) => return Sent::Waits(error),
            }
        }
        // There is always a form.
        Sent::Refused(refusal.unwrap_or(KafkaError::Canceled))
    }

    async fn connect(&self) -> KafkaResult<FutureProducer> {
        self.create_topic().await?;
        let producer = kafka::client_settings(&self.topics)?
            .set("acks", "all")
            // A message of the orders topic must fit here too: the broker's limit decides, not the client's lower one.
            .set("message.max.bytes", "100000000")
            // Kafka refuses a batch as a whole: a letter that is too large must not cost others their values.
            .set("batch.num.messages", "1")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .create()?;
        Ok(producer)
    }

    /// Brokers may be told not to create topics by themselves.
    async fn create_topic(&self) -> KafkaResult<()> {
        let admin: AdminClient<DefaultClientContext> = kafka::client_settings(&self.topics)?.create()?;
        // -1: as many replicas as the broker's default says.
        let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(DELIVERY_TIMEOUT));
        for created in admin.create_topics([&topic], &options).await? {
            match created {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                // Perhaps it exists and only creating is forbidden: sending will tell.
                Err((topic, code)) => warn!(topic, %code, "The dead-letter topic could not be created"),
            }
        }
        Ok(())
    }
}

/// The broker has taken a look at the record and refuses it: the same record would be refused again.
fn is_of_the_letter(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::InvalidRecord
                | Code::PolicyViolation
        )
    )
}

/// Errors that do not go away by waiting.
fn needs_an_operator(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
    )
}

fn to_kafka<'a>(record: &'a Record<'_>, topic: &'a str) -> FutureRecord<'a, [u8], [u8]> {
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_deref() })
    });
    let mut sent = FutureRecord::to(topic).headers(headers);
    (sent.key, sent.payload) = (record.key, record.value);
    sent
}

impl From<Sent> for SendOutcome {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Delivered => Self::Delivered,
            Sent::Refused(error) => Self::Refused(error.to_string()),
            Sent::Waits(error) => {
                let code = error.rdkafka_error_code();
                let hint = code.and_then(kit::kafka::explain).unwrap_or_default();
                let needs_operator = code.is_some_and(needs_an_operator);
                Self::Waits(Failure { cause: error.to_string(), hint, needs_operator })
            }
        }
    }
}

fn report_reduced(letter: &Letter, left_out: Omissions) {
    let Letter { topic, partition, topic_offset: offset, entry_id: entry, .. } = letter;
    warn!(
        ?left_out,
        topic, partition, offset, entry, "A dead letter was too large for its topic and was reduced"
    );
}
