//! A primary and its standby.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use stack::servers::{Postgres, PostgresPair, Replication};

async fn insert(postgres: &Postgres, n: i32) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    sqlx::query("INSERT INTO t VALUES ($1)").bind(n).execute(&mut connection).await.map(drop)
}

async fn rows(postgres: &Postgres) -> Vec<i32> {
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::query_scalar("SELECT n FROM t ORDER BY n").fetch_all(&mut connection).await.unwrap()
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_has_all_that_was_committed_and_an_asynchronous_one_may_not() {
    let directory = tempfile::tempdir().unwrap();
    let pair = PostgresPair::start(directory.path(), Replication::Synchronous).unwrap();
    pair.primary().execute(&["CREATE TABLE t (n int)"]).unwrap();
    insert(pair.primary(), 1).await.unwrap();
    let refused = insert(pair.standby(), 2).await.unwrap_err();
    assert_eq!(code(&refused).as_deref(), Some("25006"), "{refused}");

    pair.standby().freeze().unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(300), insert(pair.primary(), 2)).await;
    assert!(waits.is_err(), "committed without its standby: {waits:?}");
    pair.standby().thaw().unwrap();
    pair.wait_streaming().unwrap();

    let (first, second) = (pair.primary().port(), pair.standby().port());
    pair.primary().kill().unwrap();
    println!("promoted within {:?}", pair.promote().unwrap());
    assert_eq!((pair.primary().port(), pair.standby().port()), (second, first));
    insert(pair.primary(), 3).await.unwrap();
    println!("rejoined within {:?}", pair.rejoin().unwrap());
    insert(pair.primary(), 4).await.unwrap();
    let (here, there) = (rows(pair.primary()).await, rows(pair.standby()).await);
    assert!(here.starts_with(&[1]) && here.ends_with(&[3, 4]), "{here:?}");
    assert_eq!(here, there, "the old primary follows");

    pair.replicate(Replication::Asynchronous).unwrap();
    pair.disconnect().unwrap();
    insert(pair.primary(), 5).await.unwrap();
    // The old primary stays alive, as one that is cut off does.
    pair.promote().unwrap();
    assert_eq!(rows(pair.primary()).await, here, "what was committed without the standby is lost");
    insert(pair.primary(), 6).await.unwrap();
    println!("rewound within {:?}", pair.rejoin().unwrap());
    let expected: Vec<i32> = here.iter().copied().chain([6]).collect();
    assert_eq!((rows(pair.primary()).await, rows(pair.standby()).await), (expected.clone(), expected));
}

#[tokio::test]
async fn a_primary_turns_read_only_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(directory.path()).unwrap();
    postgres.execute(&["CREATE TABLE t (n int)"]).unwrap();
    postgres.set_read_only(true).unwrap();
    let refused = insert(&postgres, 1).await.unwrap_err();
    assert_eq!(code(&refused).as_deref(), Some("25006"), "{refused}");
    postgres.set_read_only(false).unwrap();
    insert(&postgres, 2).await.unwrap();
    assert_eq!(rows(&postgres).await, [2]);
}
