//! Detects a pooler that gives a client another server session for each transaction, as PgBouncer does with `pool_mode =
//! transaction`.
//!
//! Behind such a pooler a session-level advisory lock passes to the next user of the session, `LISTEN` gets no notifications, and
//! pinned settings are dropped or refused. A pooler that gives each client its own session does no harm.

use sqlx::{Connection as _, PgConnection, Row};
use tokio::time::timeout;

use super::session::{ConnectError, Connector};

/// The server's processes behind two connections of this client.
#[derive(Debug, Clone, Copy)]
struct Backends {
    /// Of the first connection.
    first: i32,
    /// Of the second one, in a transaction that is still open.
    second: i32,
    /// Of the first one, while that transaction is open.
    first_again: i32,
}

impl Backends {
    /// A session that is not shared has one server process from beginning to end.
    fn are_shared(self) -> bool {
        self.first != self.first_again || self.second == self.first || self.second == self.first_again
    }
}

/// Opens two connections, and closes them again.
pub async fn shares_sessions(connector: &Connector) -> Result<bool, ConnectError> {
    let opened = timeout(connector.limit(), look(connector)).await;
    match opened.unwrap_or(Err(ConnectError::TimedOut(connector.limit()))) {
        Err(ConnectError::Postgres(error)) if refuses_settings(&error.to_string()) => Ok(true),
        backends => Ok(backends?.are_shared()),
    }
}

/// A server takes the settings of the startup message; PgBouncer refuses them unless it is told to drop them.
fn refuses_settings(error: &str) -> bool {
    error.contains("unsupported startup parameter")
}

async fn look(connector: &Connector) -> Result<Backends, ConnectError> {
    let (mut one, mut other) = (connector.connect().await?, connector.connect().await?);
    let first = backend(&mut one).await?;
    sqlx::raw_sql("BEGIN").execute(&mut other).await?;
    let second = backend(&mut other).await?;
    let first_again = backend(&mut one).await?;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
    one.close().await?;
    other.close().await?;
    Ok(Backends { first, second, first_again })
}

/// Not prepared: a prepared statement belongs to the session that such a pooler takes away.
async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_ones_own_have_each_a_process() {
        let backends = |first, second, first_again| Backends { first, second, first_again };
        assert!(!backends(7, 8, 7).are_shared());
        assert!(backends(7, 7, 8).are_shared(), "the second transaction took the session of the first");
        assert!(backends(7, 8, 9).are_shared(), "the next statement met another session");
        assert!(backends(7, 9, 9).are_shared());
    }

    #[test]
    fn settings_are_refused_by_poolers_alone() {
        assert!(refuses_settings("FATAL: unsupported startup parameter: options"));
        assert!(!refuses_settings("FATAL: role \"app\" does not exist"));
    }
}
