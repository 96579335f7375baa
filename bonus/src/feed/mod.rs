//! The feed: a thread that takes messages from the queue, collects batches and passes them to the Consumer actor one at a time.
//!
//! The feed owns the queue's client ([`Intake`]). Taking, acknowledging and all that happens to the connection are on its thread,
//! so nothing can change between a check and what follows from it. The actor owns the effects. A message is acknowledged only
//! after the actor has answered that its batch is credited.
//!
//! The feed does not wait to fill a batch. While the actor has one, the next is collected, and passed on as soon as the actor is
//! free. So a single message is processed at once, and a backlog in full batches.
//!
//! While Postgres is down the actor keeps its batch and the next one fills up. Then nothing more is taken, and the client is kept
//! alive: its place in the group and its position stay.

mod connection;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
mod redis;
mod start;
mod topic_watch;

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::start::FeedParts;
pub use self::topic_watch::TopicId;
#[cfg(feature = "kafka")]
pub use self::topic_watch::watch as watch_topic;
use crate::batch::Batch;
use crate::consumer::{ActorEnd, Consumer};
use crate::error::Abandoned;

/// Longest wait for a message; also how late a stop is noticed.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// While the actor works, the feed waits for its answer for this long at a time, since only messages end a poll. Messages and
/// what else the client has to do are delayed by as much.
const BUSY_WAIT: Duration = Duration::from_millis(10);
/// How long a full batch waits for the actor before nothing more is taken. A pause discards prefetched messages, so a busy
/// actor should not cause one. Polling must go on well within the session's time.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// Longest that a stop waits for the batch in hand.
const STOP_BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// The queue's side of the feed. Every call comes from the feed's thread.
trait Intake {
    /// Why this client cannot go on. The Guardian then starts a fresh one.
    type Error: Error + Send + Sync + 'static;

    /// What is due besides messages. Called in each turn, so it must not wait for long.
    fn attend(&mut self) -> Result<(), Self::Error>;

    /// Adds messages to `batch`, and waits for the first at most this long. False: there was none.
    fn take(&mut self, wait: Duration, batch: &mut Batch) -> bool;

    /// All that was taken so far is with the actor.
    fn handed_over(&mut self);

    /// What was handed over has taken effect, and is acknowledged to the queue in time.
    fn credited(&mut self);

    /// Nothing is to be taken until [`Self::resume`], which may be called without a pause. `take` goes on being called, to keep
    /// the client alive.
    fn pause(&mut self);

    fn resume(&mut self);

    /// At the end: acknowledges what is left, and waits for the answer. What was not handed over comes again.
    fn finish(&mut self);
}

/// Why the feed ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the consumer actor is gone")]
    ActorGone,
    #[error("{0}")]
    Abandoned(#[from] Abandoned),
    #[error("{0}")]
    Queue(Box<dyn Error + Send + Sync>),
}

impl FeedError {
    fn of_queue(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Queue(Box::new(error))
    }
}

type Outcome = Result<(), FeedError>;

/// What every feed needs besides its queue.
struct LoopParts {
    batch_messages_max: usize,
    actor: Addr<Consumer>,
    actor_end: ActorEnd,
    stopping: watch::Receiver<bool>,
    runtime: Handle,
}

struct Feed<I> {
    intake: I,
    parts: LoopParts,
    outcomes: (Sender<Outcome>, Receiver<Outcome>),
    in_hand: bool,
    gathered: Batch,
    full_since: Option<Instant>,
}

impl<I: Intake> Feed<I> {
    fn new(intake: I, parts: LoopParts) -> Self {
        let (outcomes, gathered) = (channel(), Batch::default());
        Self { intake, parts, outcomes, in_hand: false, gathered, full_since: None }
    }

    /// Runs until told to stop (Ok) or until it cannot go on. The group is left when the feed is dropped.
    fn run(mut self) -> Result<(), FeedError> {
        loop {
            if *self.parts.stopping.borrow() {
                return self.finish();
            }
            if self.parts.actor_end.cause().is_some() {
                return Err(FeedError::ActorGone);
            }
            while let Ok(outcome) = self.outcomes.1.try_recv() {
                self.settle(outcome)?;
            }
            if let Err(cause) = self.intake.attend() {
                // As at a stop, so that no more than necessary comes again.
                self.finish()?;
                return Err(FeedError::of_queue(cause));
            }
            if !self.gathered.is_full(self.parts.batch_messages_max) {
                self.intake.resume();
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
        if self.intake.take(if idle { IDLE_POLL } else { Duration::ZERO }, &mut self.gathered) {
            return Ok(());
        }
        if self.in_hand {
            self.await_outcome(BUSY_WAIT)?;
        } else if !self.gathered.is_empty() {
            self.hand_over();
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.gathered);
        self.intake.handed_over();
        self.full_since = None;
        self.in_hand = true;
        let request = self.parts.actor.send(batch);
        let outcomes = self.outcomes.0.clone();
        self.parts.runtime.spawn(async move {
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
        outcome?;
        self.intake.credited();
        Ok(())
    }

    fn wait_with_full_hands(&mut self) -> Result<(), FeedError> {
        if self.await_outcome(IDLE_POLL)? {
            return Ok(());
        }
        if self.full_since.get_or_insert_with(Instant::now).elapsed() >= PAUSE_AFTER {
            self.intake.pause();
            // Keeps the client alive. A message that arrives before the pause takes effect is kept, beyond the bound.
            self.intake.take(Duration::ZERO, &mut self.gathered);
        }
        Ok(())
    }

    /// At a stop: finishes the actor's batch and acknowledges it. Messages that were only collected come again.
    fn finish(&mut self) -> Result<(), FeedError> {
        if self.in_hand {
            let outcome =
                self.outcomes.1.recv_timeout(STOP_BATCH_TIMEOUT).map_err(|_| FeedError::ActorGone)?;
            self.settle(outcome)?;
        }
        self.intake.finish();
        Ok(())
    }
}
