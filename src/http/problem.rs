//! The problems of orders, and the problem for each error of a command or a read.

use engine::CommandError;
use engine::journal::{ReadError, Refusal};
use kit::http::{DATABASE_UNAVAILABLE, INTERNAL, Kind, Problem};

use crate::order::Rejection;

pub(super) const INVALID_IF_MATCH: Kind = Kind::unreadable(
    "invalid-if-match",
    "If-Match takes one ETag as it was answered, such as \"3\" with its quotes.",
);
pub(super) const INVALID_IDEMPOTENCY_KEY: Kind =
    Kind::unreadable("invalid-idempotency-key", "Idempotency-Key takes 1 to 255 visible ASCII characters.");
pub(super) const ORDER_NOT_FOUND: Kind =
    Kind::new(404, "order-not-found", "There is no such order", "Check the order's id.");
pub(super) const ILLEGAL_TRANSITION: Kind = Kind::new(
    409,
    "illegal-transition",
    "The order does not allow this",
    "Nothing was changed: the order is paid already.",
);
pub(super) const VERSION_MISMATCH: Kind = Kind::new(
    412,
    "version-mismatch",
    "The order is at another version",
    "If-Match asked for version 1, the order is at version 2; read the order again and decide anew.",
);
pub(super) const IDEMPOTENCY_KEY_REUSED: Kind = Kind::new(
    422,
    "idempotency-key-reused",
    "The Idempotency-Key was used before",
    "this Idempotency-Key was used for a different request; use a new key for a new request.",
);
/// Other orders are not concerned.
pub(super) const UNREADABLE_HISTORY: Kind = Kind::new(
    500,
    "unreadable-history",
    "The order's history cannot be read",
    "Nothing was changed: this version of the service does not know one of the order's events. \
     Send the request again to an instance of a newer version.",
);
pub(super) const BUSY: Kind = Kind::unavailable(
    "busy",
    "Nothing was written: the service is at its limit of commands in hand. Try again after a moment.",
    1,
);
pub(super) const OUTCOME_UNKNOWN: Kind = Kind::unavailable(
    "outcome-unknown",
    "the database's answer was lost; the command may or may not have been carried out. Read the order, or send the request \
     again with the same Idempotency-Key.",
    2,
);

pub(super) fn order_not_found() -> Problem {
    Problem::new(&ORDER_NOT_FOUND, ORDER_NOT_FOUND.example)
}

fn unreadable_history(cause: &str) -> Problem {
    tracing::error!(cause, "An order's history cannot be read");
    Problem::new(&UNREADABLE_HISTORY, UNREADABLE_HISTORY.example)
}

/// What a command's error is to its caller. (No `From`, here and below: both types are others'.)
pub(super) fn of_command(error: CommandError<Rejection>) -> Problem {
    let detail = error.to_string();
    match error {
        CommandError::NotFound => order_not_found(),
        CommandError::Refused(Refusal::Rejected(_)) => {
            Problem::new(&ILLEGAL_TRANSITION, format!("Nothing was changed: {detail}."))
        }
        CommandError::Refused(Refusal::VersionMismatch { expected, actual }) => Problem::new(
            &VERSION_MISMATCH,
            format!(
                "If-Match asked for version {expected}, the order is at version {actual}; read the order again and decide anew."
            ),
        ),
        CommandError::KeyReused => Problem::new(&IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_KEY_REUSED.example),
        CommandError::Contended { attempts } => Problem::new(
            &BUSY,
            format!(
                "Nothing was written: the order was changed by others at the same time, {attempts} times in a row. Try again after a \
                 moment."
            ),
        ),
        CommandError::Busy => {
            Problem::new(&BUSY, format!("Nothing was written: {detail}. Try again after a moment."))
        }
        CommandError::Unavailable(_) => {
            Problem::new(&DATABASE_UNAVAILABLE, format!("Nothing was written: {detail}. Try again."))
        }
        CommandError::OutcomeUnknown(_) => Problem::new(
            &OUTCOME_UNKNOWN,
            format!("{detail}. Read the order, or send the request again with the same Idempotency-Key."),
        ),
        CommandError::Unreadable(cause) => unreadable_history(&cause),
        CommandError::Broken(cause) => {
            tracing::error!(cause, "A command failed");
            Problem::new(
                &INTERNAL,
                format!("{detail}. Read the order, or send the request again with the same Idempotency-Key."),
            )
        }
    }
}

/// What a read's error is to its caller.
pub(super) fn of_read(error: ReadError) -> Problem {
    match error {
        ReadError::Unavailable(_) | ReadError::TimedOut(_) | ReadError::ReadOnly => {
            tracing::debug!(%error, "A read failed");
            Problem::database_unavailable()
        }
        ReadError::Stopping => Problem::stopping(),
        ReadError::Unreadable(_) => unreadable_history(&error.to_string()),
        ReadError::DamagedReceipt { .. } => {
            tracing::error!(%error, "The journal holds something unreadable");
            Problem::new(&INTERNAL, "The receipt of this Idempotency-Key cannot be read.")
        }
    }
}
