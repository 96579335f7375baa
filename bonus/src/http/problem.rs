//! What the bonus service's errors are to a client.

use kit::http::{Kind, Problem};
use kit::postgres::PoolError;
use uuid::Uuid;

use crate::error::LedgerError;

pub const ACCOUNT_NOT_FOUND: Kind = Kind::new(
    404,
    "account-not-found",
    "There is no such account",
    "Customer 5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10 has no bonus account: no event of theirs has been credited yet.",
);

pub fn account_not_found(customer_id: Uuid) -> Problem {
    let detail =
        format!("Customer {customer_id} has no bonus account: no event of theirs has been credited yet.");
    Problem::new(&ACCOUNT_NOT_FOUND, detail)
}

/// Requests are only reads, so trying again is always right.
impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        if matches!(error, LedgerError::Pool(PoolError::Closed)) {
            return Self::stopping();
        }
        tracing::warn!(%error, "A request could not be answered, Postgres failed");
        Self::database_unavailable()
    }
}
