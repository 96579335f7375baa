//! A Redis that has lost what it had acknowledged. The journal is the truth: what the streams lost is published again.

use std::path::Path;
use std::process::Command;

use redis::aio::MultiplexedConnection;
use stack::servers::port::Port;
use stack::servers::{Link, Redis};
use tempfile::TempDir;
use uuid::Uuid;

use super::streams::{Streams, ask, connection, logged, start_again};
use super::support::eventually;
use super::support::fragile::{blocking, ten_orders};

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    anyhow::ensure!(copied.success(), "{} was not copied", from.display());
    Ok(())
}

/// With an older state of its data, as after a crash without fsync, or after a failover to a replica that lagged.
fn set_back(streams: &Streams, older: &Path) -> anyhow::Result<()> {
    streams.redis.kill()?;
    std::fs::remove_dir_all(streams.data())?;
    copy(older, &streams.data())?;
    start_again(&streams.redis)
}

/// The state of now, to be gone back to. Redis is down for a moment.
fn keep_state(streams: &Streams) -> std::path::PathBuf {
    let older = streams.directory.path().join("older");
    blocking(|| {
        streams.redis.kill()?;
        copy(&streams.data(), &older)?;
        start_again(&streams.redis)
    });
    older
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_the_streams_lost_is_published_again_before_later_events() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    let order_id = orders.create().await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    let older = keep_state(&streams);
    orders.command(order_id, "pay").await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    blocking(|| set_back(&streams, &older));
    // A later event of an order whose former one is lost.
    orders.command(order_id, "ship").await;
    let told = logged(&orders, &["ERROR", "The streams have lost their last 21 entries"]).await;
    assert!(told.contains("from position 22 on"), "{told}");
    streams.stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    assert_eq!(streams.assert_published_in_order().await, 0, "what was not lost is not sent again");
}

/// The publisher waits for answers that are under way, and there are none.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_flushed_is_sent_again_at_once() {
    let streams = Streams::new().await;
    let orders =
        streams.stage.start_with(streams.settings("orders").with("DELIVERY_TIMEOUT_MS", "120000")).await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    redis::cmd("FLUSHALL").exec_async(&mut streams.connection().await).await.unwrap();
    // That wait would be longer than this one.
    streams.restored().await;
}

/// The journal goes on with other events at positions that the streams were told of, and a state of the streams that has not seen these
/// comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_set_back_and_streams_that_were_miss_no_event() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    for _ in 0..2 {
        ten_orders(&orders).await;
        streams.stage.outbox_empties().await;
        streams.confirmed().await;
    }
    let older = keep_state(&streams);
    orders.blocking(|service| service.kill());
    // As from a backup: the second ten orders were never there.
    sqlx::raw_sql(
        "DELETE FROM order_summary; DELETE FROM command_receipt; DELETE FROM order_event WHERE seq > 20;
         UPDATE publisher_cursor SET published_seq = 20; UPDATE projection_cursor SET projected_seq = 0",
    )
    .execute(&streams.stage.database)
    .await
    .unwrap();
    orders.blocking(|service| service.start_again());
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    orders.blocking(|service| service.kill());
    blocking(|| set_back(&streams, &older));
    orders.blocking(|service| service.start_again());

    let told = logged(&orders, &["ERROR", "The journal is not the one that was published"]).await;
    assert!(told.contains("published_seq=40"), "{told}");
    let journal: Vec<Uuid> = sqlx::query_scalar("SELECT order_id FROM order_event WHERE seq > 20")
        .fetch_all(&streams.stage.database)
        .await
        .unwrap();
    assert_eq!(journal.len(), 20);
    eventually("the streams have the journal's events", async || {
        let entries = streams.entries().await;
        journal.iter().all(|order| entries.iter().any(|entry| entry.order_id == *order)).then_some(())
    })
    .await;
}

/// Nothing new is published, and nobody is told of the loss but by the look that the publisher takes.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_were_flushed_are_filled_again_although_nothing_new_happens() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    logged(&orders, &["The topic is seen for the first time"]).await;
    let id = streams.field("", "id").await;
    redis::cmd("FLUSHALL").exec_async(&mut streams.connection().await).await.unwrap();
    logged(&orders, &["ERROR", "The topic was made anew", "up to position 20"]).await;
    streams.restored().await;
    assert_eq!(streams.assert_published_in_order().await, 0);
    assert_ne!(streams.field("", "id").await, id, "another topic");
    eventually("the alert about it ends", async || {
        let text = orders.http.get(orders.url("/metrics")).send().await.unwrap().text().await.unwrap();
        text.lines().any(|line| line == "orders_topic_lost_events 0").then_some(())
    })
    .await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    assert_eq!(streams.assert_published_in_order().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_restarted_without_data_are_filled_again() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    blocking(|| {
        streams.redis.kill()?;
        std::fs::remove_dir_all(streams.data())?;
        start_again(&streams.redis)
    });
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.restored().await;
    streams.assert_published_in_order().await;
}

/// Nobody who knew of them is left: the position that the streams have is compared with the cursor.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_while_no_instance_ran_is_noticed_by_the_next_one() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    let older = keep_state(&streams);
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    orders.blocking(|service| service.kill());
    blocking(|| set_back(&streams, &older));
    assert!(streams.entries().await.len() < 40);
    orders.blocking(|service| service.start_again());
    // Without one command.
    streams.restored().await;
    logged(&orders, &["What was published from position 21 on is sent to the streams again"]).await;
    assert_eq!(streams.assert_published_in_order().await, 0);
}

/// A primary of its own that was a replica until it had what is confirmed, and a connection to it.
async fn promoted_replica(streams: &Streams, directory: &TempDir) -> (Redis, MultiplexedConnection) {
    let replica = blocking(|| Redis::start(directory.path()));
    let mut connection = connection(&replica).await;
    let port = streams.redis.port().to_string();
    let _: () = ask(&mut connection, &["REPLICAOF", "127.0.0.1", &port]).await;
    let confirmed = streams.field(":position", "published_seq").await;
    let position = format!("{}:position", streams.stage.topic);
    eventually("the replica has what is confirmed", async || {
        let there: Option<String> = ask(&mut connection, &["HGET", &position, "published_seq"]).await;
        (there == confirmed).then_some(())
    })
    .await;
    let _: () = ask(&mut connection, &["REPLICAOF", "NO", "ONE"]).await;
    (replica, connection)
}

/// The replica lacks the last entries, as one that lagged. The address leads to it, and the connections there were fall silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lagged_is_promoted_behind_the_same_address() {
    let mut streams = Streams::new().await;
    let link = Link::open(Port::free().unwrap(), streams.redis.port()).await.unwrap();
    let settings = streams.settings("orders").with("REDIS_URL", format!("redis://127.0.0.1:{}", link.port()));
    let orders = streams.stage.start_with(settings.with("DELIVERY_TIMEOUT_MS", "1500")).await;
    ten_orders(&orders).await;
    let order_id = orders.create().await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    let directory = TempDir::new().unwrap();
    let (replica, _) = promoted_replica(&streams, &directory).await;

    orders.command(order_id, "pay").await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    link.redirect(replica.port());
    link.abandon();
    let former = std::mem::replace(&mut streams.redis, replica);
    orders.command(order_id, "ship").await;
    logged(&orders, &["ERROR", "The streams have lost their last 21 entries"]).await;
    streams.stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    streams.assert_published_in_order().await;
    drop(former);
}

/// Nothing is lost, so nothing tells the lanes: their connections stay open, and silent.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_by_address_no_lane_waits_on_a_connection_from_before() {
    let mut streams = Streams::new().await;
    let link = Link::open(Port::free().unwrap(), streams.redis.port()).await.unwrap();
    let settings = streams.settings("orders").with("REDIS_URL", format!("redis://127.0.0.1:{}", link.port()));
    // Longer than the test waits.
    let orders = streams.stage.start_with(settings.with("DELIVERY_TIMEOUT_MS", "240000")).await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    let directory = TempDir::new().unwrap();
    let (replica, mut connection) = promoted_replica(&streams, &directory).await;
    let position = format!("{}:position", streams.stage.topic);
    let _: () = ask(&mut connection, &["HDEL", &position, "confirmed_at"]).await;
    link.redirect(replica.port());
    link.abandon();
    eventually("the keeper is on the replica", async || {
        let confirmed_at: Option<String> = ask(&mut connection, &["HGET", &position, "confirmed_at"]).await;
        confirmed_at.map(|_| ())
    })
    .await;
    let former = std::mem::replace(&mut streams.redis, replica);
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    assert_eq!(streams.assert_published_in_order().await, 0);
    drop(former);
}

/// What is not older than the topic's retention time.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_gets_what_the_retention_time_covers() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    orders.blocking(|service| service.stop());
    streams.stage.fill_journal(1_000).await;
    sqlx::query("ALTER TABLE order_event DISABLE TRIGGER ALL")
        .execute(&streams.stage.database)
        .await
        .unwrap();
    for statement in [
        "UPDATE order_event SET occurred_at = now() - interval '31 days' WHERE seq <= 300",
        "UPDATE publisher_cursor SET published_seq = 1000",
    ] {
        sqlx::query(statement).execute(&streams.stage.database).await.unwrap();
    }
    redis::cmd("FLUSHALL").exec_async(&mut streams.connection().await).await.unwrap();
    orders.blocking(|service| service.start_again());
    eventually("what is young enough is there", async || {
        (streams.entries().await.len() == 700).then_some(())
    })
    .await;
    streams.confirmed().await;
    assert_eq!(streams.entries().await.len(), 700);
}
