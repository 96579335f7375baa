//! The journal: every event of every aggregate, in one order. Event store and outbox in one insert-only table.
//!
//! # Adaptive group commit
//! Appends that arrive while a transaction is in flight are written together by the next one, so one fsync and one round trip serve
//! many commands. A single command does not wait. (The idea is old: DeWitt et al., 1984.)
//!
//! ```text
//! aggregate actors ──Append──> waiting ──batch──> append_aggregate_events() ──commit──> replies, then Committed
//! ```
//!
//! # Invariants
//! - All events of a command are in the table, or none. One command's conflict fails only that command.
//! - Positions have no gaps, and commit order is position order, across instances: after position n was read, no new row appears
//!   below n.
//! - A command is acknowledged after its commit, never before.
//! - The number of commands in the journal is bounded; one more is refused at once ([`AppendError::Busy`]).
//! - An event is appended only after its predecessor, and only if it was decided on in the present era ([`continuity`]).
//! - A command is answered within its time, which counts from its arrival. Waiting here is part of it.
//!
//! # When Postgres fails
//! The connection is dropped and the batch is sent once more on a fresh one. The database recognises by event and command id what
//! it has already written. If that fails too, [`kit::postgres::sqlstate`] tells what is known. Either nothing was written
//! ([`AppendError::Unavailable`]), or the outcome is unknown ([`AppendError::OutcomeUnknown`]): then the caller discards its state
//! and reloads. Commands that waited meanwhile were not sent, and are answered so at once. After a refusal the connection is kept,
//! and the batch's commands are written one by one, so that only the one at fault is refused.

mod actor;
mod append;
mod batch;
mod continuity;
mod health;
pub(crate) mod metadata;
mod read;
mod trace;
mod transaction;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use chrono::{DateTime, Utc};
use kit::postgres::Connector;
use kit::supervision::Child;
use opentelemetry::trace::SpanContext;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

pub use actor::JournalActor;
pub use continuity::JournalState;
pub use read::{ReadError, Reader, StoredEvent, UnreadableEvent};
pub use transaction::{Appender, NotAppended, OutboxEvent, Uncommitted};

use crate::aggregate::AggregateId;
use crate::names::Names;

/// Events of one command, to be written or refused together.
#[derive(Debug)]
pub struct Append {
    /// Distinguishes this attempt from any other with the same idempotency key.
    pub command_id: Uuid,
    pub aggregate_id: AggregateId,
    /// Empty if the command was refused and only its receipt is stored.
    pub events: Vec<NewEvent>,
    pub receipt: Option<NewReceipt>,
    /// [`Journal::era`] as it was before the state was loaded on which the command was decided.
    pub era: u64,
    /// The parent of the write's span.
    pub context: Option<SpanContext>,
    /// When the command's time is over, counted from its arrival. A command that has not been sent by then is not written.
    pub deadline: Instant,
}

#[derive(Debug)]
pub struct NewEvent {
    pub event_id: Uuid,
    pub version: i64,
    pub event_type: &'static str,
    pub payload: String,
    /// JSON.
    pub metadata: String,
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

/// The outcome of the command with this idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt<Rejection> {
    pub fingerprint: [u8; 32],
    pub aggregate_id: AggregateId,
    pub version: i64,
    pub refusal: Option<Refusal<Rejection>>,
}

/// Why a keyed command was refused, kept so that the same key gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal<Rejection> {
    #[error("{0}")]
    Rejected(Rejection),
    #[error("version {expected} was expected, and it is at version {actual}")]
    VersionMismatch { expected: i64, actual: i64 },
}

/// The events are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another instance, or an earlier life of the actor, wrote this version. Or the version before it does not exist, or was lost.
    /// Reload and decide again.
    #[error("the aggregate has moved on")]
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
    pub names: Names,
    pub connector: Connector,
    /// Most commands in one transaction.
    pub batch_commands_max: usize,
}

/// A handle of the journal. It bounds the number of commands, and stays valid across restarts of the actor.
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

    /// Changes when commits were lost or the database is another one. A state that was loaded before must not be decided on.
    pub fn era(&self) -> u64 {
        self.state.era()
    }

    /// Whether the last write failed, less than `memory` ago.
    pub fn has_failed_within(&self, memory: Duration) -> bool {
        self.state.writes.has_failed_within(memory)
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

/// Committed events, in position order, for the followers of the journal. Losing this message is harmless: followers read the
/// table.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Committed(pub Arc<[StoredEvent]>);

/// Called with every commit. A call must not block; a follower that is down or full misses the message.
pub type Follower = Box<dyn Fn(Committed) + Send + Sync>;
