//! Sends the letters that are stored in Postgres to the dead-letter topic.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kit::postgres::Pool;
use kit::supervision::Lifeline;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, Producer as _};
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use super::outbox::{self, Letter, LetterOutcome};
use super::record;
use crate::config::Config;
use crate::error::DeadLetterError;
use crate::kafka;
use crate::telemetry::metric;

/// How long one attempt may take before it counts as failed.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often letters are looked for without a wake-up: those that are due again, or were stored by another process.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After a failure of Postgres.
const PAUSE: Duration = Duration::from_secs(2);

/// Tells the sender that a letter is there.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

pub struct Sender {
    settings: ClientConfig,
    topic: String,
    pool: Pool,
    wake: Wake,
    /// Made when the first letter is there: most processes never need it.
    producer: Option<FutureProducer>,
}

/// The outcome of sending a letter.
enum SendOutcome {
    Delivered,
    /// Too large, in every form.
    Refused(KafkaError),
    Waits(KafkaError),
}

impl Sender {
    pub fn new(config: &Config, pool: Pool, wake: Wake) -> Self {
        let settings = kafka::client_settings(&config.topics);
        Self { settings, topic: config.topics.dead_letter_topic(), pool, wake, producer: None }
    }

    /// Until `stopping`; letters that are left stay in Postgres.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>, lifeline: Lifeline) {
        let wake = self.wake.clone();
        tokio::select! {
            () = async {
                loop {
                    if let Err(error) = self.send_what_is_due(&lifeline).await {
                        lifeline.vitals().failed(error.to_string());
                        warn!(%error, "Dead letters could not be sent, trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                    tokio::select! {
                        () = wake.0.notified() => {}
                        () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    }
                }
            } => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    async fn send_what_is_due(&mut self, lifeline: &Lifeline) -> Result<(), DeadLetterError> {
        loop {
            let letters = outbox::claim(&self.pool).await?;
            if letters.is_empty() {
                let counts = outbox::count(&self.pool).await?;
                metric::letters(counts.waiting, counts.refused);
                lifeline.vitals().detail("waiting", counts.waiting);
                lifeline.vitals().detail("refused", counts.refused);
                return Ok(());
            }
            let _handling = lifeline.handling();
            let outcomes = self
                .send(&letters)
                .await
                .unwrap_or_else(|error| letters.iter().map(|_| SendOutcome::Waits(error.clone())).collect());
            self.report_what_waits(&outcomes);
            for (letter, outcome) in letters.iter().zip(outcomes) {
                let outcome = match outcome {
                    SendOutcome::Delivered => LetterOutcome::Delivered,
                    SendOutcome::Waits(_) => LetterOutcome::Waits,
                    SendOutcome::Refused(refusal) => {
                        report_refusal(letter, &refusal);
                        LetterOutcome::Refused(refusal.to_string())
                    }
                };
                outbox::settle(&self.pool, letter.letter_no, outcome).await?;
            }
        }
    }

    /// One line for all of them: they wait for the same topic.
    fn report_what_waits(&self, outcomes: &[SendOutcome]) {
        let causes = || {
            outcomes.iter().filter_map(|outcome| match outcome {
                SendOutcome::Waits(cause) => Some(cause),
                _ => None,
            })
        };
        let (letters, Some(cause)) = (causes().count(), causes().next()) else { return };
        let code = cause.rdkafka_error_code();
        let hint = code.and_then(kit::kafka::explain).unwrap_or_default();
        if code.is_some_and(needs_an_operator) {
            error!(%cause, hint, letters, topic = self.topic, "The dead-letter topic takes no letters; they wait in the table dead_letter");
        } else {
            warn!(%cause, hint, letters, topic = self.topic, "Dead letters were not acknowledged; they are sent again");
        }
    }

    async fn send(&mut self, letters: &[Letter]) -> KafkaResult<Vec<SendOutcome>> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect().await?,
        };
        let outcomes = join_all(letters.iter().map(|letter| self.send_one(&producer, letter))).await;
        let topic_is_missing = |outcome: &SendOutcome| {
            let SendOutcome::Waits(error) = outcome else { return false };
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
    async fn send_one(&self, producer: &FutureProducer, letter: &Letter) -> SendOutcome {
        let mut refusal = None;
        for form in record::forms(letter) {
            let record = record::record(letter, &self.topic, form);
            match producer.send(record, DELIVERY_TIMEOUT).await {
                Ok(_) => {
                    if refusal.is_some() {
                        let Letter { topic, partition, topic_offset: offset, .. } = letter;
                        warn!(left_out = ?form, topic, partition, offset, "A dead letter was too large for its topic and was reduced");
                    }
                    return SendOutcome::Delivered;
                }
                Err((error, _)) if is_of_the_letter(&error) => refusal = Some(error),
                Err((error, _)) => return SendOutcome::Waits(error),
            }
        }
        // There is always a form.
        SendOutcome::Refused(refusal.unwrap_or(KafkaError::Canceled))
    }

    async fn connect(&self) -> KafkaResult<FutureProducer> {
        self.create_topic().await?;
        let producer = self
            .settings
            .clone()
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
        let admin: AdminClient<DefaultClientContext> = self.settings.create()?;
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

fn report_refusal(letter: &Letter, refusal: &KafkaError) {
    metric::dead_letter_given_up();
    let Letter { topic, partition, topic_offset: offset, reason, .. } = letter;
    error!(
        %refusal,
        topic,
        partition,
        offset,
        reason,
        "The dead-letter topic takes a letter in no form; it stays in the table dead_letter"
    );
}
