//! `orders rebuild list`: the list derived anew from the journal while the service runs.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use stack::servers::ServiceSettings;
use support::ran::{self, Ran, without_terminal};
use support::{Orders, Servers, Stage, eventually};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// The customer of the orders that the journal begins with.
const CUSTOMER: &str = "0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10";
/// A rebuild takes several steps for them. Each has two events.
const ORDERS: i64 = 5_000;

/// A journal of so many orders, each of them created, then each of them paid; and a service whose list shows them.
async fn with_history() -> (Stage, Orders) {
    let stage = Stage::with_roles(Servers::shared()).await;
    sqlx::query(
        "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT n, e.id, o.id, v.version, v.type,
                json_build_object('event_id', e.id, 'event_type', v.type, 'order_id', o.id, 'version', v.version,
                    'customer_id', $2::text, 'occurred_at', t.at, 'currency', 'EUR', 'total_minor', 300,
                    'items', json_build_array(json_build_object('sku', 'tea', 'quantity', 2, 'unit_price_minor', 150))),
                '{}', t.at
           FROM generate_series(1, 2 * $1) n,
        LATERAL (SELECT md5('event' || n)::uuid AS id) e,
        LATERAL (SELECT md5('order' || (n - 1) % $1)::uuid AS id) o,
        LATERAL (SELECT '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 ms' AS at) t,
        LATERAL (SELECT CASE WHEN n <= $1 THEN 1 ELSE 2 END AS version,
                        CASE WHEN n <= $1 THEN 'OrderCreated' ELSE 'OrderPaid' END AS type) v",
    )
    .bind(ORDERS)
    .bind(CUSTOMER)
    .execute(&stage.database)
    .await
    .unwrap();
    let orders = stage.start().await;
    orders.list_caught_up().await;
    (stage, orders)
}

/// Every row of the list, every column.
async fn rows(stage: &Stage) -> Vec<String> {
    let rows = "SELECT row(order_id, customer_id, status, currency, items::text, total_minor, version, created_seq, created_at, updated_at)::text
         FROM order_summary ORDER BY order_id";
    sqlx::query_scalar(rows).fetch_all(&stage.database).await.unwrap()
}

async fn execute(stage: &Stage, statement: &'static str) -> u64 {
    sqlx::query(statement).execute(&stage.database).await.unwrap().rows_affected()
}

async fn number(stage: &Stage, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(&stage.database).await.unwrap()
}

fn spawn(stage: &Stage, arguments: &[&str]) -> Child {
    let ServiceSettings { program, environment, .. } = stage.settings("cli");
    let mut command = Command::new(program);
    command.args(["rebuild", "list"]).args(arguments).envs(environment).env("ENABLE_FAULTS", "false");
    without_terminal(&mut command)
}

/// Its exit code, its answer and what it said on standard error.
async fn ended(child: Child) -> (i32, String, String) {
    let Ran { code, out, err } = ran::ended(child).await;
    (code, out, err)
}

async fn rebuild(stage: &Stage, arguments: &[&str]) -> Value {
    let (code, out, err) = ended(spawn(stage, &[arguments, &["--json"]].concat())).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains(" events applied"), "there is no progress: {err}");
    serde_json::from_str(&out).unwrap()
}

/// As an operator finds it: an order is missing, one is different, and one is there that the journal has not.
async fn damage(stage: &Stage) {
    let oldest = "(SELECT order_id FROM order_summary WHERE status = 'paid' ORDER BY created_seq LIMIT 1)";
    let lost = sqlx::AssertSqlSafe(format!("DELETE FROM order_summary WHERE order_id = {oldest}"));
    sqlx::query(lost).execute(&stage.database).await.unwrap();
    let other = sqlx::AssertSqlSafe(format!(
        "UPDATE order_summary SET status = 'shipped', items = '[]', version = 9 WHERE order_id = {oldest}"
    ));
    sqlx::query(other).execute(&stage.database).await.unwrap();
    execute(
        stage,
        "INSERT INTO order_summary SELECT gen_random_uuid(), gen_random_uuid(), status, currency, items, total_minor, version,
             -created_seq, created_at, updated_at FROM order_summary LIMIT 1",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_rebuilt_while_commands_go_on_and_is_that_of_a_fresh_derivation() {
    let (stage, orders) = with_history().await;
    damage(&stage).await;
    let (stop, done, reads) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let work = async || {
        let mut created = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let order_id = orders.create().await;
            orders.command(order_id, "pay").await;
            created.push(order_id);
            done.fetch_add(1, Ordering::Relaxed);
        }
        created
    };
    // Of all the orders at the beginning one is missing, then none.
    let read = async || {
        let whole =
            "SELECT count(*) FROM order_summary WHERE customer_id = '0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10'";
        while !stop.load(Ordering::Relaxed) {
            let count = number(&stage, whole).await;
            assert!([ORDERS - 1, ORDERS].contains(&count), "{count} of {ORDERS} orders are in the list");
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    let command = async || {
        let going_on = async || {
            let counts = || [done.load(Ordering::Relaxed), reads.load(Ordering::Relaxed)];
            let before = counts();
            eventually("commands and reads go on", async || {
                counts().iter().zip(before).all(|(now, before)| *now >= before + 3).then_some(())
            })
            .await;
        };
        going_on().await;
        let before = done.load(Ordering::Relaxed);
        let report = rebuild(&stage, &[]).await;
        let meanwhile = done.load(Ordering::Relaxed) - before;
        going_on().await;
        stop.store(true, Ordering::Relaxed);
        (report, meanwhile)
    };
    let (created, (), (report, meanwhile)) = tokio::join!(work(), read(), command());

    assert!(meanwhile > 0, "no command went on meanwhile");
    let found = ["added", "removed", "corrected", "unknown_events", "resumed_from"].map(|name| &report[name]);
    assert_eq!(found, [&json!(1), &json!(1), &json!(1), &json!(0), &Value::Null], "{report}");
    assert!(report["orders"].as_i64().unwrap() >= ORDERS, "{report}");
    orders.list_caught_up().await;
    let rebuilt = rows(&stage).await;
    assert_eq!(rebuilt.len(), ORDERS as usize + created.len());

    // What the list says of an order is what the order says.
    let page = orders.listed("limit=200").await;
    let oldest = orders.listed("created_before=2026-01-01T00:00:00.100Z&limit=99").await;
    for listed in [&page["orders"], &oldest["orders"]].into_iter().flat_map(|page| page.as_array().unwrap()) {
        let id = listed["order_id"].as_str().unwrap();
        assert_eq!(*listed, orders.get(&format!("/api/orders/{id}")).await.1);
    }
    // And a derivation from nothing is the same.
    execute(&stage, "TRUNCATE order_summary").await;
    execute(&stage, "UPDATE projection_cursor SET projected_seq = 0 WHERE projection = 'order_summary'")
        .await;
    orders.list_caught_up().await;
    assert_eq!(rows(&stage).await, rebuilt);
}

const REBUILT_SEQ: &str =
    "SELECT projected_seq FROM rebuild_cursor WHERE projection = 'order_summary_rebuilt'";

/// Holds the live cursor, as a projector in its step does: no rebuild ends.
async fn hold(stage: &Stage) -> Transaction<'static, Postgres> {
    let mut held = stage.database.begin().await.unwrap();
    let cursor = "SELECT FROM projection_cursor WHERE projection = 'order_summary' FOR UPDATE";
    sqlx::query(cursor).execute(&mut *held).await.unwrap();
    held
}

/// A rebuild that is killed when it has begun, and before it could end.
async fn killed_rebuild(stage: &Stage, arguments: &[&str]) {
    let held = hold(stage).await;
    let mut child = spawn(stage, arguments);
    eventually("a rebuild has begun", async || (number(stage, REBUILT_SEQ).await > 0).then_some(())).await;
    child.kill().await.unwrap();
    held.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_leaves_the_list_as_it_was_and_is_continued() {
    let (stage, orders) = with_history().await;
    let right = rows(&stage).await;
    damage(&stage).await;
    let damaged = rows(&stage).await;
    killed_rebuild(&stage, &[]).await;
    assert_eq!(rows(&stage).await, damaged);
    orders.create().await;

    let report = rebuild(&stage, &[]).await;
    let from = report["resumed_from"].as_i64().unwrap();
    assert!((1..=2 * ORDERS).contains(&from), "{report}");
    let found = ["added", "removed", "corrected"].map(|name| report[name].as_i64().unwrap());
    assert_eq!((found[1], found[2]), (1, 1), "{report}");
    orders.list_caught_up().await;
    let now = rows(&stage).await;
    assert_eq!(now.len(), right.len() + 1);
    let is_there: BTreeSet<&String> = now.iter().collect();
    assert!(right.iter().all(|row| is_there.contains(row)), "an order is not as it was before the damage");

    // What an interrupted one has left is not used where it must not be.
    killed_rebuild(&stage, &[]).await;
    assert!(execute(&stage, "UPDATE order_summary_rebuilt SET status = 'cancelled'").await > 0);
    let report = rebuild(&stage, &["--restart"]).await;
    let found = ["resumed_from", "added", "removed", "corrected"].map(|name| &report[name]);
    assert_eq!(found, [&Value::Null, &json!(0), &json!(0), &json!(0)], "{report}");
    assert_eq!(rows(&stage).await, now);
    assert_eq!(number(&stage, REBUILT_SEQ).await, 0);
    assert_eq!(number(&stage, "SELECT count(*) FROM order_summary_rebuilt").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rebuild_at_a_time() {
    let (stage, orders) = with_history().await;
    let held = hold(&stage).await;
    let first = spawn(&stage, &["--json"]);
    // From then on it waits for the live cursor, and holds nothing but its lock.
    let derived = async || (number(&stage, REBUILT_SEQ).await == 2 * ORDERS).then_some(());
    eventually("the first has derived all", derived).await;
    let (code, out, err) = ended(spawn(&stage, &[])).await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("another rebuild of the list is at work"), "{err}");
    held.rollback().await.unwrap();
    let (code, out, err) = ended(first).await;
    assert_eq!(code, 0, "the first was not disturbed: {err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["orders"], json!(ORDERS), "{report}");
    let id = Uuid::parse_str(CUSTOMER).unwrap();
    assert_eq!(orders.listed(&format!("customer_id={id}&limit=1")).await["lag_events"], 0);
    let (code, out, _) = ended(spawn(&stage, &[])).await;
    assert_eq!(code, 0);
    assert!(out.contains("the list was what the journal says"), "{out}");
}
