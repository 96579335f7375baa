//! The one way into the journal: what becomes of each command of a batch, whatever its neighbours meet.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use chrono::Utc;
use sqlx::{AssertSqlSafe, PgPool};
use support::Stage;
use uuid::Uuid;

/// A command with one event, and a receipt if it has a key.
#[derive(Clone)]
struct Append {
    command_id: Uuid,
    event_id: Uuid,
    order_id: Uuid,
    version: i64,
    key: Option<&'static str>,
}

fn creation(key: Option<&'static str>) -> Append {
    Append { command_id: Uuid::now_v7(), event_id: Uuid::now_v7(), order_id: Uuid::now_v7(), version: 1, key }
}

/// By their places in the batch.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct Answer {
    head: i64,
    conflicted: Vec<i32>,
    repeated: Vec<i32>,
    known: Vec<i32>,
}

fn answer(head: i64, conflicted: &[i32], repeated: &[i32], known: &[i32]) -> Answer {
    Answer { head, conflicted: conflicted.into(), repeated: repeated.into(), known: known.into() }
}

async fn append(database: &PgPool, batch: &[Append]) -> Answer {
    fn column<T>(rows: &[(i32, &Append)], value: impl Fn(&Append) -> T) -> Vec<T> {
        rows.iter().map(|(_, append)| value(append)).collect()
    }
    let numbers = |rows: &[(i32, &Append)]| rows.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let all: Vec<(i32, &Append)> = (0..).zip(batch).collect();
    let keyed: Vec<(i32, &Append)> = all.iter().copied().filter(|(_, append)| append.key.is_some()).collect();
    let statement = include_str!("../engine/src/journal/sql/append.sql").replace("aggregate", "order");
    sqlx::query_as(AssertSqlSafe(statement))
        .bind(numbers(&all))
        .bind(column(&all, |append| append.event_id))
        .bind(column(&all, |append| append.order_id))
        .bind(column(&all, |append| append.version))
        .bind(column(&all, |_| "OrderCreated"))
        .bind(column(&all, |_| "{}"))
        .bind(column(&all, |_| "{}"))
        .bind(column(&all, |_| Utc::now()))
        .bind(numbers(&keyed))
        .bind(column(&keyed, |append| append.key))
        .bind(column(&keyed, |append| append.command_id))
        .bind(column(&keyed, |_| vec![0_u8; 32]))
        .bind(column(&keyed, |append| append.order_id))
        .bind(column(&keyed, |append| append.version))
        .bind(column(&keyed, |_| None::<String>))
        .bind(false)
        .fetch_one(database)
        .await
        .unwrap()
}

/// Positions and events, the first first.
async fn journal(database: &PgPool) -> Vec<(i64, Uuid)> {
    sqlx::query_as("SELECT seq, event_id FROM order_event ORDER BY seq").fetch_all(database).await.unwrap()
}

/// The batch is tried, and met by a constraint.
#[tokio::test]
async fn a_taken_version_is_refused_alone() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    let first = creation(None);
    append(&stage.database, std::slice::from_ref(&first)).await;
    let (before, after) = (creation(None), creation(Some("a key")));
    let overtaken = Append { event_id: Uuid::now_v7(), ..first.clone() };
    let batch = [before.clone(), overtaken, after.clone()];
    assert_eq!(append(&stage.database, &batch).await, answer(1, &[1], &[], &[]));
    let written = [first, before, after].map(|append| append.event_id);
    assert_eq!(journal(&stage.database).await, (1..).zip(written).collect::<Vec<_>>(), "without a gap");
}

/// The batch is not even tried.
#[tokio::test]
async fn a_used_key_is_refused_alone() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    let (plain, keyed) = (creation(None), creation(Some("a key")));
    assert_eq!(append(&stage.database, &[plain.clone(), keyed.clone()]).await, answer(0, &[], &[], &[]));

    let (before, between, after) = (creation(None), creation(Some("another key")), creation(None));
    let overtaken = Append { event_id: Uuid::now_v7(), ..plain.clone() };
    let key_used = creation(Some("a key"));
    let batch = [before.clone(), overtaken, between.clone(), key_used, plain.clone(), after.clone()];
    assert_eq!(append(&stage.database, &batch).await, answer(2, &[1], &[3], &[4]));

    let written = [plain, keyed.clone(), before, between.clone(), after].map(|append| append.event_id);
    assert_eq!(journal(&stage.database).await, (1..).zip(written).collect::<Vec<_>>(), "without a gap");
    let receipts: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT idempotency_key, command_id FROM command_receipt ORDER BY 1")
            .fetch_all(&stage.database)
            .await
            .unwrap();
    let of = |append: &Append| (append.key.unwrap().to_owned(), append.command_id);
    assert_eq!(receipts, [of(&keyed), of(&between)]);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_written_once() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    let batch = [creation(None), creation(Some("a key"))];
    append(&stage.database, &batch).await;
    let written = journal(&stage.database).await;
    let again = append(&stage.database, &batch).await;
    // The keyed one is recognised by its event and by its receipt.
    assert_eq!(again, answer(2, &[], &[], &[0, 1, 1]));
    assert_eq!(journal(&stage.database).await, written);
}

/// After a failover that lost commits, an actor may remember a version that is not there any more.
#[tokio::test]
async fn a_version_behind_a_gap_is_refused_alone() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    let at = |order: &Append, version| Append { event_id: Uuid::now_v7(), version, ..order.clone() };
    let (first, second) = (creation(None), creation(None));
    append(&stage.database, &[first.clone(), second.clone()]).await;
    append(&stage.database, &[at(&first, 2)]).await;

    assert_eq!(
        append(&stage.database, &[at(&second, 3)]).await,
        answer(3, &[0], &[], &[]),
        "alone in its batch"
    );
    let nothing_before = Append { version: 2, ..creation(None) };
    let (third, payment) = (at(&first, 3), at(&second, 2));
    let batch = [third.clone(), nothing_before, at(&second, 4), payment.clone()];
    assert_eq!(append(&stage.database, &batch).await, answer(3, &[1, 2], &[], &[]));
    let keyed = Append { key: Some("a key"), ..at(&second, 9) };
    assert_eq!(append(&stage.database, &[keyed]).await, answer(5, &[0], &[], &[]));
    let receipts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM command_receipt").fetch_one(&stage.database).await.unwrap();
    assert_eq!(receipts, 0, "the key is free for the command's next decision");

    // What was written is known when it is sent again, and one command may write several events.
    assert_eq!(append(&stage.database, &[third.clone(), payment]).await, answer(5, &[], &[], &[0, 1]));
    let versions: Vec<(Uuid, i64)> =
        sqlx::query_as("SELECT order_id, version FROM order_event ORDER BY order_id, version")
            .fetch_all(&stage.database)
            .await
            .unwrap();
    let mut expected: Vec<(Uuid, i64)> = (1..=3).map(|version| (first.order_id, version)).collect();
    expected.extend((1..=2).map(|version| (second.order_id, version)));
    expected.sort();
    assert_eq!(versions, expected);
}

#[tokio::test]
async fn a_command_may_write_several_versions() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    let order_id = Uuid::now_v7();
    let write = "SELECT conflicted FROM append_order_events(
            $1, ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY[$2, $2], $3, ARRAY['A', 'B'], ARRAY['{}', '{}'], ARRAY['{}', '{}'],
            ARRAY[now(), now()], '{}', '{}', '{}', '{}', '{}', '{}', '{}', false)";
    let conflicted = async |versions: [i64; 2]| {
        let query = sqlx::query_scalar(write).bind([0, 0]).bind(order_id).bind(versions);
        let conflicted: Vec<i32> = query.fetch_one(&stage.database).await.unwrap();
        conflicted
    };
    assert_eq!(conflicted([1, 3]).await, [0], "with a gap inside");
    assert_eq!(conflicted([1, 2]).await, [0; 0]);
    assert_eq!(conflicted([4, 5]).await, [0], "behind a gap");
    assert_eq!(conflicted([3, 4]).await, [0; 0]);
    assert_eq!(stage.events().await, 4);
}
