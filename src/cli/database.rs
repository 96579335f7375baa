//! A command's access to the database.

use anyhow::{Context, ensure};
use engine::Names;
use engine::journal::Reader;
use engine::publisher::outbox::OutboxReader;
use kit::postgres::{self, Pool, Purpose};
use sqlx::{Connection, PgConnection};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::Postgres;
use crate::order::Order;

/// The name of a command's sessions: none of them is an instance of the service.
pub(super) const SESSIONS: &str = "orders-cli";
/// For the queries of a command, and of its publisher.
const CONNECTIONS_MAX: u32 = 4;

pub struct Journal {
    pub reader: Reader,
    pub outbox: OutboxReader,
    pub database: postgres::Database,
}

/// Fails at once when the database cannot be reached or is not the order service's.
pub async fn open(settings: &Postgres) -> anyhow::Result<Journal> {
    let (database, mut connection) = connect(settings).await?;
    let there: bool = timeout(
        settings.timeout(),
        sqlx::query_scalar("SELECT to_regclass('publisher_cursor') IS NOT NULL").fetch_one(&mut connection),
    )
    .await??;
    ensure!(
        there,
        "{} has no tables of the order service: is DATABASE_URL right? `orders migrate` makes them, or the service at its first start",
        database.place()
    );
    let _ = timeout(settings.timeout(), connection.close()).await;
    let connector = database.connector(SESSIONS, Purpose::Requests);
    let reader = Reader::new(Pool::new(connector, CONNECTIONS_MAX, Handle::current()), Names::of::<Order>());
    Ok(Journal { outbox: OutboxReader::new(reader.clone()), reader, database })
}

/// One connection, for a command's first question.
pub async fn connect(settings: &Postgres) -> anyhow::Result<(postgres::Database, PgConnection)> {
    let database = settings.sessions();
    let connection = database.connector(SESSIONS, Purpose::Requests).connect().await;
    let connection = connection.with_context(|| format!("{} cannot be reached", database.place()))?;
    Ok((database, connection))
}
