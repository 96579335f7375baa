//! The errors of the service, and how each of them is handled.

use std::time::Duration;

use chrono::{DateTime, Utc};
use engine::journal::NotAppended;
use engine::migration::ApplyError;
use kit::postgres::{ConnectError, Meaning, PoolError, meaning};
use uuid::Uuid;

/// A message that breaks the contract. It goes to the dead-letter topic with this text as the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("the message has no value")]
    NoValue,
    #[error("the value is not a JSON object")]
    NotAnObject,
    #[error("the value does not hold an event: {0}")]
    Json(String),
    #[error("version must be 1 or more, was {0}")]
    Version(i64),
    #[error("occurred_at must lie in the years 1 to 9999, was {0}")]
    OccurredAt(DateTime<Utc>),
}

/// Why a message goes to the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterReason {
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    /// Not a repetition, which would have the same event id: two histories of one order have reached the topic.
    #[error(
        "a fork: order {order_id} has another event at version {version}: {booked} is booked, {event_id} is not"
    )]
    Forked { order_id: Uuid, version: i64, event_id: Uuid, booked: Uuid },
    /// For example by a constraint that an operator has added.
    #[error("the ledger refuses the event: {0}")]
    RefusedByLedger(String),
}

/// The ledger could not be written or read. The transaction was rolled back, or its outcome is unknown. In both cases the same
/// batch is tried again; rows that were written after all are recognised by their event ids.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("Postgres: {0}")]
    Connect(#[from] ConnectError),
    #[error("Postgres: {0}")]
    Pool(#[from] PoolError),
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    /// Not the values' fault, whatever it is: they come from accounts that are booked.
    #[error("Postgres: {0}")]
    Outbox(#[from] NotAppended),
    /// Of a later version of the service. Nothing is credited and no grade told by rules that are not known.
    #[error("policy {0} is not known to this version: run a newer one")]
    UnknownPolicy(i16),
    #[error("Postgres: the schema could not be brought up to date: {0}")]
    Migration(#[from] ApplyError),
    /// Does not go away by waiting.
    #[error(
        "the schema {schema} (BONUS_DB_SCHEMA) is missing, and the role may not make it: it needs CREATE on the database, or a \
         schema that it owns; or run `bonus migrate` as a role that may"
    )]
    MayNotCreate { schema: String },
    /// Does not go away by waiting.
    #[error(
        "a pooler between here and Postgres lends sessions a transaction at a time (pool_mode = transaction, say). The publisher's lease \
         needs a session of its own: lead DATABASE_URL around it, or set pool_mode = session"
    )]
    SharedSessions,
    #[error("Postgres did not answer within {0:?}")]
    Timeout(Duration),
}

impl LedgerError {
    /// The values are at fault: the same statement would be refused again.
    pub fn is_of_the_values(&self) -> bool {
        matches!(self, Self::Postgres(error) if meaning(error) == Meaning::Refused)
    }
}

/// The service was told to stop while a batch could not be finished. Its offsets stay where they were, so it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped before the batch was finished")]
pub struct Abandoned;
