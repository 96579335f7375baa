//! The service's Postgres: its sessions, each bound to the service's own schema, and the migration of that schema.

use std::time::Duration;

use engine::migration::ApplyError;
use kit::backoff::Pauses;
use kit::postgres::{ConnectError, Connector, Pool, Purpose, pooler};
use kit::settings::Migrate;
use sqlx::migrate::MigrateError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Database;
use crate::error::LedgerError;
use crate::outbox::{MIGRATIONS, SESSIONS};

/// Sessions of the service: every one sees the service's schema and no other.
pub fn connector(database: &Database, purpose: Purpose) -> Connector {
    database.sessions().connector(SESSIONS, purpose)
}

/// A few connections for requests, made when they are first needed.
pub fn pool(database: &Database, connections_max: u32, runtime: Handle) -> Pool {
    Pool::new(connector(database, Purpose::Requests), connections_max, runtime)
}

/// Brings the schema up to date, if this start may; waits for Postgres as long as it takes. `Ok(false)`: told to stop first.
///
/// Fails on errors that do not go away by waiting: migrations to apply that this start may not, a missing privilege, a schema that this version does not know.
pub async fn migrate_when_reachable(
    database: &Database,
    when: Migrate,
    stopping: &mut watch::Receiver<bool>,
) -> Result<bool, LedgerError> {
    let mut pauses = Pauses::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let attempt = tokio::select! {
            attempt = migrate(database, when) => attempt,
            _ = stopping.wait_for(|stop| *stop) => return Ok(false),
        };
        let error = match attempt {
            Ok(()) => {
                info!(schema = database.db_schema, "The schema is up to date");
                return Ok(true);
            }
            Err(error) if is_lasting(&error) => return Err(error),
            Err(error) => error,
        };
        let pause = pauses.pause();
        warn!(%error, database = database.place(), retry_in_ms = pause.as_millis(), "Postgres is not ready, waiting for it");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(false),
        }
    }
}

/// Whether an operator has to change the database or the settings. Not for a wrong password or a missing database: these may be
/// corrected while the service waits, as when a server is being set up.
fn is_lasting(error: &LedgerError) -> bool {
    match error {
        LedgerError::MayNotCreate { .. } | LedgerError::SharedSessions => true,
        LedgerError::Connect(ConnectError::Refused(_)) => true,
        LedgerError::Migration(ApplyError::Migrate(
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
        ))
        | LedgerError::Connect(ConnectError::Postgres(error))
        | LedgerError::Postgres(error) => is_insufficient_privilege(error),
        // Such as a schema of a later version.
        LedgerError::Migration(_) => true,
        _ => false,
    }
}

fn is_insufficient_privilege(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
}

/// One connection for what may take long, as a migration may, or a wait for another process that is at it: Postgres sets no
/// bound to its statements.
pub async fn connect_patiently(database: &Database) -> Result<PgConnection, ConnectError> {
    connector(database, Purpose::Unbounded).connect().await
}

async fn migrate(database: &Database, when: Migrate) -> Result<(), LedgerError> {
    if pooler::shares_sessions(&connector(database, Purpose::Requests)).await? {
        return Err(LedgerError::SharedSessions);
    }
    let mut connection = connect_patiently(database).await?;
    if when == Migrate::Auto {
        create_schema(&mut connection, &database.db_schema).await?;
    }
    engine::migration::apply(&mut connection, &MIGRATIONS, when, SESSIONS).await?;
    connection.close().await?;
    Ok(())
}

/// Only if it is missing: `CREATE SCHEMA IF NOT EXISTS` asks for the privilege to create one even where there is nothing to do.
pub async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    if exists {
        return Ok(());
    }
    // Another process may make it at the same moment. The name was checked by the configuration; quoted, it may be a reserved word.
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"");
    match sqlx::raw_sql(AssertSqlSafe(create)).execute(connection).await {
        Err(error) if is_insufficient_privilege(&error) => {
            Err(LedgerError::MayNotCreate { schema: schema.to_owned() })
        }
        created => created.map(|_| ()).map_err(LedgerError::from),
    }
}
