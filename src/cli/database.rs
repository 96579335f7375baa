//! A command's view of the database.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::Database;
use crate::journal::Reader;
use crate::publisher::outbox::OutboxReader;

/// The name of a command's sessions: none of them is an instance of the service.
const SESSIONS: &str = "orders-cli";
/// Questions, and a publisher with a listener.
const CONNECTIONS_MAX: u32 = 4;

pub struct Journal {
    pub reader: Reader,
    pub outbox: OutboxReader,
    pub connect: PgConnectOptions,
}

/// Fails at once when the database cannot be reached or is not the order service's.
pub async fn open(database: &Database) -> anyhow::Result<Journal> {
    let (connect, mut connection) = connect(database).await?;
    let there: bool = timeout(
        database.timeout(),
        sqlx::query_scalar("SELECT to_regclass('publisher_cursor') IS NOT NULL").fetch_one(&mut connection),
    )
    .await??;
    ensure!(
        there,
        "{} has no tables of the order service: is DATABASE_URL right? The service makes them at its first start",
        place(&connect)
    );
    let _ = connection.close().await;
    let pool = pool(connect.clone(), database.timeout());
    let reader = Reader::new(pool.clone(), Handle::current(), database.timeout());
    Ok(Journal { outbox: OutboxReader::new(reader.clone(), pool), reader, connect })
}

/// One connection, so that a failure says why: a pool says only that it has none.
pub async fn connect(database: &Database) -> anyhow::Result<(PgConnectOptions, PgConnection)> {
    let options = database.connect_options(SESSIONS)?;
    let unreachable = || format!("{} cannot be reached", place(&options));
    let connection = timeout(database.timeout(), options.connect())
        .await
        .with_context(unreachable)?
        .with_context(unreachable)?;
    Ok((options, connection))
}

fn pool(connect: PgConnectOptions, patience: Duration) -> PgPool {
    PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(patience).connect_lazy_with(connect)
}

/// Without the password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("Postgres at {}:{}/{database}", options.get_host(), options.get_port())
}
