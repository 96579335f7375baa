//! Processes that die at the worst moment: the points come out exact.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::Connection;
use stack::servers::{Kafka, Passage};
use support::kafka::{committed_and_end, produce};
use support::process::Bonus;
use support::{World, event, eventually, histories};
use tempfile::TempDir;
use uuid::Uuid;

/// The ledger's length: how far crediting has come.
async fn booked(world: &World) -> i64 {
    let count: Result<(i64,), _> =
        sqlx::query_as("SELECT count(event_id) FROM ledger").fetch_one(&mut world.connect().await).await;
    count.map_or(0, |(count,)| count)
}

async fn booked_at_least(world: &World, least: i64) {
    eventually("crediting comes along", async || {
        let booked = booked(world).await;
        if booked >= least { Ok(()) } else { Err(format!("{booked} of {least}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_in_mid_stream() {
    let world = World::new().await;
    let (events, expected) = histories(6_000, 50);
    produce(&world, &events).await;
    // Small batches, so that a kill is likely to fall between a transaction's commit and the offset's.
    let settings = [("BONUS_BATCH_MESSAGES_MAX", "50")];
    for round in 1..=3 {
        let bonus = Bonus::start_with(&world, &settings).await;
        booked_at_least(&world, 1_500 * round).await;
        bonus.kill();
    }
    let last = Bonus::start_with(&world, &settings).await;
    world.points_become(&expected).await;
    eventually("the last process has read to the end", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(world.points().await, expected, "reading on to the end changed nothing");
    println!("absorbed by the last process: {}", last.metric("bonus_duplicates_absorbed_total").await);
    world.books_balance().await;
}

/// The way to Kafka stands still while the points are booked, and is cut when the process is dead: its offsets never arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_its_commit_and_the_offsets() {
    let directory = TempDir::new().unwrap();
    let (kafka, link) = Kafka::start_with_link(directory.path()).await.unwrap();
    let world = World::on(kafka.brokers()).await;
    let through_link = format!("127.0.0.1:{}", link.port());
    let bonus = Bonus::start_with(&world, &[("KAFKA_BROKERS", &through_link)]).await;
    bonus.becomes_ready().await;
    let mut database = world.connect().await;
    let mut held = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE ledger IN EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let customer = Uuid::now_v7();
    let events: Vec<_> = (0..300).map(|_| event("OrderCreated", Uuid::now_v7(), 1, customer)).collect();
    produce(&world, &events).await;
    eventually("a batch waits for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'ledger'::regclass
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_one(&mut *held)
        .await
        .unwrap();
        if waiting > 0 { Ok(()) } else { Err("none does".to_owned()) }
    })
    .await;
    link.set(Passage::Stalled);
    held.rollback().await.unwrap();
    booked_at_least(&world, 1).await;
    bonus.kill();
    link.set(Passage::Cut);
    let booked = booked(&world).await;
    assert_eq!(committed_and_end(&world), (0, 300), "what is booked is not known to Kafka");
    let next = Bonus::start_with(&world, &[]).await;
    world.points_become(&BTreeMap::from([(customer, 300 * 40)])).await;
    eventually("all is committed", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(next.metric("bonus_duplicates_absorbed_total").await, booked as f64);
    world.books_balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_group_and_one_is_killed_while_partitions_move() {
    let world = Arc::new(World::new().await);
    let (events, expected) = histories(8_000, 50);
    let settings = [("BONUS_BATCH_MESSAGES_MAX", "50")];
    let produced = Arc::new(AtomicBool::new(false));
    // Messages keep coming while the partitions move.
    let producing = tokio::spawn({
        let (world, produced) = (Arc::clone(&world), Arc::clone(&produced));
        async move {
            for part in events.chunks(500) {
                produce(&world, part).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            produced.store(true, Ordering::SeqCst);
        }
    });
    let first = Bonus::start_with(&world, &settings).await;
    booked_at_least(&world, 500).await;
    // The second joins: a rebalance, in the middle of which the first is killed.
    let second = Bonus::start_with(&world, &settings).await;
    first.logged("Partitions given up").await;
    first.kill();
    let third = Bonus::start_with(&world, &settings).await;
    producing.await.unwrap();
    assert!(produced.load(Ordering::SeqCst));
    world.points_become(&expected).await;
    eventually("both have read to the end", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(world.points().await, expected, "reading on to the end changed nothing");
    world.books_balance().await;
    for bonus in [&second, &third] {
        assert_eq!(bonus.metric("bonus_consumer_restarts_total").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_loses_its_partitions_and_does_no_harm_when_it_thaws() {
    let world = World::new().await;
    let (events, expected) = histories(3_000, 20);
    let settings = [("BONUS_BATCH_MESSAGES_MAX", "50")];
    let frozen = Bonus::start_with(&world, &settings).await;
    frozen.becomes_ready().await;
    produce(&world, &events).await;
    booked_at_least(&world, 100).await;
    frozen.signal(Signal::SIGSTOP);
    let other = Bonus::start_with(&world, &settings).await;
    world.points_become(&expected).await;
    frozen.signal(Signal::SIGCONT);
    // It goes on with what it had in hand, finds its partitions gone, and joins again.
    frozen.becomes_ready().await;
    other.becomes_ready().await;
    eventually("all is committed", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(world.points().await, expected);
    world.books_balance().await;
}

#[tokio::test]
async fn sigterm_finishes_the_batch_commits_its_offsets_and_leaves_the_group() {
    let world = World::new().await;
    let (events, expected) = histories(2_000, 20);
    produce(&world, &events).await;
    let settings = [("BONUS_BATCH_MESSAGES_MAX", "50")];
    let first = Bonus::start_with(&world, &settings).await;
    booked_at_least(&world, 200).await;
    let (log, clean) = first.terminate().await;
    assert!(clean, "the exit status is 0");
    assert_eq!(log.last().unwrap()["message"], "Stopped");
    let second = Bonus::start_with(&world, &settings).await;
    let started = std::time::Instant::now();
    world.points_become(&expected).await;
    assert!(started.elapsed() < Duration::from_secs(5), "the group still waited for a member that had left");
    assert_eq!(second.metric("bonus_duplicates_absorbed_total").await, 0.0, "an offset was not committed");
    world.books_balance().await;
}

#[tokio::test]
async fn a_killed_process_with_an_instance_id_goes_on_without_waiting_for_its_own_session() {
    let world = World::new().await;
    let settings = [("BONUS_INSTANCE_ID", "first")];
    let (before, mut expected) = histories(300, 10);
    let killed = Bonus::start_with(&world, &settings).await;
    produce(&world, &before).await;
    world.points_become(&expected).await;
    killed.kill();
    let (after, more) = histories(300, 10);
    produce(&world, &after).await;
    expected.extend(more);
    let started = std::time::Instant::now();
    let _again = Bonus::start_with(&world, &settings).await;
    world.points_become(&expected).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it waited for its own session: {:?}",
        started.elapsed()
    );
    world.books_balance().await;
}

#[tokio::test]
async fn an_instance_id_used_twice_is_told_and_does_no_harm() {
    let world = World::new().await;
    let settings = [("BONUS_INSTANCE_ID", "same")];
    let first = Bonus::start_with(&world, &settings).await;
    first.becomes_ready().await;
    let _second = Bonus::start_with(&world, &settings).await;
    first.logged("An actor went down; restarting it").await;
    let (events, expected) = histories(300, 10);
    produce(&world, &events).await;
    world.points_become(&expected).await;
    world.books_balance().await;
}
