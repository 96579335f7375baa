//! A command on its way to its aggregate, and why it did not succeed.
//!
//! Refused by a rule or by a precondition: the caller is told which. Lost a race or met a fault: the caller is told
//! whether anything may have been written and when to try again.

use std::fmt;
use std::sync::Arc;

use actix::Message;
use opentelemetry::trace::SpanContext;

use crate::aggregate::{Aggregate, AggregateId, Current};
use crate::journal::{AppendError, ReadError, Refusal};

/// A command on its way to its aggregate.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome<A>, CommandError<A::Rejection>>")]
pub struct Perform<A: Aggregate> {
    pub aggregate_id: AggregateId,
    pub command: A::Command,
    /// The version that the caller has seen, if it decides on that alone.
    pub expected_version: Option<i64>,
    pub key: Option<IdempotencyKey>,
    pub trace: Trace,
    pub visibility: Visibility<A>,
}

impl<A: Aggregate> Perform<A> {
    /// Without precondition, key and trace.
    pub fn new(aggregate_id: AggregateId, command: A::Command) -> Self {
        let (expected_version, key, trace) = (None, None, Trace::default());
        Self { aggregate_id, command, expected_version, key, trace, visibility: Visibility::all() }
    }
}

/// Which aggregates a caller may know of, by their state. For any other one the answer is [`NotFound`](CommandError::NotFound): before
/// anything else of the command is looked at, and after the same read as for an aggregate that is not there.
///
/// What is asked of the state must be fixed by the aggregate's first event, as its owner is.
pub struct Visibility<A>(Option<Arc<Predicate<A>>>);

type Predicate<A> = dyn Fn(&A) -> bool + Send + Sync;

impl<A> Visibility<A> {
    pub fn all() -> Self {
        Self(None)
    }

    pub fn of(predicate: impl Fn(&A) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(predicate)))
    }

    pub(crate) fn includes(&self, state: &A) -> bool {
        self.0.as_ref().is_none_or(|predicate| predicate(state))
    }
}

impl<A> Clone for Visibility<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A> fmt::Debug for Visibility<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "some" } else { "all" })
    }
}

/// Under the same key a command is carried out once, and always answered as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// 1 to 255 characters.
    pub key: String,
    /// SHA-256 of what is asked under the key.
    pub fingerprint: [u8; 32],
}

/// Where a command came from, carried through the event's metadata to the message's headers.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    pub correlation_id: String,
    /// W3C trace context: what the command's spans are made below, or the caller's own.
    pub context: Option<SpanContext>,
}

/// The command was carried out, now or when its key was first used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<A> {
    pub current: Current<A>,
    pub replayed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError<Rejection> {
    /// There is nothing under this id. Nothing was written.
    #[error("there is nothing under this id")]
    NotFound,
    /// A rule, or the caller's expected version, said no. Repeating changes nothing until the aggregate changes.
    #[error(transparent)]
    Refused(Refusal<Rejection>),
    /// The idempotency key belongs to another command. Use a new key.
    #[error("the idempotency key was used for another command")]
    KeyReused,
    /// Other writers won every time. Nothing was written; try again.
    #[error("it was changed by others at the same time, {attempts} times in a row")]
    Contended { attempts: u32 },
    /// The service is at its bound. Nothing was written; try again after a moment.
    #[error("the service is at its limit of commands in hand")]
    Busy,
    /// The database cannot be reached. Nothing was written; try again later.
    #[error("the database cannot be reached")]
    Unavailable(String),
    /// The database's answer was lost: the command may or may not have been carried out. Read the aggregate, or repeat with the same
    /// key.
    #[error("the database's answer was lost; the command may or may not have been carried out")]
    OutcomeUnknown(String),
    /// There is an event that this version of the service cannot read. Nothing was written; an instance of a newer version may.
    #[error("the history cannot be read by this version of the service")]
    Unreadable(String),
    /// A fault of the service itself, such as an actor that panicked with this command in hand.
    #[error("the service failed while it handled this command")]
    Broken(String),
}

impl<R> CommandError<R> {
    /// The outcome's name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Refused(Refusal::Rejected(_)) => "rejected",
            Self::Refused(Refusal::VersionMismatch { .. }) => "precondition_failed",
            Self::KeyReused => "key_reused",
            Self::Contended { .. } => "contended",
            Self::Busy => "busy",
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Unreadable(_) => "unreadable",
            Self::Broken(_) => "broken",
        }
    }
}

impl<R> From<ReadError> for CommandError<R> {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_)
            | ReadError::TimedOut(_)
            | ReadError::Stopping
            | ReadError::ReadOnly => Self::Unavailable(error.to_string()),
            ReadError::Unreadable(_) => Self::Unreadable(error.to_string()),
            ReadError::DamagedReceipt { .. } => Self::Broken(error.to_string()),
        }
    }
}

impl<R> From<AppendError> for CommandError<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::Busy,
            AppendError::Unavailable(reason) => Self::Unavailable(reason),
            AppendError::OutcomeUnknown(reason) => Self::OutcomeUnknown(reason),
            AppendError::Refused(reason) => Self::Broken(reason),
            AppendError::VersionConflict => Self::Contended { attempts: 1 },
            AppendError::KeyUsed => Self::KeyReused,
        }
    }
}
