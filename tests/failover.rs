//! Another database than before: its last commits gone, its history another, its server a standby; and neighbours in the same one.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::servers::port::Port;
use stack::servers::{Link, PostgresPair, Replication};
use support::fragile::blocking;
use support::{Servers, Stage, an_order, eventually};
use tempfile::TempDir;
use uuid::Uuid;

/// A stage in a schema of the database of `stage`, reached by `url`.
fn in_the_same_database(stage: &Stage, schema: &str, url: String) -> Stage {
    Stage {
        servers: stage.servers.clone(),
        database: PgPoolOptions::new().max_connections(2).connect_lazy(&url).unwrap(),
        database_url: url.clone(),
        service_url: url,
        topic: format!("{}.{schema}", stage.topic),
        queue: format!("{}:{schema}", stage.queue),
        directory: TempDir::new().unwrap(),
    }
}

/// Each is led to its schema by its URL.
#[tokio::test(flavor = "multi_thread")]
async fn two_deployments_share_a_database() {
    let stage = Stage::new().await;
    let [east, west] = ["east", "west"].map(|schema| {
        in_the_same_database(
            &stage,
            schema,
            format!("{}?options=-csearch_path%3D{schema}", stage.database_url),
        )
    });
    for statement in ["CREATE SCHEMA east", "CREATE SCHEMA west"] {
        sqlx::query(statement).execute(&stage.database).await.unwrap();
    }
    let deployments = [east, west];
    let mut instances = Vec::new();
    for deployment in &deployments {
        instances.push(deployment.start_with(deployment.settings("orders")).await);
    }
    for orders in &instances {
        let order_id = orders.create().await;
        orders.command(order_id, "pay").await;
        eventually("it publishes", async || (orders.outbox().await["is_publisher"] == true).then_some(()))
            .await;
    }
    for deployment in &deployments {
        deployment.outbox_empties().await;
        assert_eq!(deployment.events().await, 2);
        assert_eq!(deployment.assert_published_in_order().await, 0);
    }
    // Nobody waits for the append of the other.
    let held = deployments[0].hold_appends().await;
    instances[1].create().await;
    held.rollback().await.unwrap();
}

/// What an asynchronous standby that was promoted has not got: the journal's last event, and the cursors with it.
async fn lose_the_last_event(stage: &Stage) {
    let mut lost = stage.database.begin().await.unwrap();
    for statement in [
        "DELETE FROM order_event WHERE seq = (SELECT max(seq) FROM order_event)",
        "UPDATE publisher_cursor SET published_seq = (SELECT max(seq) FROM order_event)",
        "UPDATE projection_cursor SET projected_seq = (SELECT max(seq) FROM order_event)",
    ] {
        assert_eq!(sqlx::query(statement).execute(&mut *lost).await.unwrap().rows_affected(), 1);
    }
    lost.commit().await.unwrap();
}

async fn list_is_complete(stage: &Stage) {
    let lag = include_str!("../src/list/sql/lag.sql");
    eventually("the list is complete", async || {
        let lag: i64 = sqlx::query_scalar(lag).fetch_one(&stage.database).await.unwrap();
        (lag == 0).then_some(())
    })
    .await;
}

async fn history(stage: &Stage, order_id: Uuid) -> Vec<(i64, String)> {
    sqlx::query_as("SELECT version, event_type FROM order_event WHERE order_id = $1 ORDER BY version")
        .bind(order_id)
        .fetch_all(&stage.database)
        .await
        .unwrap()
}

fn versions(types: &[&str]) -> Vec<(i64, String)> {
    (1..).zip(types.iter().map(|event_type| (*event_type).to_owned())).collect()
}

/// The order's actor is alive and remembers what is gone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_built_on_an_event_that_is_gone() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    orders.command(order_id, "ship").await;
    stage.outbox_empties().await;
    list_is_complete(&stage).await;
    lose_the_last_event(&stage).await;

    let (status, problem) = orders.post(&format!("/api/orders/{order_id}/complete"), json!({})).await;
    assert_eq!((status.as_u16(), &problem["type"]), (409, &json!("urn:orders:problem:illegal-transition")));
    assert_eq!(history(&stage, order_id).await, versions(&["OrderCreated", "OrderPaid"]));
    let log = orders.log();
    assert!(log.contains("Committed events are gone from the journal") && log.contains("known=3"), "{log}");
    let metrics = orders.get("/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("orders_journal_lost_events_total 1"), "{metrics}");

    // The position and the version of the lost event are given out again, and published.
    orders.command(order_id, "cancel").await;
    assert_eq!(history(&stage, order_id).await, versions(&["OrderCreated", "OrderPaid", "OrderCancelled"]));
    let (_, order) = orders.get(&format!("/api/orders/{order_id}")).await;
    assert_eq!(order["status"], "cancelled");
    stage.outbox_empties().await;
    let third: Vec<_> =
        stage.messages().await.into_iter().filter(|message| message.version == 3).map(|m| m.value).collect();
    let types: Vec<_> = third.iter().map(|value| value["event_type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["OrderShipped", "OrderCancelled"],
        "both were acknowledged, the second is the journal's"
    );
}

/// Between its other life and this one the database lost commits, but the cursors were left as they were.
#[tokio::test(flavor = "multi_thread")]
async fn cursors_beyond_the_journals_end_are_set_back() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    for _ in 0..3 {
        orders.create().await;
    }
    stage.outbox_empties().await;
    list_is_complete(&stage).await;
    orders.blocking(|service| service.kill());
    let deleted =
        sqlx::query("DELETE FROM order_event WHERE seq > 1").execute(&stage.database).await.unwrap();
    assert_eq!(deleted.rows_affected(), 2);
    orders.blocking(|service| service.start_again());
    eventually("it publishes", async || (orders.outbox().await["is_publisher"] == true).then_some(())).await;
    eventually("the list is set back", async || orders.log().contains("The list was beyond").then_some(()))
        .await;
    let order_id = orders.create().await;
    stage.outbox_empties().await;
    eventually("the list has it", async || {
        let (_, page) = orders.get("/api/orders").await;
        page["orders"]
            .as_array()
            .unwrap()
            .iter()
            .any(|order| order["order_id"] == json!(order_id))
            .then_some(())
    })
    .await;
    let published = stage.messages().await.iter().any(|message| message.order_id == order_id);
    assert!(published, "its position was below the old cursor");
}

async fn lease_is_held(stage: &Stage) -> bool {
    let holder = include_str!("../engine/src/publisher/sql/sessions.sql");
    let (pid,): (Option<i32>,) =
        sqlx::query_as(AssertSqlSafe(format!("SELECT pid FROM ({holder}) AS sessions")))
            .bind("orders")
            .fetch_one(&stage.database)
            .await
            .unwrap();
    pid.is_some()
}

/// As the clients of a demoted primary see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_gives_no_lease() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    let name = stage.database_url.rsplit_once('/').unwrap().1.to_owned();
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    sqlx::query(AssertSqlSafe(read_only)).execute(&stage.database).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'orders'";
    sqlx::query(end).execute(&stage.database).await.unwrap();
    eventually("the log says so", async || {
        orders.log().contains("Postgres is read-only: it is not asked for the lease").then_some(())
    })
    .await;
    assert!(!lease_is_held(&stage).await);
    eventually("it knows", async || {
        let (status, outbox) = orders.get("/api/outbox").await;
        (status == 200 && outbox["is_publisher"] == false).then_some(())
    })
    .await;

    // The sessions of this pool may be read-only themselves.
    let url = format!("{}?options=-cdefault_transaction_read_only%3Doff", stage.database_url);
    let mut writer = PgConnection::connect(&url).await.unwrap();
    let writable = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    sqlx::query(AssertSqlSafe(writable)).execute(&mut writer).await.unwrap();
    eventually("it publishes again", async || {
        (orders.get("/api/outbox").await.1["is_publisher"] == true).then_some(())
    })
    .await;
    assert_eq!(
        orders.log().matches("it is not asked for the lease").count(),
        1,
        "once, however often it is asked"
    );
    orders.create().await;
    stage.outbox_empties().await;
}

/// A newer instance beside this one writes what this one does not know.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_concerns_its_order_alone() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let (refunded, other) = (orders.create().await, orders.create().await);
    orders.command(refunded, "pay").await;
    let unknown = "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT (SELECT max(seq) FROM order_event) + 1, gen_random_uuid(), $1, $2, $3, $4::json, '{}', now()";
    for (order_id, version, event_type) in
        [(refunded, 3, "OrderRefunded"), (Uuid::now_v7(), 1, "OrderCreated"), (refunded, 4, "OrderRefunded")]
    {
        let held = stage.hold_appends().await;
        sqlx::query(unknown)
            .bind(order_id)
            .bind(version)
            .bind(event_type)
            .bind(json!({ "event_type": event_type, "order_id": order_id, "version": version }).to_string())
            .execute(&stage.database)
            .await
            .unwrap();
        held.rollback().await.unwrap();
    }
    orders.command(other, "pay").await;

    let listed = eventually("the list has taken the change behind them in", async || {
        let (_, page) = orders.get("/api/orders").await;
        let orders = page["orders"].as_array().unwrap().clone();
        orders
            .iter()
            .any(|order| order["order_id"] == json!(other) && order["status"] == "paid")
            .then_some(orders)
    })
    .await;
    let shown = listed.iter().find(|order| order["order_id"] == json!(refunded)).unwrap();
    assert_eq!((&shown["status"], &shown["version"]), (&json!("paid"), &json!(4)), "its status is as it was");
    let vitals = orders.actor("projector").await;
    assert_eq!(
        (&vitals["details"]["unknown_events"], &vitals["details"]["lag_events"]),
        (&json!(3), &json!(0))
    );
    let log = orders.log();
    assert_eq!(log.matches("events that this version does not know").count(), 2, "once a type: {log}");
    let metrics = orders.get("/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("orders_projection_unknown_events_total 3"), "{metrics}");

    for (status, problem) in [
        orders.get(&format!("/api/orders/{refunded}")).await,
        orders.post(&format!("/api/orders/{refunded}/cancel"), json!({})).await,
    ] {
        assert_eq!(
            (status.as_u16(), &problem["type"]),
            (500, &json!("urn:orders:problem:unreadable-history"))
        );
    }
    orders.command(other, "ship").await;
    assert_eq!(history(&stage, refunded).await.len(), 4, "nothing was written to it");
}

/// An asynchronous standby is promoted that has not got what was acknowledged, and published, last.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_commits() {
    let directory = TempDir::new().unwrap();
    let pair = blocking(|| PostgresPair::start(directory.path(), Replication::Asynchronous));
    let (old, new) = (pair.primary().port(), pair.standby().port());
    let link = Link::open(Port::free().unwrap(), old).await.unwrap();
    let mut stage = Stage::on(Servers { postgres: pair.primary().url(), ..Servers::shared() }).await;
    let behind = stage.database_url.replace(&format!(":{old}/"), &format!(":{}/", link.port()));
    let orders = stage.start_with(stage.settings("orders").with("DATABASE_URL", behind)).await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    blocking(|| pair.wait_streaming());
    blocking(|| pair.disconnect());
    orders.command(order_id, "ship").await;
    stage.outbox_empties().await;

    blocking(|| pair.primary().kill());
    link.redirect(new);
    eventually("the standby is not asked for the lease", async || {
        orders.log().contains("Postgres is a standby: it is not asked for the lease").then_some(())
    })
    .await;
    let (status, problem) = orders.post("/api/orders", an_order()).await;
    assert_eq!(status, 503, "{problem}");
    let standby = stage.database_url.replace(&format!(":{old}/"), &format!(":{new}/"));
    stage.database = PgPoolOptions::new().max_connections(2).connect_lazy(&standby).unwrap();
    assert!(!lease_is_held(&stage).await);

    blocking(|| pair.promote());
    eventually("commands are taken again", async || {
        (orders.post("/api/orders", an_order()).await.0 == 201).then_some(())
    })
    .await;
    let log = orders.log();
    assert!(log.contains("Postgres is on another timeline") && log.contains("lost=1"), "{log}");
    // Its actor has had no command since, and remembers that it is shipped.
    let (status, problem) = orders.post(&format!("/api/orders/{order_id}/complete"), json!({})).await;
    assert_eq!((status.as_u16(), &problem["type"]), (409, &json!("urn:orders:problem:illegal-transition")));
    assert_eq!(history(&stage, order_id).await, versions(&["OrderCreated", "OrderPaid"]));

    orders.command(order_id, "cancel").await;
    stage.outbox_empties().await;
    let third: Vec<_> = stage.messages().await.into_iter().filter(|message| message.version == 3).collect();
    let types: Vec<_> = third.iter().map(|message| message.value["event_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["OrderShipped", "OrderCancelled"], "Kafka keeps what Postgres has lost");
}
