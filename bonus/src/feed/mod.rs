//! The feed: a thread that polls Kafka, collects batches and passes them to the Consumer actor one at a time.
//!
//! The feed owns the Kafka client. Polling, rebalances and offset commits all happen on its thread, so nothing can change between
//! the check that a partition is assigned and the commit. The actor owns the effects. Offsets move only after the actor has
//! answered that a batch is credited.
//!
//! The feed does not wait to fill a batch. While the actor has one, the next is collected, and passed on as soon as the actor is
//! free. So a single message is processed at once, and a backlog in full batches.
//!
//! While Postgres is down the actor keeps its batch and the next one fills up. Then the partitions are paused, and polling
//! continues without taking messages: rebalances are served, and group membership and position are kept.

mod reading;
mod start;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use actix::Addr;
use kit::backoff::Pauses;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::reading::SettlingResult;
pub use self::start::FeedParts;
use crate::batch::{Batch, Content, DeadLetter, Position, Positions, ReceivedMessage};
use crate::client_errors::{ClientErrors, ErrorAction};
use crate::consumer::{ActorEnd, Consumer};
use crate::error::Abandoned;
use crate::headers;
use crate::kafka::{self, FeedContext};
use crate::message::{self, Incoming};
use crate::offsets::Offsets;
use crate::partitions::{Holes, Settler, TopicId};
use crate::traces::Origin;

/// Longest wait for a message; also how late a stop is noticed.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// While the actor works, the feed waits for its answer for this long at a time, since only messages end a poll. Messages and
/// Kafka's callbacks are delayed by as much.
const BUSY_WAIT: Duration = Duration::from_millis(10);
/// How long a full batch waits for the actor before the partitions are paused. A pause discards prefetched messages, so a busy
/// actor should not cause one. Polling must go on well within the session's time.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// Longest that a stop waits for the batch in hand.
const STOP_BATCH_TIMEOUT: Duration = Duration::from_secs(12);
/// Between two attempts to settle partitions.
const SETTLE_PAUSE: Duration = Duration::from_millis(250);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Why the feed ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the consumer actor is gone")]
    ActorGone,
    #[error("{0}")]
    Abandoned(#[from] Abandoned),
    #[error("the Kafka client failed: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the offset to read is not in the topic; each partition is looked at again")]
    OffsetGone,
    #[error("nobody finds out any more from where partitions are to be read")]
    NotSettled,
    #[error("another topic is behind the name than the one that is read; each partition is looked at again")]
    AnotherTopic,
}

type Outcome = Result<Positions, FeedError>;

pub struct Feed {
    consumer: Arc<BaseConsumer<FeedContext>>,
    topic: String,
    batch_messages_max: usize,
    actor: Addr<Consumer>,
    actor_end: ActorEnd,
    stopping: watch::Receiver<bool>,
    runtime: Handle,
    outcomes: (Sender<Outcome>, Receiver<Outcome>),
    in_hand: bool,
    gathered: Batch,
    full_since: Option<Instant>,
    /// The state of the assignment that was paused.
    paused_at_change: Option<u64>,
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
    ends_by: Option<FeedError>,
}

impl Feed {
    fn new(parts: FeedParts, actor: Addr<Consumer>, actor_end: ActorEnd) -> Result<Self, FeedError> {
        let FeedParts { config, health, stopping, topic_id, runtime } = parts;
        let config = &*config;
        let feed_runtime = runtime.clone();
        let context = FeedContext::new(&config.topics.orders_topic, health);
        let consumer: BaseConsumer<FeedContext> =
            kafka::consumer_settings(config).create_with_context(context)?;
        consumer.subscribe(&[&config.topics.orders_topic])?;
        Ok(Self {
            consumer: Arc::new(consumer),
            topic: config.topics.orders_topic.clone(),
            batch_messages_max: config.batch_messages_max(),
            actor,
            actor_end,
            stopping,
            runtime,
            outcomes: channel(),
            in_hand: false,
            gathered: Batch::default(),
            full_since: None,
            paused_at_change: None,
            offsets: Offsets::default(),
            settler: Some(Settler::new(config, feed_runtime)),
            settling: None,
            settle_again_at: None,
            settle_pauses: Pauses::new(SETTLE_PAUSE, SETTLE_PAUSE_MAX),
            topic_id,
            holes: Holes::default(),
            errors: ClientErrors::default(),
            ends_by: None,
        })
    }

    /// Runs until told to stop (Ok) or until it cannot go on. The group is left when the feed is dropped.
    fn run(mut self) -> Result<(), FeedError> {
        loop {
            if *self.stopping.borrow() {
                return self.finish();
            }
            if self.actor_end.cause().is_some() {
                return Err(FeedError::ActorGone);
            }
            if let Some(cause) = self.ends_by.take() {
                return self.leave(cause);
            }
            if self.topic_is_another_one() {
                return self.leave(FeedError::AnotherTopic);
            }
            self.settle_partitions()?;
            while let Ok(outcome) = self.outcomes.1.try_recv() {
                self.settle(outcome)?;
            }
            self.offsets.commit_if_due(&self.consumer, &self.topic);
            if !self.gathered.is_full(self.batch_messages_max) {
                self.resume();
                self.gather()?;
            } else if self.in_hand {
                self.wait_with_full_hands()?;
            } else {
                self.hand_over();
            }
        }
    }

    fn gather(&mut self) -> Result<(), FeedError> {
        let idle = !self.in_hand && self.gathered.is_empty();
        if self.take_one(if idle { IDLE_POLL } else { Duration::ZERO }) {
            return Ok(());
        }
        if self.in_hand {
            self.await_outcome(BUSY_WAIT)?;
        } else if !self.gathered.is_empty() {
            self.hand_over();
        }
        Ok(())
    }

    /// Takes one message, serving Kafka's callbacks meanwhile. False: there was none.
    fn take_one(&mut self, wait: Duration) -> bool {
        let (context, holes) = (self.consumer.context(), &mut self.holes);
        let polled = self.consumer.poll(wait);
        let polled = polled.map(|polled| polled.map(|message| Self::read(context, holes, &message)));
        match polled {
            Some(Ok(Some(taken))) => self.gathered.push(taken),
            Some(Ok(None)) => {}
            Some(Err(error)) => self.note(&error),
            None => return false,
        }
        true
    }

    /// `None`: the partition was just revoked, so the message belongs to another process.
    fn read(
        context: &FeedContext,
        holes: &mut Holes,
        message: &BorrowedMessage<'_>,
    ) -> Option<ReceivedMessage> {
        let partition = message.partition();
        let epoch = context.assignment().epoch(partition)?;
        holes.pass(partition, message.offset());
        let content = message::decode(message.payload());
        Some(ReceivedMessage {
            partition,
            position: Position { epoch, next_offset: message.offset() + 1 },
            bytes: message.payload_len() + message.key_len() + headers::bytes(message),
            origin: Origin::of(message, &content),
            content: match content {
                Ok(Incoming::Valued(event)) => Content::Valued(event, message.detach()),
                Ok(Incoming::Ignored(ignored)) => Content::Ignored(ignored),
                Err(reason) => {
                    Content::Unreadable(DeadLetter { message: message.detach(), reason: reason.into() })
                }
            },
        })
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.gathered);
        self.full_since = None;
        self.in_hand = true;
        let request = self.actor.send(batch);
        let outcomes = self.outcomes.0.clone();
        self.runtime.spawn(async move {
            let outcome = match request.await {
                Ok(answer) => answer.map_err(FeedError::from),
                Err(_closed) => Err(FeedError::ActorGone),
            };
            // If the feed has ended meanwhile, nobody receives it, and the batch comes again.
            let _ = outcomes.send(outcome);
        });
    }

    /// False: there is none yet.
    fn await_outcome(&mut self, patience: Duration) -> Result<bool, FeedError> {
        match self.outcomes.1.recv_timeout(patience) {
            Ok(outcome) => self.settle(outcome).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn settle(&mut self, outcome: Outcome) -> Result<(), FeedError> {
        self.in_hand = false;
        self.offsets.handled(outcome?);
        Ok(())
    }

    fn wait_with_full_hands(&mut self) -> Result<(), FeedError> {
        if self.await_outcome(IDLE_POLL)? {
            return Ok(());
        }
        if self.full_since.get_or_insert_with(Instant::now).elapsed() >= PAUSE_AFTER {
            self.pause();
            // Serves callbacks. A message that arrives before the pause takes effect is kept, beyond the bound.
            self.take_one(Duration::ZERO);
        }
        Ok(())
    }

    fn note(&mut self, error: &KafkaError) {
        match self.errors.note(error, &self.topic) {
            ErrorAction::GoOn => {}
            ErrorAction::Fatal => self.ends_by = Some(error.clone().into()),
            ErrorAction::OffsetGone => self.ends_by = Some(FeedError::OffsetGone),
        }
    }

    /// After an error: ends as at a stop, so that no more than necessary comes again.
    fn leave(&mut self, cause: FeedError) -> Result<(), FeedError> {
        self.finish()?;
        Err(cause)
    }

    /// At a stop: finishes the actor's batch and commits its offsets. Messages that were only collected come again.
    fn finish(&mut self) -> Result<(), FeedError> {
        if self.in_hand {
            let outcome =
                self.outcomes.1.recv_timeout(STOP_BATCH_TIMEOUT).map_err(|_| FeedError::ActorGone)?;
            self.settle(outcome)?;
        }
        self.offsets.commit_and_wait(&self.consumer, &self.topic);
        self.consumer.context().closing();
        Ok(())
    }
}
