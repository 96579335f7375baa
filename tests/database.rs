//! The failure matrix, its Postgres row: answers lost, sessions ended, connections exhausted.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::servers::port::Port;
use stack::servers::{Link, Passage, Postgres};
use support::{Orders, Servers, Stage, an_order, eventually};
use tempfile::TempDir;

/// A stage whose service reaches Postgres through a link, while the test reaches it directly.
async fn linked() -> (Stage, Link) {
    let stage = Stage::new().await;
    let server = stage.servers.postgres.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap().1;
    let link = Link::open(Port::free().unwrap(), server.parse().unwrap()).await.unwrap();
    (stage, link)
}

async fn start_behind(stage: &Stage, link: &Link) -> Orders {
    let (head, database) = stage.database_url.rsplit_once('/').unwrap();
    let (head, _) = head.rsplit_once(':').unwrap();
    let url = format!("{head}:{}/{database}", link.port());
    stage.start_with(stage.settings("orders").with("DATABASE_URL", url)).await
}

async fn keyed(orders: &Orders, key: &str, body: &Value) -> (u16, Value) {
    let request = orders.http.post(orders.url("/api/orders")).header("Idempotency-Key", key).json(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// The connection is cut between the commit and its answer. Whatever the client is told, its key leads to one order.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_commit_is_lost() {
    let (stage, link) = linked().await;
    let orders = start_behind(&stage, &link).await;
    orders.create().await;
    for round in 0..5 {
        let (key, body) = (format!("key-{round}"), an_order());
        let before = stage.events().await;
        link.set(Passage::Unanswered);
        let cut = async {
            eventually("the event is committed", async || (stage.events().await > before).then_some(()))
                .await;
            link.set(Passage::Cut);
            link.set(Passage::Open);
        };
        let ((status, first), ()) = futures_util::future::join(keyed(&orders, &key, &body), cut).await;
        assert!(
            status == 201 || first["type"] == "urn:orders:problem:outcome-unknown",
            "carried out, or unknown; never refused: {status} {first}"
        );
        let again = eventually("the key leads to its order", async || {
            let (status, again) = keyed(&orders, &key, &body).await;
            (status == 201).then_some(again)
        })
        .await;
        assert!(first["order_id"].is_null() || first["order_id"] == again["order_id"], "{first} {again}");
        assert_eq!(stage.events().await, before + 1, "once");
    }
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

/// Packets are lost in both directions for a while, which no connection notices.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_to_postgres_stalls() {
    let (stage, link) = linked().await;
    let orders = start_behind(&stage, &link).await;
    orders.create().await;
    link.set(Passage::Stalled);
    let answer = orders.http.post(orders.url("/api/orders")).json(&an_order()).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    link.set(Passage::Open);
    eventually("commands succeed again", async || {
        (orders.post("/api/orders", an_order()).await.0 == 201).then_some(())
    })
    .await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

async fn lease_session(stage: &Stage) -> Option<i32> {
    let holder = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
         WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted";
    sqlx::query_scalar(holder).fetch_optional(&stage.database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leases_session_is_ended_by_an_administrator() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    for _ in 0..3 {
        let session = eventually("the lease is held", async || lease_session(&stage).await).await;
        let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1)")
            .bind(session)
            .fetch_one(&stage.database)
            .await
            .unwrap();
        assert!(ended);
        orders.create().await;
        eventually("another session has the lease", async || {
            lease_session(&stage).await.filter(|now| *now != session)
        })
        .await;
        stage.outbox_empties().await;
    }
    stage.assert_published_in_order().await;
}

/// A Postgres with few connections, all of them taken by others.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_has_no_connection_left() {
    let directory = TempDir::new().unwrap();
    let postgres = tokio::task::block_in_place(|| Postgres::start(directory.path())).unwrap();
    let stage = Stage::on(Servers { postgres: postgres.url(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    let mut administrator = PgConnection::connect(&stage.database_url).await.unwrap();
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&stage.database_url).await {
        taken.push(connection);
    }
    assert!(!taken.is_empty());
    // The journal has its connection; it answers as before.
    orders.create().await;
    // Without it, it has to wait for one like everybody else.
    let sessions: Vec<i32> = sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'orders'",
    )
    .fetch_all(&mut administrator)
    .await
    .unwrap();
    for session in sessions {
        let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(session);
        end.execute(&mut administrator).await.unwrap();
        // Whoever is quicker has the connection.
        while let Ok(connection) = PgConnection::connect(&stage.database_url).await {
            taken.push(connection);
        }
    }
    let refused = orders.http.post(orders.url("/api/orders")).json(&an_order()).send().await.unwrap();
    let status = refused.status();
    assert!(status == 503 && refused.headers().contains_key("retry-after") || status == 201, "{status}");
    drop(taken);
    eventually("ready again by itself", async || (orders.get("/readyz").await.0 == 200).then_some(())).await;
    eventually("commands succeed again", async || {
        (orders.post("/api/orders", an_order()).await.0 == 201).then_some(())
    })
    .await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

/// The server ends idle sessions; the lease's is never idle for long.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_outlives_the_servers_idle_timeout() {
    let stage = Stage::new().await;
    let (_, name) = stage.database_url.rsplit_once('/').unwrap();
    sqlx::query(AssertSqlSafe(format!("ALTER DATABASE {name} SET idle_session_timeout = '3s'")))
        .execute(&stage.database)
        .await
        .unwrap();
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    let session = eventually("the lease is held", async || lease_session(&stage).await).await;
    // Longer than the timeout: what is measured is that nothing happens.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lease_session(&stage).await, Some(session), "the same session still");
    orders.create().await;
    stage.outbox_empties().await;
}
