//! Messages from Kafka. Polling, rebalances and offset commits all happen on the feed's thread, so nothing can change between the
//! check that a partition is assigned and the commit.

mod client_errors;
mod context;
mod offsets;
mod partitions;
mod reading;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use kit::backoff::Pauses;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;

use self::client_errors::{ClientErrors, ErrorAction};
use self::context::FeedContext;
use self::offsets::{Offsets, Position, Positions};
use self::partitions::{Holes, Settler};
use self::reading::SettlingResult;
use super::Intake;
use super::topic_watch::TopicId;
use crate::batch::{Batch, Content, ReceivedMessage};
use crate::config::Config;
use crate::health::HealthBoard;
use crate::kafka::{consumer_settings, headers};
use crate::message;
use crate::source::{self, SourceMessage};
use crate::traces::Origin;

/// Between two attempts to settle partitions.
const SETTLE_PAUSE: Duration = Duration::from_millis(250);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Why the client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum KafkaIntakeError {
    #[error("the Kafka client failed: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the offset to read is not in the topic; each partition is looked at again")]
    OffsetGone,
    #[error("nobody finds out any more from where partitions are to be read")]
    NotSettled,
    #[error("another topic is behind the name than the one that is read; each partition is looked at again")]
    AnotherTopic,
}

pub struct KafkaIntake {
    consumer: Arc<BaseConsumer<FeedContext>>,
    topic: String,
    /// The state of the assignment that was paused.
    paused_at_change: Option<u64>,
    /// How far the messages go that were taken and not handed over, and those that the actor has.
    gathered: Positions,
    in_hand: Positions,
    offsets: Offsets,
    /// `None` while it runs on its own thread; then `settling` has its result.
    settler: Option<Settler>,
    settling: Option<Receiver<SettlingResult>>,
    settle_again_at: Option<Instant>,
    settle_pauses: Pauses,
    topic_id: TopicId,
    holes: Holes,
    errors: ClientErrors,
    /// The error that was met while polling and ends the feed.
    ends_by: Option<KafkaIntakeError>,
}

impl KafkaIntake {
    pub fn new(
        config: &Config,
        health: HealthBoard,
        topic_id: TopicId,
        runtime: Handle,
    ) -> Result<Self, KafkaError> {
        let unusable = |error: anyhow::Error| KafkaError::ClientCreation(format!("{error:#}"));
        let cluster = config.topics.cluster().map_err(unusable)?;
        let context = FeedContext::new(&config.topics.orders_topic, cluster.clone(), health);
        let consumer: BaseConsumer<FeedContext> = consumer_settings(config)?.create_with_context(context)?;
        consumer.subscribe(&[&config.topics.orders_topic])?;
        Ok(Self {
            consumer: Arc::new(consumer),
            topic: config.topics.orders_topic.clone(),
            paused_at_change: None,
            gathered: Positions::default(),
            in_hand: Positions::default(),
            offsets: Offsets::default(),
            settler: Some(Settler::new(cluster, config, runtime)),
            settling: None,
            settle_again_at: None,
            settle_pauses: Pauses::new(SETTLE_PAUSE, SETTLE_PAUSE_MAX),
            topic_id,
            holes: Holes::default(),
            errors: ClientErrors::default(),
            ends_by: None,
        })
    }

    /// `None`: the partition was just revoked, so the message belongs to another process.
    fn read(&mut self, message: &BorrowedMessage<'_>) -> Option<ReceivedMessage> {
        let (partition, offset) = (message.partition(), message.offset());
        let epoch = self.consumer.context().assignment().epoch(partition)?;
        self.holes.pass(partition, offset);
        self.gathered.insert(partition, Position { epoch, next_offset: offset + 1 });
        let decoded = message::decode(message.payload());
        let header = |name: &str| headers::value(message.headers()?, name);
        Some(ReceivedMessage {
            bytes: message.payload_len() + message.key_len() + headers::bytes(message),
            origin: Origin::of(
                (partition, source::Position::Offset(offset)),
                message.key(),
                header,
                &decoded,
            ),
            content: Content::new(decoded, || SourceMessage::Kafka(message.detach())),
        })
    }

    fn note(&mut self, error: &KafkaError) {
        match self.errors.note(error, &self.topic) {
            ErrorAction::GoOn => {}
            ErrorAction::Fatal => self.ends_by = Some(error.clone().into()),
            ErrorAction::OffsetGone => self.ends_by = Some(KafkaIntakeError::OffsetGone),
        }
    }
}

impl Intake for KafkaIntake {
    type Error = KafkaIntakeError;

    fn attend(&mut self) -> Result<(), KafkaIntakeError> {
        if let Some(cause) = self.ends_by.take() {
            return Err(cause);
        }
        if self.topic_is_another_one() {
            return Err(KafkaIntakeError::AnotherTopic);
        }
        self.settle_partitions()?;
        self.offsets.commit_if_due(&self.consumer, &self.topic);
        Ok(())
    }

    /// Takes one message, serving Kafka's callbacks meanwhile.
    fn take(&mut self, wait: Duration, batch: &mut Batch) -> bool {
        let consumer = Arc::clone(&self.consumer);
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                if let Some(taken) = self.read(&message) {
                    batch.push(taken);
                }
            }
            Some(Err(error)) => self.note(&error),
            None => return false,
        }
        true
    }

    fn handed_over(&mut self) {
        self.in_hand = std::mem::take(&mut self.gathered);
    }

    fn credited(&mut self) {
        self.offsets.handled(std::mem::take(&mut self.in_hand));
    }

    fn pause(&mut self) {
        self.pause_assigned();
    }

    fn resume(&mut self) {
        self.resume_paused();
    }

    fn finish(&mut self) {
        self.offsets.commit_and_wait(&self.consumer, &self.topic);
        self.consumer.context().closing();
    }
}
