//! Real servers for tests: each test has its own database, topic and consumer group, and its own bonus processes.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test helper fails by panicking")]

pub mod arrivals;
pub mod command;
pub mod events;
#[path = "../../../tests/support/grants.rs"]
pub mod grants;
pub mod guard;
pub mod kafka;
pub mod process;
pub mod proxy;
#[path = "../../../tests/support/ran.rs"]
pub mod ran;
pub mod streams;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bonus::config::Config;
use bonus::database;
use clap::Parser;
use kit::settings::Migrate;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::watch;
use uuid::Uuid;

/// How long anything may take before the test fails. Generous: a killed group member is noticed after six seconds.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn http() -> reqwest::Client {
    stack::http_client().build().unwrap()
}

fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: this test needs real servers, run it through `make test`")
    })
}

/// The servers, and names on them that no other test uses.
pub struct World {
    pub database_url: String,
    pub brokers: String,
    pub topic: String,
    /// Where bonus publishes.
    pub events_topic: String,
    pub group: String,
    admin_url: String,
    database: String,
}

impl World {
    pub async fn new() -> Self {
        Self::on(required("KAFKA_BROKERS")).await
    }

    pub async fn on(brokers: String) -> Self {
        Self::on_servers(required("DATABASE_URL"), brokers).await
    }

    /// On a Postgres of the test's own.
    pub async fn on_postgres(admin_url: String) -> Self {
        Self::on_servers(admin_url, required("KAFKA_BROKERS")).await
    }

    async fn on_servers(admin_url: String, brokers: String) -> Self {
        let world = Self::without_topic(admin_url, brokers).await;
        kafka::create_topic(&world.brokers, &world.topic, 3).await;
        world
    }

    /// Where no Kafka is needed.
    pub async fn without_kafka() -> Self {
        Self::without_topic(required("DATABASE_URL"), "127.0.0.1:9".to_owned()).await
    }

    async fn without_topic(admin_url: String, brokers: String) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        let database = format!("bonus_test_{id}");
        let mut admin = PgConnection::connect(&admin_url).await.expect("DATABASE_URL cannot be reached");
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&mut admin)
            .await
            .unwrap();
        Self {
            database_url: with_database(&admin_url, &database),
            brokers,
            topic: format!("orders-{id}"),
            events_topic: format!("bonus-{id}"),
            group: format!("bonus-{id}"),
            admin_url,
            database,
        }
    }

    pub fn config(&self) -> Config {
        Config::parse_from(["bonus", &format!("--database-url={}", self.database_url)])
    }

    pub async fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.database_url).await.unwrap();
        sqlx::raw_sql("SET search_path TO bonus").execute(&mut connection).await.unwrap();
        connection
    }

    /// Every account, straight from the database; empty until the schema is there.
    pub async fn points(&self) -> BTreeMap<Uuid, i64> {
        let rows: Result<Vec<(Uuid, i64)>, _> = sqlx::query_as("SELECT customer_id, points FROM account")
            .fetch_all(&mut self.connect().await)
            .await;
        rows.unwrap_or_default().into_iter().collect()
    }

    pub async fn points_become(&self, expected: &BTreeMap<Uuid, i64>) {
        eventually("the accounts hold exactly the expected points", async || {
            let points = self.points().await;
            if points == *expected { Ok(()) } else { Err(difference(&points, expected)) }
        })
        .await;
    }

    /// Ends every session of the database and refuses new ones, for good.
    pub async fn refuse_connections(&self) {
        let mut admin = PgConnection::connect(&self.admin_url).await.unwrap();
        let refuse = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.database);
        sqlx::raw_sql(AssertSqlSafe(refuse)).execute(&mut admin).await.unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        let _: i64 = sqlx::query_scalar(end).bind(&self.database).fetch_one(&mut admin).await.unwrap();
    }

    /// The accounts must be the sums of the ledger, whatever happened.
    pub async fn books_balance(&self) {
        let wrong: Vec<(Uuid,)> = sqlx::query_as(
            "SELECT a.customer_id FROM account a JOIN ledger_entry l USING (customer_id)
             GROUP BY a.customer_id, a.points, a.credited_events
             HAVING a.points <> sum(l.points) OR a.credited_events <> count(l.event_id)",
        )
        .fetch_all(&mut self.connect().await)
        .await
        .unwrap();
        assert!(wrong.is_empty(), "accounts that are not the sum of their ledger: {wrong:?}");
    }
}

/// A world whose schema is there, without a service.
pub async fn migrated() -> (World, Config) {
    let world = World::new().await;
    let config = world.config();
    migrate(&config).await;
    (world, config)
}

pub async fn migrate(config: &Config) {
    let done =
        database::migrate_when_reachable(&config.database, Migrate::Auto, &mut watch::channel(false).1).await;
    assert!(done.unwrap());
}

fn difference(actual: &BTreeMap<Uuid, i64>, expected: &BTreeMap<Uuid, i64>) -> String {
    let wrong = expected.iter().filter(|(customer, points)| actual.get(customer) != Some(points));
    let total = |points: &BTreeMap<Uuid, i64>| points.values().sum::<i64>();
    format!(
        "{} of {} accounts differ, {} accounts instead of {}, {} points instead of {}",
        wrong.count(),
        expected.len(),
        actual.len(),
        expected.len(),
        total(actual),
        total(expected)
    )
}

impl Drop for World {
    fn drop(&mut self) {
        let (admin_url, database) = (self.admin_url.clone(), self.database.clone());
        // A runtime of its own: drop is not async, and the test's runtime may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                if let Ok(mut admin) = PgConnection::connect(&admin_url).await {
                    let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
                    let _ = sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut admin).await;
                }
            });
        });
        let _ = dropping.join();
    }
}

/// The same server and user, another database.
pub fn with_database(url: &str, database: &str) -> String {
    let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
    let server = base.rsplit_once('/').expect("DATABASE_URL has a path").0;
    let separator = if parameters.is_empty() { "" } else { "?" };
    format!("{server}/{database}{separator}{parameters}")
}

/// Asks until the answer is Ok. The only way tests wait; the last complaint is part of the failure.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        let complaint = match ask().await {
            Ok(answer) => return answer,
            Err(complaint) => complaint,
        };
        assert!(started.elapsed() < DEADLINE, "after {DEADLINE:?} still not: {what}: {complaint}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An event as the order service writes it.
#[derive(Debug, Clone)]
pub struct TestEvent {
    pub order_id: Uuid,
    pub value: Value,
}

pub fn event(event_type: &str, order_id: Uuid, version: i64, customer_id: Uuid) -> TestEvent {
    let value = json!({
        "event_id": Uuid::now_v7(), "event_type": event_type, "order_id": order_id, "version": version,
        "customer_id": customer_id, "occurred_at": chrono::Utc::now(),
    });
    TestEvent { order_id, value }
}

/// `orders` life cycles over `customers` customers, and the points that they come to. Every third order is completed, every
/// fifth of the others cancelled. The events are ordered within each order and interleaved across them.
pub fn histories(orders: usize, customers: usize) -> (Vec<TestEvent>, BTreeMap<Uuid, i64>) {
    let customers: Vec<Uuid> = (0..customers).map(|_| Uuid::now_v7()).collect();
    let mut stages: [Vec<TestEvent>; 4] = Default::default();
    let mut expected: BTreeMap<Uuid, i64> = BTreeMap::new();
    for index in 0..orders {
        let (order_id, customer_id) = (Uuid::now_v7(), customers[index % customers.len()]);
        stages[0].push(event("OrderCreated", order_id, 1, customer_id));
        stages[1].push(event("OrderPaid", order_id, 2, customer_id));
        let points = expected.entry(customer_id).or_default();
        if index % 3 == 0 {
            stages[2].push(event("OrderShipped", order_id, 3, customer_id));
            stages[3].push(event("OrderCompleted", order_id, 4, customer_id));
            *points += 140;
        } else if index % 5 == 0 {
            stages[2].push(event("OrderCancelled", order_id, 3, customer_id));
        } else {
            *points += 40;
        }
    }
    (stages.concat(), expected)
}
