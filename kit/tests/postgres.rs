//! Sessions and the pool on a real Postgres. Run through `make test`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use kit::postgres::{Database, Listener, Pool, PoolError, Purpose};
use sqlx::Connection as _;
use stack::servers::Link;
use stack::servers::port::Port;
use tokio::runtime::Handle;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(1);
const CONNECTIONS_MAX: u32 = 3;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
}

fn url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run through make test")
}

/// The same database through a link.
async fn linked() -> (Database, Link) {
    let url = url();
    let (head, database) = url.rsplit_once('/').unwrap();
    let (head, server) = head.rsplit_once(':').unwrap();
    let link = Link::open(Port::free().unwrap(), server.parse().unwrap()).await.unwrap();
    let url = format!("{head}:{}/{database}", link.port());
    (Database::from_url(&url, TIMEOUT).unwrap(), link)
}

fn pool(database: &Database) -> Pool {
    Pool::new(database.connector("kit", Purpose::Requests), CONNECTIONS_MAX, Handle::current())
}

/// The server process at the other end.
async fn pid(pool: &Pool) -> Result<i32, Failure> {
    let ask = async move |mut connection: kit::postgres::PooledConnection| {
        Ok::<i32, Failure>(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await?)
    };
    pool.run(ask).await
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_cost_no_slot() {
    let (database, link) = linked().await;
    let pool = pool(&database);
    let before = pid(&pool).await.unwrap();
    assert_eq!(pid(&pool).await.unwrap(), before, "a connection is kept after a clean answer");
    for _ in 0..3 {
        link.abandon();
        let begun = Instant::now();
        // More than there are slots: each may meet a silent connection, and none may keep its slot for it.
        let asked = (0..CONNECTIONS_MAX * 2).map(|_| pid(&pool));
        for asked in asked {
            let _ = asked.await;
        }
        assert!(pid(&pool).await.is_ok());
        assert!(begun.elapsed() < TIMEOUT * 2, "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_given_up_takes_its_connection_with_it() {
    let (database, _link) = linked().await;
    let pool = pool(&database);
    let before = pid(&pool).await.unwrap();
    let slow = async move |mut connection: kit::postgres::PooledConnection| {
        sqlx::query("SELECT pg_sleep(60)").execute(&mut *connection).await?;
        Ok::<(), Failure>(())
    };
    let begun = Instant::now();
    let error = pool.run(slow).await.unwrap_err();
    assert!(error.to_string().contains("statement timeout"), "the server ends it first: {error}");
    assert!(begun.elapsed() < TIMEOUT + Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_ne!(pid(&pool).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_left_is_rolled_back_before_its_connection_is_kept() {
    let (database, _link) = linked().await;
    let pool = pool(&database);
    let leave = async move |mut connection: kit::postgres::PooledConnection| {
        let mut transaction = connection.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(7)").execute(&mut *transaction).await?;
        Ok::<(), Failure>(())
    };
    pool.run(leave).await.unwrap();
    let mut other = database.connector("kit", Purpose::Requests).connect().await.unwrap();
    let free: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(7)").fetch_one(&mut other).await.unwrap();
    assert!(free, "the kept connection still holds the transaction's lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_listens_notices_a_silent_server() {
    let (database, link) = linked().await;
    let connector = database.connector("kit", Purpose::Requests);
    let mut listener = Listener::open(&connector, "kit_test").await.unwrap();
    let mut other = connector.connect().await.unwrap();
    sqlx::query("NOTIFY kit_test, 'first'").execute(&mut other).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "first");
    link.abandon();
    let noticed = timeout(Duration::from_secs(10), listener.recv()).await;
    assert!(noticed.expect("a silent server is noticed").is_err());
}
