//! The journal: every event of every order, in one order. Event store and outbox in one insert-only table.
//!
//! # Adaptive group commit
//! Appends that arrive while a transaction is in flight are written together by the next one, so that one fsync
//! and one round trip carry many commands. A lone command waits for nobody. (The idea is old: DeWitt et al., 1984.)
//!
//! ```text
//! order actors ──Append──> waiting ──batch──> append_order_events() ──commit──> replies, then Committed
//! ```
//!
//! # Invariants
//! - All events of a command are in the table, or none. One command's conflict fails only that command.
//! - Positions have no gaps, and commit order is position order, across instances: whoever has read position n will
//!   never later find a new row below n.
//! - A command is acknowledged after its commit, never before.
//! - The number of commands inside is bounded; one more is refused at once ([`AppendError::Busy`]).
//! - An event is appended behind its predecessor only, and only if it was decided on since the database was last seen to be
//!   another one than before ([`continuity`]).
//!
//! # When Postgres fails
//! Nothing was sent: [`AppendError::Unavailable`]. The connection broke, or the answer did not come in time: the batch is sent
//! once more on a fresh connection, where the database recognises what it has already written by event and command id.
//! If that fails too the outcome is unknown ([`AppendError::OutcomeUnknown`]): the caller forgets its state and reloads.

mod append;
mod continuity;
mod read;
mod trace;
pub mod wire;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use opentelemetry::trace::SpanContext;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uuid::Uuid;

pub use continuity::JournalState;
pub use read::{ReadError, Reader, StoredEvent};

use crate::order::{OrderId, Rejection};
use crate::supervision::{Child, Crash, Lifeline};
use crate::telemetry::metric;

/// Events of one command, to be written or refused together.
#[derive(Debug)]
pub struct Append {
    /// Tells this attempt from any other with the same idempotency key.
    pub command_id: Uuid,
    pub order_id: OrderId,
    /// Empty when the command was refused and only its receipt is to be kept.
    pub events: Vec<NewEvent>,
    /// JSON, the same for all events of the command.
    pub metadata: String,
    pub receipt: Option<NewReceipt>,
    /// [`Journal::era`] as it was before the state was loaded that was decided on.
    pub era: u64,
    /// What the write's span is made below.
    pub context: Option<SpanContext>,
}

#[derive(Debug)]
pub struct NewEvent {
    pub event_id: Uuid,
    pub version: i64,
    pub event_type: &'static str,
    pub payload: String,
    pub occurred_at: DateTime<Utc>,
}

#[derive(Debug)]
pub struct NewReceipt {
    pub key: String,
    pub fingerprint: [u8; 32],
    pub version: i64,
    /// A [`Refusal`] as JSON.
    pub refusal: Option<String>,
}

/// What a command with this idempotency key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub fingerprint: [u8; 32],
    pub order_id: OrderId,
    pub version: i64,
    pub refusal: Option<Refusal>,
}

/// Why a keyed command was refused, kept so that the same key gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    Rejected(Rejection),
    VersionMismatch { expected: i64, actual: i64 },
}

/// The events are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another instance, or an earlier life of the actor, wrote this version; or the version before it is not there, or not any more.
    /// Reload and decide again.
    #[error("the order has moved on")]
    VersionConflict,
    /// The idempotency key has a receipt already. Read it and answer with it.
    #[error("the idempotency key was used before")]
    KeyUsed,
    /// The journal is full. Nothing was written; try again after a moment.
    #[error("too many commands are waiting to be written")]
    Busy,
    /// Postgres cannot be reached. Nothing was written.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The answer was lost. The events may be there or not: reload before deciding anything else.
    #[error("the database's answer was lost: {0}")]
    OutcomeUnknown(String),
    /// The database refused this command's rows. Nothing was written; it would refuse them again.
    #[error("the database refused the events: {0}")]
    Refused(String),
}

/// What the journal needs to run.
#[derive(Clone)]
pub struct JournalSettings {
    pub connect: PgConnectOptions,
    /// Most commands in one transaction.
    pub batch_commands_max: usize,
    /// Longest wait for the database before a write counts as lost.
    pub write_timeout: Duration,
}

/// How the journal is reached: bounded, and the same across restarts of the actor.
#[derive(Clone)]
pub struct Journal {
    child: Child<JournalActor>,
    room: Arc<Semaphore>,
    commands_max: usize,
    state: Arc<JournalState>,
}

impl Journal {
    /// `commands_max`: most commands waiting or being written at any time.
    pub fn new(child: Child<JournalActor>, commands_max: usize, state: Arc<JournalState>) -> Self {
        Self { child, room: Arc::new(Semaphore::new(commands_max)), commands_max, state }
    }

    /// Changes when commits were lost or the database is another one: what was loaded before is not to be decided on.
    pub fn era(&self) -> u64 {
        self.state.era()
    }

    /// How many commands are waiting or being written now.
    pub fn commands(&self) -> usize {
        self.commands_max - self.room.available_permits()
    }

    /// Returns once the events are committed, or refused.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return Err(AppendError::Busy);
        };
        let answer = self.child.ask(Write { append, _permit: permit }).await;
        // The actor's mailbox closed under the command: it may have died before or after the commit.
        answer.unwrap_or_else(|_| Err(AppendError::OutcomeUnknown("the journal was restarted".into())))
    }
}

#[derive(Message)]
#[rtype(result = "Result<Appended, AppendError>")]
struct Write {
    append: Append,
    _permit: OwnedSemaphorePermit,
}

/// Committed events, in position order, told to whoever follows the journal. Loss is harmless: followers read the table.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Committed(pub Arc<[StoredEvent]>);

/// Who is told of commits. A call must not block; a follower that is down or full is passed over.
pub type Followers = Arc<[Box<dyn Fn(Committed) + Send + Sync>]>;

struct Pending {
    write: Write,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub struct JournalActor {
    settings: JournalSettings,
    state: Arc<JournalState>,
    followers: Followers,
    lifeline: Lifeline,
    connection: Option<PgConnection>,
    waiting: VecDeque<Pending>,
    writing: bool,
}

impl JournalActor {
    pub fn new(
        settings: JournalSettings,
        state: Arc<JournalState>,
        followers: Followers,
        lifeline: Lifeline,
    ) -> Self {
        let (connection, waiting) = (None, VecDeque::new());
        Self { settings, state, followers, lifeline, connection, waiting, writing: false }
    }

    /// Starts the next transaction if none is in flight and something waits.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.writing || self.waiting.is_empty() {
            return;
        }
        let waiting = self.waiting.iter().map(|pending| &pending.write.append);
        let count = append::next_batch(waiting, self.settings.batch_commands_max);
        let batch: Vec<Pending> = self.waiting.drain(..count).collect();
        self.writing = true;
        let attempt =
            write::write_batch(self.connection.take(), self.settings.clone(), batch, Arc::clone(&self.state));
        ctx.spawn(attempt.into_actor(self).map(|(connection, events), actor, ctx| {
            actor.connection = connection;
            actor.writing = false;
            actor.announce(events);
            actor.pump(ctx);
        }));
    }

    fn announce(&self, events: Vec<StoredEvent>) {
        let Some(last) = events.last() else { return };
        metric::appended(events.len());
        self.state.head.fetch_max(last.seq, Ordering::AcqRel);
        let committed = Committed(events.into());
        for follower in self.followers.iter() {
            follower(committed.clone());
        }
    }
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Never the bound that callers meet: Journal::append refuses first.
        ctx.set_mailbox_capacity(Semaphore::MAX_PERMITS.min(1 << 20));
    }
}

impl Handler<Write> for JournalActor {
    type Result = ResponseFuture<Result<Appended, AppendError>>;

    fn handle(&mut self, write: Write, ctx: &mut Self::Context) -> Self::Result {
        let handling = self.lifeline.handling();
        let (reply, answer) = oneshot::channel();
        self.waiting.push_back(Pending { write, reply });
        self.pump(ctx);
        Box::pin(async move {
            let answer = answer.await;
            drop(handling);
            answer.unwrap_or_else(|_| Err(AppendError::OutcomeUnknown("the journal was restarted".into())))
        })
    }
}

impl Handler<Crash> for JournalActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
