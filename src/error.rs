//! Why a command did not succeed, and what that means to the caller.
//!
//! Refused by a rule or by a precondition: the caller is told which. Lost a race or met a fault: the caller is told
//! whether anything may have been written and when to try again.

use crate::journal::{AppendError, ReadError, Refusal};
use crate::order::Rejection;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no order of this id. Nothing was written.
    #[error("there is no such order")]
    NotFound,
    /// A rule of the life cycle, or the caller's `If-Match`, said no. Repeating changes nothing until the order changes.
    #[error("{}", refusal_text(.0))]
    Refused(Refusal),
    /// The idempotency key belongs to another request. Use a new key.
    #[error("this Idempotency-Key was used for a different request")]
    KeyReused,
    /// Other writers won every time. Nothing was written; try again.
    #[error("the order was changed by others at the same time, {attempts} times in a row")]
    Contended { attempts: u32 },
    /// The service is at its bound. Nothing was written; try again after a moment.
    #[error("the service is at its limit of commands in hand")]
    Busy,
    /// The database cannot be reached. Nothing was written; try again later.
    #[error("the database cannot be reached")]
    Unavailable(String),
    /// The database's answer was lost: the command may or may not have been carried out. Read the order, or repeat with the same
    /// Idempotency-Key.
    #[error("the database's answer was lost; the command may or may not have been carried out")]
    OutcomeUnknown(String),
    /// The order has an event that this version of the service cannot read. Nothing was written; an instance of a newer version may.
    #[error("the order's history cannot be read by this version of the service")]
    Unreadable(String),
    /// A fault of the service itself, such as an actor that panicked with this command in hand.
    #[error("the service failed while it handled this command")]
    Broken(String),
}

fn refusal_text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Rejected(rejection) => rejection.to_string(),
        Refusal::VersionMismatch { expected, actual } => {
            format!("If-Match asked for version {expected}, the order is at version {actual}")
        }
    }
}

impl CommandError {
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

impl From<Rejection> for CommandError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(Refusal::Rejected(rejection))
    }
}

impl From<ReadError> for CommandError {
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

impl From<AppendError> for CommandError {
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
