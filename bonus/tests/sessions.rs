//! Postgres is not what it was: read only, replaced behind its address, set up by somebody else.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::servers::port::Port;
use stack::servers::{Link, Postgres, Small, SmallDisk};
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, eventually, histories};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::block_in_place;
use uuid::Uuid;

async fn readiness_is(bonus: &Bonus, status: u16, postgres: &str) {
    eventually(&format!("readiness is {status} with Postgres {postgres}"), async || {
        let (answered, body) = bonus.get("/readyz").await;
        if answered == status && body["postgres"] == postgres {
            Ok(())
        } else {
            Err(format!("{answered} {body}"))
        }
    })
    .await;
}

async fn run(connection: &mut PgConnection, statement: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(connection).await.unwrap();
}

async fn points_are(bonus: &Bonus, customer: Uuid, points: i64) {
    eventually(&format!("the customer has {points} points"), async || {
        let (status, account) = bonus.get(&format!("/api/bonuses/{customer}")).await;
        if (status, account["points"].as_i64()) == (200, Some(points)) {
            Ok(())
        } else {
            Err(account.to_string())
        }
    })
    .await;
}

/// As after a planned switchover, or on a full disk: sessions end, new ones may only read.
#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_ready_and_heals() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let mut admin = world.connect().await;
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut admin).await.unwrap();
    run(&mut admin, format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    run(
        &mut admin,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bonus' AND datname = current_database()",
    )
    .await;
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    bonus.logged("The batch could not be credited, trying again").await;
    readiness_is(&bonus, 503, "read_only").await;
    assert_eq!(bonus.get("/api/summary").await.0, 200, "reading goes on");
    run(&mut admin, "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE").await;
    run(&mut admin, format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    readiness_is(&bonus, 200, "reachable").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_credit_and_heals() {
    if let Some(reason) = SmallDisk::unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    let directory = TempDir::new().unwrap();
    let started = block_in_place(|| Postgres::start_on_small_disk(directory.path(), Small::Tables, 128));
    let (postgres, disk) = started.unwrap();
    let world = World::on_postgres(postgres.url()).await;
    let bonus = Bonus::start_ready(&world).await;
    let (before, mut expected) = histories(100, 10);
    produce(&world, &before).await;
    world.points_become(&expected).await;
    block_in_place(|| disk.fill()).unwrap();
    // More than fits into the pages that are there.
    let (during, more) = histories(2_000, 10);
    produce(&world, &during).await;
    expected.extend(more);
    readiness_is(&bonus, 503, "refusing").await;
    let (_, ready) = bonus.get("/readyz").await;
    assert!(ready["cause"].as_str().unwrap().contains("No space left on device"), "{ready}");
    assert_eq!(bonus.get("/api/summary").await.0, 200, "reading goes on");
    block_in_place(|| disk.free()).unwrap();
    world.points_become(&expected).await;
    readiness_is(&bonus, 200, "reachable").await;
    assert!(bonus.get("/readyz").await.1["cause"].is_null());
    world.books_balance().await;
    assert_eq!(bonus.metric("bonus_consumer_restarts_total").await, 0.0);
}

/// A failover by address: nobody tells the connections there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_replaced_for_requests_and_crediting() {
    let world = World::new().await;
    let (base, database) = world.database_url.rsplit_once('/').unwrap();
    let server = base.rsplit_once(':').unwrap().1.parse().unwrap();
    let link = Link::open(Port::free().unwrap(), server).await.unwrap();
    let through_link = format!("postgresql://app:app@127.0.0.1:{}/{database}", link.port());
    let settings = [("DATABASE_URL", through_link.as_str()), ("DATABASE_TIMEOUT_MS", "2000")];
    let bonus = Bonus::start_with(&world, &settings).await;
    bonus.becomes_ready().await;
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    // Several at once, so that several connections are there to go silent.
    let path = format!("/api/bonuses/{customer}");
    futures_util::future::join_all((0..8).map(|_| bonus.get(&path))).await;
    link.abandon();
    let abandoned = Instant::now();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 80)])).await;
    points_are(&bonus, customer, 80).await;
    readiness_is(&bonus, 200, "reachable").await;
    assert!(abandoned.elapsed() < Duration::from_secs(4), "twice the timeout: {:?}", abandoned.elapsed());
}

/// A role that may do nothing but what it was given, and a schema whose name is a word of SQL.
#[tokio::test]
async fn a_role_that_owns_its_schema_is_enough_and_one_that_does_not_is_told_what_it_lacks() {
    let world = World::new().await;
    let mut admin = PgConnection::connect(&world.database_url).await.unwrap();
    let role = format!("bonus_{}", Uuid::now_v7().simple());
    run(&mut admin, format!("CREATE ROLE {role} LOGIN PASSWORD 'app'")).await;
    let (_, place) = world.database_url.split_once('@').unwrap();
    let url = format!("postgresql://{role}:app@{place}");
    let settings = [("DATABASE_URL", url.as_str()), ("BONUS_DB_SCHEMA", "order")];
    let refused = Command::new(env!("CARGO_BIN_EXE_bonus"))
        .envs(settings)
        .env("KAFKA_BROKERS", &world.brokers)
        .env("BONUS_HTTP_ADDR", "127.0.0.1:0")
        .env("BONUS_AUTH", "off")
        .kill_on_drop(true)
        .output();
    let refused = tokio::time::timeout(support::DEADLINE, refused).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("BONUS_DB_SCHEMA") && said.contains("CREATE"),
        "{said}"
    );
    let check = async || -> Value {
        let check = Command::new(env!("CARGO_BIN_EXE_bonus"))
            .args(["check", "--json"])
            .envs(settings)
            .env("BONUS_AUTH", "off")
            .env("KAFKA_BROKERS", &world.brokers)
            .env("ORDERS_TOPIC", &world.topic)
            .output()
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!(answer["ok"] == true, check.status.success(), "{answer}");
        answer
    };
    let answer = check().await;
    assert!(answer["ok"] == false && answer.to_string().contains("may not make it"), "{answer}");

    run(&mut admin, format!("CREATE SCHEMA \"order\" AUTHORIZATION {role}")).await;
    let bonus = Bonus::start_with(&world, &settings).await;
    bonus.becomes_ready().await;
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    points_are(&bonus, customer, 40).await;
    assert_eq!(check().await["ok"], true);
    run(&mut admin, "ALTER TABLE \"order\".ledger OWNER TO app; REVOKE ALL ON \"order\".ledger FROM PUBLIC")
        .await;
    let answer = check().await;
    assert!(answer.to_string().contains("INSERT on ledger"), "{answer}");
    // It answers, and does not credit: as on a full disk.
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    readiness_is(&bonus, 503, "refusing").await;
    run(&mut admin, format!("GRANT SELECT, INSERT ON \"order\".ledger TO {role}")).await;
    points_are(&bonus, customer, 80).await;
    readiness_is(&bonus, 200, "reachable").await;
    drop(bonus);
    run(&mut admin, format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}
