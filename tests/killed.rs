//! The failure matrix, its row of the service killed, at each stage of an event's way.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use serde_json::json;
use stack::servers::Kafka;
use support::{Orders, Servers, Stage, an_order, eventually};
use tempfile::TempDir;

async fn create(orders: &Orders, count: usize) {
    let all = (0..count).map(|_| orders.post("/api/orders", an_order()));
    for (status, order) in futures_util::future::join_all(all).await {
        assert_eq!(status, 201, "{order}");
    }
}

async fn killed_and_started(orders: &Orders) {
    orders.blocking(|service| service.kill());
    orders.blocking(|service| service.start_again());
}

/// Kafka stands still, so that nothing can be acknowledged between the commit and the kill.
#[tokio::test(flavor = "multi_thread")]
async fn between_commit_and_delivery() {
    let directory = TempDir::new().unwrap();
    let kafka = tokio::task::block_in_place(|| Kafka::start(directory.path())).unwrap();
    let stage = Stage::on(Servers { kafka: kafka.brokers(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    create(&orders, 10).await;
    stage.outbox_empties().await;
    kafka.freeze().unwrap();
    create(&orders, 50).await;
    killed_and_started(&orders).await;
    create(&orders, 10).await;
    assert_eq!(stage.waiting().await, 60);
    kafka.thaw().unwrap();
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

/// Delivered, and the cursor does not know: the next start sends it again, and order is kept all the same.
#[tokio::test(flavor = "multi_thread")]
async fn between_delivery_and_the_cursor() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    stage.outbox_empties().await;
    let mut held = stage.database.begin().await.unwrap();
    sqlx::query("SELECT FROM publisher_cursor FOR UPDATE").execute(&mut *held).await.unwrap();
    orders.command(order_id, "pay").await;
    // Moves of the cursor are gathered: the first must be under way before the second is wanted.
    eventually("the cursor's move waits for the lock", async || {
        let waits = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%UPDATE publisher_cursor%'";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&stage.database).await.ok()?;
        (waiting > 0).then_some(())
    })
    .await;
    orders.command(order_id, "ship").await;
    eventually("both are delivered", async || {
        let (_, metrics) = orders.get("/metrics").await;
        metrics.as_str()?.contains("orders_events_published_total 3").then_some(())
    })
    .await;
    assert_eq!(stage.waiting().await, 2, "the cursor does not know");
    orders.blocking(|service| service.kill());
    held.rollback().await.unwrap();
    orders.blocking(|service| service.start_again());
    stage.outbox_empties().await;
    orders.command(order_id, "complete").await;
    stage.outbox_empties().await;
    // Postgres may still carry out the move of the cursor that the dead service had asked for; it covers the first.
    let again = stage.assert_published_in_order().await;
    assert!((1..=2).contains(&again), "what the cursor did not cover came again: {again}");
}

/// Killed again and again in the midst of a backlog.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    orders.blocking(|service| service.kill());
    // As many events as a long outage leaves, written as the service writes them: one order each, from what it wrote itself.
    let backlog: i64 = 20_000;
    sqlx::query(
        "INSERT INTO order_event
         SELECT e.seq + n, gen_random_uuid(), gen_random_uuid(), 1, e.event_type, e.payload, e.metadata, e.occurred_at
           FROM order_event e, generate_series(1, $1) n",
    )
    .bind(backlog)
    .execute(&stage.database)
    .await
    .unwrap();
    let mut kills = 0;
    let mut last = stage.waiting().await;
    assert_eq!(last, backlog);
    while kills < 5 && last > 0 {
        orders.blocking(|service| service.start_again());
        let waiting = eventually("the drain moves on", async || {
            let waiting = stage.waiting().await;
            (waiting < last).then_some(waiting)
        })
        .await;
        orders.blocking(|service| service.kill());
        (kills, last) = (kills + 1, waiting);
    }
    orders.blocking(|service| service.start_again());
    stage.outbox_empties().await;
    let delivered: std::collections::HashSet<String> =
        stage.messages().await.into_iter().map(|message| message.key).collect();
    assert_eq!(delivered.len(), usize::try_from(backlog + 1).unwrap(), "every order's event is in the topic");
    let (status, order) = orders.post("/api/orders", json!(an_order())).await;
    assert_eq!(status, 201, "{order}");
    stage.outbox_empties().await;
}
