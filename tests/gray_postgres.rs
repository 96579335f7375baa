//! The failure matrix: a Postgres that is there and yet of no use. It is read-only, full, silent, locked, or set up by somebody else.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use stack::servers::port::Port;
use stack::servers::{Link, Postgres, Small, SmallDisk};
use support::fragile::{blocking, ten_orders};
use support::{Orders, Servers, Stage, an_order, eventually};
use tempfile::TempDir;

/// `DATABASE_TIMEOUT_MS` of the instances here.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What a loaded machine may add to a promise.
const SLACK: Duration = Duration::from_secs(2);

/// A service that reaches Postgres through a link, while the test reaches it directly.
async fn start_behind_link(stage: &Stage, name: &str) -> (Orders, Link) {
    let (head, database) = stage.database_url.rsplit_once('/').unwrap();
    let (head, server) = head.rsplit_once(':').unwrap();
    let link = Link::open(Port::free().unwrap(), server.parse().unwrap()).await.unwrap();
    let url = format!("{head}:{}/{database}", link.port());
    (stage.start_with(stage.settings(name).with("DATABASE_URL", url)).await, link)
}

/// A command that is to be refused for the time being: its problem's name, and how long the answer took.
async fn unavailable(orders: &Orders) -> (String, Duration) {
    let begun = Instant::now();
    let answer = orders.http.post(orders.url("/api/orders")).json(&an_order()).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let problem: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (problem["type"].as_str().unwrap().replace("urn:orders:problem:", ""), begun.elapsed())
}

async fn commands_succeed_again(orders: &Orders) {
    eventually("commands succeed again", async || {
        (orders.post("/api/orders", an_order()).await.0 == 201).then_some(())
    })
    .await;
}

async fn is_ready(orders: &Orders, wanted: bool) {
    let status = if wanted { 200 } else { 503 };
    eventually(&format!("/readyz answers {status}"), async || {
        (orders.get("/readyz").await.0 == status).then_some(())
    })
    .await;
}

fn lines(orders: &Orders, wanted: &str) -> usize {
    orders.log().lines().filter(|line| line.contains(wanted)).count()
}

/// As a client of a demoted primary sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_turns_read_only_and_back() {
    let directory = TempDir::new().unwrap();
    let postgres = blocking(|| Postgres::start(directory.path()));
    let stage = Stage::on(Servers { postgres: postgres.url(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    blocking(|| postgres.set_read_only(true));
    is_ready(&orders, false).await;
    for _ in 0..20 {
        let (problem, _) = unavailable(&orders).await;
        assert_eq!(problem, "database-unavailable", "nothing was written, and the client is told so");
    }
    assert_eq!(orders.get("/api/orders").await.0, 200, "reads go on");
    assert_eq!(
        (lines(&orders, "ERROR"), lines(&orders, "Commands cannot be written")),
        (0, 1),
        "one line for all"
    );
    blocking(|| postgres.set_read_only(false));
    let begun = Instant::now();
    is_ready(&orders, true).await;
    ten_orders(&orders).await;
    assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "well again after {:?}", begun.elapsed());
    assert_eq!(lines(&orders, "Commands are written again"), 1);
    stage.outbox_empties().await;
    assert_eq!(stage.events().await, 40, "what was refused left nothing behind");
    stage.assert_published_in_order().await;
}

/// A failover by address: every connection goes silent, new ones work.
#[tokio::test(flavor = "multi_thread")]
async fn connections_go_silent_and_new_ones_work() {
    let stage = Stage::new().await;
    let (orders, link) = start_behind_link(&stage, "orders").await;
    ten_orders(&orders).await;
    // As many connections as a pool keeps, each with something to lose.
    let reads = (0..16).map(|_| orders.get("/api/orders"));
    assert!(futures_util::future::join_all(reads).await.iter().all(|(status, _)| *status == 200));
    stage.outbox_empties().await;
    link.abandon();
    let begun = Instant::now();
    is_ready(&orders, true).await;
    commands_succeed_again(&orders).await;
    for _ in 0..16 {
        eventually("reads succeed", async || (orders.get("/api/orders").await.0 == 200).then_some(())).await;
    }
    assert!(begun.elapsed() < TIMEOUT * 2 + SLACK, "well again after {:?}", begun.elapsed());
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

/// The same, for an instance that does not publish yet; then the one that does is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_for_the_lease_leaves_a_silent_server() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    first.create().await;
    stage.outbox_empties().await;
    let (second, link) = start_behind_link(&stage, "orders-2").await;
    second.create().await;
    stage.outbox_empties().await;
    link.abandon();
    first.blocking(|service| service.kill());
    let begun = Instant::now();
    commands_succeed_again(&second).await;
    stage.outbox_empties().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "takeover took {:?}", begun.elapsed());
    assert_eq!(second.outbox().await["is_publisher"], true);
    stage.assert_published_in_order().await;
}

/// Whatever a database is set to, a session of the service is as the code expects it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_sets_does_not_matter() {
    let stage = Stage::new().await;
    let (_, name) = stage.database_url.rsplit_once('/').unwrap();
    let settings = [
        "default_transaction_isolation = 'repeatable read'",
        "statement_timeout = '20ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '10ms'",
        "idle_session_timeout = '500ms'",
        "search_path = pg_catalog",
        "synchronous_commit = off",
    ];
    for setting in settings {
        let set = AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"));
        sqlx::query(set).execute(&stage.database).await.unwrap();
    }
    let (first, second) = (stage.start().await, stage.start_with(stage.settings("orders-2")).await);
    let clients = (0..16).map(|client| {
        let orders = if client % 2 == 0 { &first } else { &second };
        async move {
            for _ in 0..10 {
                let (status, answer) = orders.post("/api/orders", an_order()).await;
                assert_eq!(status, 201, "{answer}");
            }
        }
    });
    futures_util::future::join_all(clients).await;
    let events = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM public.order_event");
        count.fetch_one(&stage.database).await.unwrap()
    };
    assert_eq!(events().await, 160);
    eventually("all is published", async || (first.outbox().await["pending"] == 0).then_some(())).await;
}

/// Somebody holds the append lock, as a commit does that waits for a synchronous standby which is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_for_long_leaves_no_sessions_behind() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    let before = stage.sessions().await;
    let held = stage.hold_appends().await;
    let begun = Instant::now();
    let (mut refused, mut sessions_max) = (0, 0);
    while begun.elapsed() < TIMEOUT * 4 {
        // One after the other would meet the lock at its first; these also wait in the queue behind it.
        let clients = (0..8).map(|client| {
            let orders = &orders;
            async move {
                tokio::time::sleep(Duration::from_millis(100) * client).await;
                unavailable(orders).await
            }
        });
        for (problem, took) in futures_util::future::join_all(clients).await {
            assert_eq!(problem, "database-unavailable", "the server ended it first, so nothing was written");
            assert!(took < TIMEOUT + Duration::from_millis(500), "one limit from arrival: {took:?}");
            refused += 1;
        }
        sessions_max = sessions_max.max(stage.sessions().await);
    }
    assert!(refused >= 16, "{refused}");
    assert!(sessions_max <= before + 2, "{before} sessions before, {sessions_max} while the lock was held");
    is_ready(&orders, false).await;
    held.rollback().await.unwrap();
    commands_succeed_again(&orders).await;
    is_ready(&orders, true).await;
    assert_eq!(lines(&orders, "Commands cannot be written"), 1, "one line for all");
    stage.outbox_empties().await;
    let events = stage.events().await;
    assert_eq!(events, 2, "nothing that was refused was written later");
    stage.assert_published_in_order().await;
}

/// Each batch meets the full disk once, not once a command; and reads go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_503_and_heals() {
    if let Some(reason) = SmallDisk::unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    let directory = TempDir::new().unwrap();
    let (postgres, disk) = blocking(|| Postgres::start_on_small_disk(directory.path(), Small::Tables, 128));
    let stage = Stage::on(Servers { postgres: postgres.url(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    blocking(|| disk.fill());
    // What fits into pages that are there is still written.
    eventually("a command needs another page", async || {
        (orders.post("/api/orders", an_order()).await.0 == 503).then_some(())
    })
    .await;
    let refused = (0..100).map(|_| orders.post("/api/orders", an_order()));
    let refused = futures_util::future::join_all(refused).await;
    let told = |name: &str| {
        let kind = format!("urn:orders:problem:{name}");
        refused.iter().filter(|(_, problem)| problem["type"] == kind.as_str()).count()
    };
    assert!(told("database-unavailable") >= 90, "{refused:?}");
    assert_eq!(told("internal"), 0, "{refused:?}");
    is_ready(&orders, false).await;
    assert_eq!(orders.get("/api/orders").await.0, 200, "reads go on");
    assert_eq!(lines(&orders, "ERROR"), 0);
    assert!(lines(&orders, "cannot be written") <= 5, "not a line a command");
    blocking(|| disk.free());
    commands_succeed_again(&orders).await;
    is_ready(&orders, true).await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}
