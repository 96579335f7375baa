//! Migrates the schema to this binary's version: at a start whose role may ([`migrate`]), or as a command ([`command`]). If there is nothing
//! to migrate, the role needs no privilege to create.
//!
//! The engine's migrations are worded for the aggregate like its statements, and applied together with the service's own, by number. Each has
//! numbers of its own: the service takes those from 1000 on. A service that had migrations before it had the engine moves the engine's
//! numbers instead.

pub mod command;
mod schema;

use std::time::Duration;

use kit::postgres::{ConnectError, Connector, Database, Purpose, pooler};
use kit::settings::Migrate;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr};
use tokio::time::{sleep, timeout};
use tracing::warn;

pub use self::schema::{ApplyError, apply, missing};
use crate::aggregate::Aggregate;
use crate::names::Names;

static ENGINE: Migrator = sqlx::migrate!();
/// Pause between two tries to reach the database at start-up.
const START_PAUSE: Duration = Duration::from_secs(1);
/// The publisher's lease, `LISTEN` and a session's settings need one of their own.
const POOLED: &str = "a pooler between here and Postgres lends sessions a transaction at a time (pool_mode = transaction, say). The \
     publisher's lease, LISTEN and a session's settings need one of their own: lead DATABASE_URL around it, or set pool_mode = session";
/// The role lacks a privilege.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What this binary makes of a database: the engine's tables for this aggregate, and the service's own.
pub fn migrations<A: Aggregate>(own: &Migrator) -> Migrator {
    numbered_after(0, &Names::of::<A>(), own)
}

/// The same, with `last` added to each of the engine's numbers. The service's own are those up to `last`, and those far above.
pub fn numbered_after(last: i64, names: &Names, own: &Migrator) -> Migrator {
    let worded = |migration: &Migration| {
        let Migration { version, description, migration_type, sql, no_tx, .. } = migration.clone();
        let sql = AssertSqlSafe(names.word(sql.as_str())).into_sql_str();
        Migration::new(last + version, description, migration_type, sql, no_tx)
    };
    Migrator::with_migrations(ENGINE.iter().map(worded).chain(own.iter().cloned()).collect())
}

/// With what to do, if a privilege is missing.
async fn explained(error: MigrateError, connection: &mut PgConnection) -> anyhow::Error {
    match missing_privilege(&error, connection).await {
        Some(why) => anyhow::Error::msg(why),
        None => error.into(),
    }
}

async fn missing_privilege(error: &MigrateError, connection: &mut PgConnection) -> Option<String> {
    let cause = match error {
        MigrateError::Execute(sqlx::Error::Database(cause))
        | MigrateError::ExecuteMigration(sqlx::Error::Database(cause), _) => cause,
        _ => return None,
    };
    if cause.code().as_deref() != Some(INSUFFICIENT_PRIVILEGE) {
        return None;
    }
    let asked = sqlx::query_as("SELECT current_user::text, coalesce(current_schema(), 'public')::text");
    let (role, schema): (String, String) = asked.fetch_one(connection).await.ok()?;
    Some(format!(
        "the role {role} lacks a privilege in the schema {schema}: {cause}. Migrate as the role that owns everything there, and serve as \
         that or as one that `migrate --grant-to` was told of"
    ))
}

/// Applies the migrations as soon as the database can be reached, if this start may. Ends the start behind a pooler that shares sessions: two instances would hold
/// the lease, and the migrator's lock is none there either. `application` names the sessions, and is the program whose command migrates.
///
/// # Errors
/// What no waiting mends: migrations to apply that this start may not, a schema of a later version, such a pooler.
pub async fn migrate(
    database: &Database,
    application: &str,
    migrations: &Migrator,
    when: Migrate,
) -> anyhow::Result<()> {
    let (requests, unbounded) = (
        database.connector(application, Purpose::Requests),
        database.connector(application, Purpose::Unbounded),
    );
    loop {
        let start = (when, application);
        let error = match try_to_migrate(&requests, &unbounded, migrations, start).await {
            Err(MigrationError::Unreachable(error)) => error,
            Err(MigrationError::Permanent(error)) => return Err(error),
            Ok(()) => return Ok(()),
        };
        warn!(error, "The database cannot be reached; trying again");
        sleep(START_PAUSE).await;
    }
}

enum MigrationError {
    /// It may work later.
    Unreachable(String),
    Permanent(anyhow::Error),
}

impl From<ConnectError> for MigrationError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::TimedOut(_) => Self::Unreachable(error.to_string()),
            ConnectError::Postgres(ref cause) if is_absence(cause) => Self::Unreachable(error.to_string()),
            ConnectError::Postgres(_) | ConnectError::Refused(_) => {
                Self::Permanent(anyhow::anyhow!("{error}").context("the database cannot be opened"))
            }
        }
    }
}

async fn try_to_migrate(
    requests: &Connector,
    unbounded: &Connector,
    migrations: &Migrator,
    (when, application): (Migrate, &str),
) -> Result<(), MigrationError> {
    if pooler::shares_sessions(requests).await? {
        return Err(MigrationError::Permanent(anyhow::anyhow!(POOLED)));
    }
    let mut connection = unbounded.connect().await?;
    match apply(&mut connection, migrations, when, application).await {
        Ok(()) => {}
        Err(ApplyError::Left(why)) => return Err(MigrationError::Permanent(anyhow::anyhow!(why))),
        Err(ApplyError::Migrate(MigrateError::Execute(error))) if is_absence(&error) => {
            return Err(MigrationError::Unreachable(error.to_string()));
        }
        Err(ApplyError::Migrate(error)) => {
            let error = explained(error, &mut connection).await;
            return Err(MigrationError::Permanent(error.context("the migrations cannot be applied")));
        }
    }
    // A connection that is not closed in time is closed by the server.
    let _ = timeout(START_PAUSE, connection.close()).await;
    Ok(())
}

fn is_absence(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => true,
        // 57: the server is starting or stopping. 53: it has no connection to spare.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57") || code.starts_with("53"))
        }
        _ => false,
    }
}
