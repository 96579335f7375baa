//! Connections to Postgres, each bound to the service's own schema, and the migration of that schema.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::config::Database;
use crate::error::LedgerError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Longest wait for a free or new connection. Requests are answered 503 after it.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest that Postgres itself lets a statement run, or a transaction wait for its client: a frozen process must not keep
/// rows locked that another process wants to credit.
const SERVER_SIDE_TIMEOUT: &str = "10s";

pub fn connect_options(database: &Database) -> PgConnectOptions {
    database.database_url.0.clone().application_name("bonus").options([
        ("search_path", database.db_schema.as_str()),
        ("statement_timeout", SERVER_SIDE_TIMEOUT),
        ("idle_in_transaction_session_timeout", SERVER_SIDE_TIMEOUT),
    ])
}

/// A pool that connects when it is first used, so that Postgres may come up later than the service.
pub fn pool(database: &Database, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(connect_options(database))
}

/// Brings the schema up to date; waits for Postgres as long as it takes. False: told to stop first.
pub async fn migrate_when_reachable(database: &Database, stopping: &mut watch::Receiver<bool>) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let attempt = tokio::select! {
            attempt = migrate(database) => attempt,
            _ = stopping.wait_for(|stop| *stop) => return false,
        };
        let error = match attempt {
            Ok(()) => {
                info!(schema = database.db_schema, "The schema is up to date");
                return true;
            }
            Err(error) => error,
        };
        let pause = backoff.pause();
        warn!(%error, database = ?database.database_url, retry_in_ms = pause.as_millis(), "Postgres is not ready, waiting for it");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stop| *stop) => return false,
        }
    }
}

/// One connection for what may take long, as a migration may, or a wait for another process that is at it: Postgres sets no
/// bound to its statements.
pub async fn connect_patiently(database: &Database) -> Result<PgConnection, LedgerError> {
    connect(&connect_options(database).options([("statement_timeout", "0")])).await
}

pub async fn connect(options: &PgConnectOptions) -> Result<PgConnection, LedgerError> {
    let connecting = PgConnection::connect_with(options);
    let connection = tokio::time::timeout(ACQUIRE_TIMEOUT, connecting)
        .await
        .map_err(|_| LedgerError::Timeout(ACQUIRE_TIMEOUT))??;
    Ok(connection)
}

async fn migrate(database: &Database) -> Result<(), LedgerError> {
    let mut connection = connect_patiently(database).await?;
    // The schema's name was checked by the configuration: it needs no quoting.
    let create = format!("CREATE SCHEMA IF NOT EXISTS {}", database.db_schema);
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
    MIGRATIONS.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
