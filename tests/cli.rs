//! The commands of the `orders` binary, as an operator or a script runs them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use stack::servers::{Postgres, ServiceSettings};
use support::fragile::{blocking, fragile, retry_is};
use support::narrow::{large_order, narrow_topic, widen_topic};
use support::ran::{Ran, ended, without_terminal};
use support::{Orders, Servers, Stage, eventually};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

/// A port that nobody listens on.
const NOBODY: &str = "127.0.0.1:1";

/// Starts the binary in the stage's environment, with these variables besides, and without a terminal.
fn spawn(stage: &Stage, variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    let ServiceSettings { program, environment, .. } = stage.settings("cli");
    let mut command = Command::new(program);
    command.args(arguments).envs(environment).env("ENABLE_FAULTS", "false").envs(variables.iter().copied());
    without_terminal(&mut command)
}

async fn run_with(stage: &Stage, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    ended(spawn(stage, variables, arguments)).await
}

async fn run(stage: &Stage, arguments: &[&str]) -> Ran {
    run_with(stage, &[], arguments).await
}

fn nowhere() -> String {
    format!("postgresql://app:app@{NOBODY}/app")
}

async fn paid_orders(orders: &Orders, count: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let order_id = orders.create().await;
        orders.command(order_id, "pay").await;
        ids.push(order_id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_the_health_check_of_an_image() {
    let directory = TempDir::new().unwrap();
    let postgres = blocking(|| Postgres::start(directory.path()));
    let stage = Stage::on(Servers { postgres: postgres.url(), ..Servers::shared() }).await;
    let orders = stage.start().await;
    let address = orders.url("").replace("http://", "");
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    // It takes no other setting.
    let at = |address| [("ORDERS_HTTP_ADDR", address), ("DATABASE_URL", "?"), ("KAFKA_BROKERS", "?")];
    let ready = run_with(&stage, &at(&everywhere), &["ready", "--json"]).await.ended(0);
    assert_eq!(ready["ready"], true, "{ready}");
    assert_eq!(run_with(&stage, &at(&address), &["ready"]).await.out, "ready\n");

    blocking(|| postgres.kill());
    run_with(&stage, &at(&address), &["ready"]).await.failed(1, "\"ready\":false");
    run_with(&stage, &at(NOBODY), &["ready"]).await.failed(1, "does not answer");
    run_with(&stage, &at("127.0.0.1:0"), &["ready"]).await.failed(1, "names no port");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_status_tell_what_is_published_with_the_settings_they_need() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = paid_orders(&orders, 1).await[0].to_string();
    stage.outbox_empties().await;
    // Nothing but the database is asked: neither servers nor settings of anything else count.
    let elsewhere = [("KAFKA_BROKERS", NOBODY), ("REDIS_URL", "?"), ("ORDERS_HTTP_ADDR", "?")];
    let history = run_with(&stage, &elsewhere, &["events", &order_id, "--json"]).await.ended(0);
    assert_eq!(history["order_id"], order_id);
    let events = history["events"].as_array().unwrap();
    let told =
        |event: &Value| (event["event_type"].clone(), event["version"].clone(), event["publication"].clone());
    let expected = [("OrderCreated", 1), ("OrderPaid", 2)];
    let expected = expected.map(|(name, version)| (name.into(), version.into(), "published".into()));
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(events[0]["data"]["order_id"], order_id);
    let table = run(&stage, &["events", &order_id]).await;
    assert!(table.out.contains("OrderPaid") && table.out.contains("published"), "{}", table.out);

    let status = run(&stage, &["outbox", "status", "--json"]).await.ended(0);
    assert_eq!((&status["pending"], &status["published_seq"]), (&0.into(), &2.into()), "{status}");
    assert_eq!(status["publisher"]["application"], "orders");
    assert_eq!(status["service_is_connected"], true);
    assert!(status["retry"].is_null() && status["retry_unknown"].is_null(), "{status}");
    let without_redis =
        run_with(&stage, &[("REDIS_URL", "redis://127.0.0.1:1")], &["outbox", "status"]).await;
    assert_eq!(without_redis.code, 0, "{}", without_redis.err);
    assert!(without_redis.out.contains("unknown: "), "{}", without_redis.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_with_its_exit_code() {
    let stage = Stage::new().await;
    let unknown = Uuid::now_v7().to_string();
    run(&stage, &["events", &unknown]).await.failed(1, "has no tables of the order service");
    run(&stage, &["rebuild", "list"]).await.failed(1, "has no tables of this version of the order service");
    drop(stage.start().await);
    run(&stage, &["events", &unknown]).await.failed(1, &format!("there is no order {unknown}"));
    let nowhere = nowhere();
    let away = [("DATABASE_URL", nowhere.as_str())];
    for command in [
        &["events", &unknown][..],
        &["outbox", "status"],
        &["outbox", "drain"],
        &["replay", "--from", "1", "--yes"],
        &["rebuild", "list"],
        &["quarantine", "list"],
        &["quarantine", "release", "--all"],
        &["quarantine", "discard", &unknown, "--seq", "1", "--reason", "r", "--by", "kim", "--yes"],
    ] {
        run_with(&stage, &away, command).await.failed(1, "Postgres at 127.0.0.1:1/app cannot be reached");
    }
    for wrong in [
        &["events", "1"][..],
        &["outbox"],
        &["replay"],
        &["replay", "--from", "0"],
        &["quarantine", "release"],
        &["sing"],
    ] {
        run(&stage, wrong).await.failed(2, "");
    }
    run_with(&stage, &[("DATABASE_TIMEOUT_MS", "soon")], &["events", &unknown]).await.failed(2, "soon");
    run(&stage, &["replay", "--from", "1", "--yes"]).await.failed(1, "nothing to send");
    run(&stage, &["quarantine", "discard", &unknown, "--seq", "1", "--reason", "r", "--by", "kim", "--yes"])
        .await
        .failed(1, "no event of it is quarantined");
    let retried = run(&stage, &["quarantine", "release", &unknown, "--json"]).await.ended(1);
    assert_eq!(retried["not_quarantined"][0], unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_service_and_gives_up_in_time() {
    let test = fragile().await;
    let stage = &test.stage;
    let orders = stage.start().await;
    paid_orders(&orders, 1).await;
    stage.outbox_empties().await;
    let nothing = run(stage, &["outbox", "drain", "--json"]).await.ended(0);
    assert_eq!((&nothing["drained"], &nothing["published"]), (&true.into(), &0.into()), "{nothing}");
    blocking(|| test.kafka.kill());
    let order_id = paid_orders(&orders, 5).await[0].to_string();
    retry_is(&orders, "redis", 1).await;
    let waiting = run(stage, &["outbox", "drain", "--timeout", "1", "--json"]).await.ended(1);
    assert_eq!((&waiting["drained"], &waiting["remaining"]), (&false.into(), &10.into()), "{waiting}");
    let history = run(stage, &["events", &order_id, "--json"]).await.ended(0);
    assert_eq!(history["events"][0]["publication"], "waiting");
    let status = run(stage, &["outbox", "status", "--json"]).await.ended(0);
    assert_eq!(status["pending"], 10);
    assert!(status["oldest_pending_age_seconds"].as_f64().unwrap() > 0.9, "{status}");
    assert!(status["retry"]["attempt"].as_u64().unwrap() >= 1, "{status}");

    let draining = spawn(stage, &[], &["outbox", "drain", "--timeout", "50", "--json"]);
    blocking(|| test.kafka.start_again());
    let drained = ended(draining).await;
    assert!(drained.err.contains("of 10 events published"), "{}", drained.err);
    let drained = drained.ended(0);
    assert_eq!((&drained["drained"], &drained["published"]), (&true.into(), &10.into()), "{drained}");
    assert_eq!(drained["published_here"], false, "the service was there");
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_without_a_service_publishes_by_itself() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("KAFKA_BROKERS", NOBODY)).await;
    let ids = paid_orders(&orders, 30).await;
    orders.blocking(|service| service.kill());
    stage.sessions_end().await;
    let drained = run(&stage, &["outbox", "drain", "--timeout", "50", "--json"]).await.ended(0);
    assert_eq!((&drained["published"], &drained["published_here"]), (&60.into(), &true.into()), "{drained}");
    assert_eq!(stage.waiting().await, 0);
    assert_eq!(stage.assert_published_in_order().await, 0);
    let status = run(&stage, &["outbox", "status", "--json"]).await.ended(0);
    assert!(status["publisher"].is_null(), "the lease is given up: {status}");
    assert_eq!(status["service_is_connected"], false);
    // And where Kafka is away, it ends in time all the same.
    orders.blocking(|service| service.start_again());
    orders.command(ids[0], "ship").await;
    orders.blocking(|service| service.kill());
    stage.sessions_end().await;
    let away = [("KAFKA_BROKERS", NOBODY)];
    let waiting = run_with(&stage, &away, &["outbox", "drain", "--timeout", "3", "--json"]).await.ended(1);
    assert_eq!((&waiting["remaining"], &waiting["published_here"]), (&1.into(), &true.into()), "{waiting}");
}

/// Copies of each event in the topic.
async fn copies(stage: &Stage) -> BTreeMap<(Uuid, i64), usize> {
    let mut copies = BTreeMap::new();
    for message in stage.messages().await {
        *copies.entry((message.order_id, message.version)).or_default() += 1;
    }
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_copies_and_moves_nothing() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let ids = paid_orders(&orders, 10).await;
    stage.outbox_empties().await;
    run(&stage, &["replay", "--from", "1"]).await.failed(2, "say --yes");
    assert_eq!(stage.messages().await.len(), 20);
    let replayed = run(&stage, &["replay", "--from", "5", "--yes", "--json"]).await.ended(0);
    assert_eq!((&replayed["sent"], &replayed["to"]), (&16.into(), &20.into()), "{replayed}");
    assert!(replayed["resume_from"].is_null());
    assert_eq!(stage.assert_published_in_order().await, 16);
    let second = ids[1].to_string();
    let replayed = run(&stage, &["replay", "--from", "1", "--to", "3", "--of", &second, "--yes"]).await;
    assert_eq!((replayed.code, replayed.out.as_str()), (0, "1 event sent again.\n"), "{}", replayed.err);
    let copies = copies(&stage).await;
    assert_eq!((copies[&(ids[0], 1)], copies[&(ids[1], 1)], copies[&(ids[9], 2)]), (1, 2, 2));
    // A copy is the same message, all but its place.
    let messages = stage.messages().await;
    let same: Vec<_> =
        messages.iter().filter(|message| (message.order_id, message.version) == (ids[5], 2)).collect();
    assert_eq!(same.len(), 2);
    assert_eq!(
        (&same[0].value, &same[0].headers, &same[0].key),
        (&same[1].value, &same[1].headers, &same[1].key)
    );
    let outbox = orders.outbox().await;
    assert_eq!((&outbox["published_seq"], &outbox["is_publisher"]), (&20.into(), &true.into()), "{outbox}");
    run(&stage, &["replay", "--from", "21", "--yes"]).await.failed(1, "published is up to position 20");
    let away = [("KAFKA_BROKERS", NOBODY)];
    run_with(&stage, &away, &["replay", "--from", "1", "--yes"]).await.failed(1, "Kafka at 127.0.0.1:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_says_where_to_resume() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.blocking(|service| service.stop());
    stage.sessions_end().await;
    stage.fill_journal(1_200).await;
    let published = "UPDATE publisher_cursor SET published_seq = 1200";
    sqlx::raw_sql(published).execute(&stage.database).await.unwrap();
    let mut held = stage.database.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE order_event IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let patient = [("DATABASE_TIMEOUT_MS", "50000")];
    let replaying = spawn(&stage, &patient, &["replay", "--from", "101", "--yes", "--json"]);
    eventually("it reads its first page", async || {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE relation = 'order_event'::regclass AND NOT granted";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&stage.database).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    let pid = replaying.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    held.rollback().await.unwrap();
    let replayed = ended(replaying).await.ended(1);
    assert_eq!((&replayed["sent"], &replayed["resume_from"]), (&500.into(), &601.into()), "{replayed}");
    let rest = run(&stage, &["replay", "--from", "601", "--yes", "--json"]).await.ended(0);
    assert_eq!(rest["sent"], 600);
    assert_eq!(stage.messages().await.len(), 1100);
}

async fn set_aside(orders: &Orders) -> String {
    let (_, order) = orders.post("/api/orders", large_order()).await;
    let order_id = order["order_id"].as_str().unwrap().to_owned();
    orders.command(order_id.parse().unwrap(), "pay").await;
    order_id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_is_listed_released_and_discarded() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    let orders = stage.start().await;
    let (first, second) = (set_aside(&orders).await, set_aside(&orders).await);
    // Together more than the topic takes at once.
    let others = paid_orders(&orders, 20).await;
    let listed = eventually("both large orders are quarantined", async || {
        let listed = run(&stage, &["quarantine", "list", "--json"]).await.ended(0);
        let whole = |order: &Value| order["waiting_events"] == 2;
        let orders = listed["orders"].as_array().unwrap();
        (orders.len() == 2 && orders.iter().all(whole)).then_some(listed)
    })
    .await;
    assert!(listed["orders"][0]["error"].as_str().unwrap().contains("MessageSizeTooLarge"), "{listed}");
    let history = run(&stage, &["events", &first, "--json"]).await.ended(0);
    assert_eq!(history["events"][1]["publication"], "quarantined");
    let check = run(&stage, &["check", "--json"]).await.ended(0);
    assert_eq!(finding(&check, "quarantine")["status"], "warn");
    // The quarantine is the publisher's: a replay leaves it alone.
    eventually("the others are published", async || (stage.waiting().await == 4).then_some(())).await;
    let replayed = run(&stage, &["replay", "--from", "1", "--yes", "--json"]).await.ended(0);
    assert_eq!((&replayed["sent"], &replayed["quarantined"]), (&40.into(), &4.into()), "{replayed}");
    assert_eq!(copies(&stage).await[&(others[0], 1)], 2);

    let seq = history["events"][0]["seq"].to_string();
    let of_first =
        listed["orders"].as_array().unwrap().iter().find(|order| order["order_id"] == first.as_str());
    assert_eq!(of_first.unwrap()["first_waiting_seq"].to_string(), seq);
    let discard = ["quarantine", "discard", &first, "--seq", &seq, "--reason", "too large", "--by", "kim"];
    run(&stage, &discard[..3]).await.failed(2, "--seq <SEQ>");
    run(&stage, &discard).await.failed(2, "say --yes");
    let discard: Vec<&str> = discard.into_iter().chain(["--yes", "--json"]).collect();
    let discarded = run(&stage, &discard).await.ended(0);
    assert_eq!((&discarded["seq"].to_string(), &discarded["repeated"]), (&seq, &false.into()));
    assert_eq!((&discarded["discarded_by"], &discarded["reason"]), (&"kim".into(), &"too large".into()));
    let repeated = run(&stage, &discard).await.ended(0);
    assert_eq!(
        (&repeated["repeated"], &repeated["discarded_at"]),
        (&true.into(), &discarded["discarded_at"])
    );
    eventually("the rest of it follows", async || (stage.waiting().await == 2).then_some(())).await;
    widen_topic(&stage).await;
    let retried = run(&stage, &["quarantine", "release", "--all", "--json"]).await.ended(0);
    assert!(retried["released"].as_array().unwrap().contains(&second.as_str().into()), "{retried}");
    stage.outbox_empties().await;
    let copies = copies(&stage).await;
    let history = run(&stage, &["events", &first, "--json"]).await.ended(0);
    assert_eq!(history["events"][0]["publication"], "discarded");
    let replayed = run(&stage, &["replay", "--from", "1", "--of", &first, "--yes", "--json"]).await.ended(0);
    assert_eq!((&replayed["sent"], &replayed["discarded"]), (&1.into(), &1.into()), "{replayed}");
    let of = |order_id: &str, version| copies.get(&(order_id.parse().unwrap(), version)).copied();
    assert_eq!([of(&first, 1), of(&first, 2)], [None, Some(1)]);
    assert_eq!([of(&second, 1), of(&second, 2)], [Some(1), Some(1)]);
}

fn finding(check: &Value, name: &str) -> Value {
    let found = check["checks"].as_array().unwrap().iter().find(|finding| finding["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {check}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_is_wrong() {
    let stage = Stage::new().await;
    let before = run(&stage, &["check", "--json"]).await.ended(0);
    for not_yet in ["schema", "topic"] {
        assert_eq!(finding(&before, not_yet)["status"], "warn", "{before}");
    }
    let orders = stage.start().await;
    paid_orders(&orders, 1).await;
    stage.outbox_empties().await;
    let well = run(&stage, &["check", "--json"]).await.ended(0);
    assert_eq!(well["ok"], true);
    for (name, status) in [
        ("settings", "ok"),
        ("auth", "ok"),
        ("postgres", "ok"),
        ("pooler", "ok"),
        ("server", "ok"),
        ("encoding", "ok"),
        ("standbys", "ok"),
        ("sessions", "ok"),
        // The one of the tests is a superuser.
        ("role", "warn"),
        ("privileges", "ok"),
        ("durability", "ok"),
        ("clock", "ok"),
        ("schema", "ok"),
        ("publisher", "ok"),
        ("cursor", "ok"),
        ("quarantine", "ok"),
        ("kafka link", "ok"),
        ("kafka", "ok"),
        ("topic", "ok"),
        // The broker of the tests has it on, and is alone.
        ("auto-creation", "warn"),
        ("replication", "warn"),
        ("cleanup", "ok"),
        ("retention", "ok"),
        ("timestamps", "ok"),
        ("dead letters", "ok"),
        ("redis", "ok"),
        ("redis memory", "ok"),
    ] {
        assert_eq!(finding(&well, name)["status"], status, "{well}");
    }
    assert_eq!(well["checks"].as_array().unwrap().len(), 29);
    let nowhere = nowhere();
    for (variable, value, name) in [
        ("KAFKA_BROKERS", NOBODY, "kafka"),
        ("REDIS_URL", "redis://127.0.0.1:1", "redis"),
        ("DATABASE_URL", &nowhere, "postgres"),
        ("BACKOFF_CAP_MS", "soon", "settings"),
        // Nothing says by which keys.
        ("ORDERS_AUTH", "jwt", "auth"),
    ] {
        let found = run_with(&stage, &[(variable, value)], &["check", "--json"]).await.ended(1);
        assert_eq!(
            (&found["ok"], &finding(&found, name)["status"]),
            (&false.into(), &"fail".into()),
            "{found}"
        );
    }
    let table = run_with(&stage, &[("REDIS_URL", "redis://127.0.0.1:1")], &["check"]).await;
    let lines = |status: &str| table.out.lines().filter(|line| line.contains(status)).count();
    assert_eq!((table.code, lines(" FAIL "), lines(" WARN ")), (1, 1, 3), "{}", table.out);

    orders.blocking(|service| service.stop());
    for (statement, name, status) in [
        ("SELECT 1", "publisher", "warn"),
        ("UPDATE publisher_cursor SET published_seq = 0", "cursor", "ok"),
        ("UPDATE publisher_cursor SET published_seq = 99", "cursor", "fail"),
        ("DELETE FROM _sqlx_migrations WHERE version > 1", "schema", "warn"),
        ("UPDATE _sqlx_migrations SET version = 99", "schema", "fail"),
        ("UPDATE _sqlx_migrations SET success = false", "schema", "fail"),
    ] {
        sqlx::query(statement).execute(&stage.database).await.unwrap();
        let found = run(&stage, &["check", "--json"]).await.json();
        assert_eq!(finding(&found, name)["status"], status, "{statement}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_alone_serve_and_help_names_the_commands() {
    let stage = Stage::new().await;
    let mut serving = spawn(&stage, &[], &["--http-addr", "127.0.0.1:0", "--arbiters=1"]);
    let id = serving.id().unwrap().to_string();
    eventually("it serves", async || (stage.sessions().await > 1).then_some(())).await;
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(timeout(Duration::from_secs(30), serving.wait()).await.unwrap().unwrap().success());
    let help = run(&stage, &["--help"]).await;
    for command in ["serve", "outbox", "events", "replay", "quarantine", "check", "Exit codes"] {
        assert!(help.out.contains(command), "{}", help.out);
    }
}
