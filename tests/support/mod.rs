//! The order service as a process on real servers; each test has a database, a topic and a retry queue of its own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses its part; tests fail by panicking"
)]

pub mod fragile;
pub mod grants;
pub mod narrow;
pub mod ran;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use stack::servers::{Service, ServiceSettings};
use tempfile::TempDir;
use uuid::Uuid;

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Where the servers are: shared ones by default, or a test's own where it harms them.
#[derive(Clone)]
pub struct Servers {
    pub postgres: String,
    pub kafka: String,
    pub redis: String,
}

impl Servers {
    pub fn shared() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run through make test"))
        };
        Self {
            postgres: variable("DATABASE_URL"),
            kafka: variable("KAFKA_BROKERS"),
            redis: variable("REDIS_URL"),
        }
    }
}

/// A database, a topic and a queue that no other test sees.
pub struct Stage {
    pub servers: Servers,
    /// Of its owner, the tests' superuser.
    pub database_url: String,
    /// By which instances connect: `database_url`, or that of a role that may only serve.
    pub service_url: String,
    pub database: PgPool,
    pub topic: String,
    pub queue: String,
    pub directory: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::on(Servers::shared()).await
    }

    pub async fn on(servers: Servers) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = PgPool::connect(&servers.postgres).await.expect("Postgres must be up");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
        admin.close().await;
        let (place, query) = servers.postgres.split_once('?').unwrap_or((&servers.postgres, ""));
        let (server, _) = place.rsplit_once('/').expect("DATABASE_URL names a database");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let database_url = format!("{server}/{name}{query}");
        let database = PgPoolOptions::new().max_connections(2).connect_lazy(&database_url).unwrap();
        let (topic, queue) = (format!("{name}.events"), format!("{name}:publish-backlog"));
        let (service_url, directory) = (database_url.clone(), TempDir::new().unwrap());
        Self { servers, database_url, service_url, database, topic, queue, directory }
    }

    /// As [`Self::on`], with tables that a role of their own owns. Instances run as a role that `orders migrate` has granted to.
    pub async fn with_roles(servers: Servers) -> Self {
        let mut stage = Self::on(servers).await;
        let (owner, owner_url) = stage.role("owner").await;
        let (service, service_url) = stage.role("service").await;
        let allow = format!("GRANT CREATE, USAGE ON SCHEMA public TO {owner}");
        sqlx::query(AssertSqlSafe(allow)).execute(&stage.database).await.unwrap();
        let migrate = ["migrate", "--grant-to", &service];
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_orders"));
        let output = command.args(migrate).env("DATABASE_URL", owner_url).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        stage.service_url = service_url;
        stage
    }

    /// A role that may connect to the stage's database and nothing more, and the URL by which it does.
    pub async fn role(&self, purpose: &str) -> (String, String) {
        let role = format!("{purpose}_{}", Uuid::new_v4().simple());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
        sqlx::query(AssertSqlSafe(create)).execute(&self.database).await.unwrap();
        let (_, place) = self.database_url.rsplit_once('@').unwrap();
        let url = format!("postgresql://{role}:secret@{place}");
        (role, url)
    }

    /// Settings of an instance; `name` tells it from another on the same stage.
    pub fn settings(&self, name: &str) -> ServiceSettings {
        let settings = ServiceSettings {
            name: name.to_owned(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_orders")),
            address_variable: "ORDERS_HTTP_ADDR",
            environment: Default::default(),
        };
        settings
            .with("ORDERS_AUTH", "off")
            .with("DATABASE_URL", &self.service_url)
            .with("KAFKA_BROKERS", &self.servers.kafka)
            .with("REDIS_URL", &self.servers.redis)
            .with("ORDERS_TOPIC", &self.topic)
            .with("RETRY_QUEUE", &self.queue)
            .with("ENABLE_FAULTS", "true")
            .with("DATABASE_TIMEOUT_MS", "2000")
    }

    pub async fn start(&self) -> Orders {
        self.start_with(self.settings("orders")).await
    }

    pub async fn start_with(&self, settings: ServiceSettings) -> Orders {
        let directory = self.directory.path().to_owned();
        let service =
            tokio::task::spawn_blocking(move || Service::start(&directory, settings)).await.unwrap().unwrap();
        Orders { service, http: client() }
    }

    pub async fn waiting(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox_message").fetch_one(&self.database).await.unwrap()
    }

    pub async fn events(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM order_event").fetch_one(&self.database).await.unwrap()
    }

    pub async fn outbox_empties(&self) {
        eventually("the outbox is empty", async || (self.waiting().await == 0).then_some(())).await;
    }

    /// Puts events of as many orders into the empty journal, behind the service's back.
    pub async fn fill_journal(&self, orders: i32) {
        sqlx::query(
            "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
             SELECT n, e.id, e.id, 1, 'OrderCreated', json_build_object('order_id', e.id, 'version', 1), '{}', now()
               FROM generate_series(1, $1) n, LATERAL (SELECT md5(n::text)::uuid AS id) e",
        )
        .bind(orders)
        .execute(&self.database)
        .await
        .unwrap();
    }

    /// Keeps every append waiting, and so every command in hand, until it is rolled back or dropped.
    pub async fn hold_appends(&self) -> Transaction<'static, Postgres> {
        let mut held = self.database.begin().await.unwrap();
        // The append lock.
        sqlx::query("SELECT pg_advisory_xact_lock(append_lock_key())").execute(&mut *held).await.unwrap();
        held
    }

    /// Returns once an append waits for [`Self::hold_appends`].
    pub async fn append_waits(&self) {
        let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
        eventually("an append waits for the lock", async || {
            let count: i64 = sqlx::query_scalar(waiting).fetch_one(&self.database).await.unwrap();
            (count > 0).then_some(())
        })
        .await;
    }

    /// Ends every session of the database and refuses new ones, for good.
    pub async fn refuse_connections(&self) {
        let admin = PgPool::connect(&self.servers.postgres).await.unwrap();
        let (_, name) = self.database_url.rsplit_once('/').unwrap();
        let refuse = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
        sqlx::query(AssertSqlSafe(refuse)).execute(&admin).await.unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        let _: i64 = sqlx::query_scalar(end).bind(name).fetch_one(&admin).await.unwrap();
        admin.close().await;
    }

    /// Sessions that instances of the service have open here; the lease is one.
    pub async fn sessions(&self) -> i64 {
        let sessions = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'orders'";
        sqlx::query_scalar(sessions).fetch_one(&self.database).await.unwrap()
    }

    /// The service has closed its sessions, of which the lease is one; Postgres takes a moment to end them.
    pub async fn sessions_end(&self) {
        eventually("every session is ended", async || (self.sessions().await == 0).then_some(())).await;
    }

    /// Every message in the topic, partition by partition, up to the present end.
    pub async fn messages(&self) -> Vec<Received> {
        let (brokers, topic) = (self.servers.kafka.clone(), self.topic.clone());
        tokio::task::spawn_blocking(move || read_topic(&brokers, &topic)).await.unwrap()
    }

    /// Checks that the topic holds every event of the journal, the first occurrences of each order in version order, and returns
    /// how many messages were duplicates.
    pub async fn assert_published_in_order(&self) -> usize {
        let journal: Vec<(Uuid, i64)> = sqlx::query_as("SELECT order_id, version FROM order_event")
            .fetch_all(&self.database)
            .await
            .unwrap();
        let messages = self.messages().await;
        let mut last = std::collections::HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for message in &messages {
            if seen.insert((message.order_id, message.version)) {
                let last: &mut i64 = last.entry(message.order_id).or_default();
                assert_eq!(message.version, *last + 1, "order {} out of order", message.order_id);
                *last = message.version;
            }
        }
        for event in &journal {
            assert!(seen.contains(event), "{event:?} is not in the topic");
        }
        assert_eq!(seen.len(), journal.len(), "the topic holds what the journal does not");
        messages.len() - seen.len()
    }
}

/// A message as a consumer sees it.
#[derive(Debug, Clone)]
pub struct Received {
    pub partition: i32,
    /// When the broker wrote it, or when it was sent, as the topic has it; in milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: String,
    pub order_id: Uuid,
    pub version: i64,
    pub value: Value,
    pub headers: Vec<(String, String)>,
}

fn read_topic(brokers: &str, topic: &str) -> Vec<Received> {
    let of_order = |Message { partition, timestamp_ms, key, value, headers }: Message| Received {
        partition,
        timestamp_ms,
        order_id: value["order_id"].as_str().unwrap().parse().unwrap(),
        version: value["version"].as_i64().unwrap(),
        key,
        value,
        headers,
    };
    read_messages(brokers, topic).into_iter().map(of_order).collect()
}

/// A message of whatever service.
#[derive(Debug, Clone)]
pub struct Message {
    pub partition: i32,
    pub timestamp_ms: i64,
    pub key: String,
    pub value: Value,
    pub headers: Vec<(String, String)>,
}

/// Every message in the topic, partition by partition, up to the present end.
pub fn read_messages(brokers: &str, topic: &str) -> Vec<Message> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", Uuid::new_v4().to_string())
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let patience = Duration::from_secs(20);
    let metadata = consumer.fetch_metadata(Some(topic), patience).unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    // By offsets, not by a number of messages: a broker whose disk was full may have written one offset twice.
    let mut unread = BTreeMap::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), patience).unwrap();
        if low < high {
            unread.insert(partition.id(), high);
        }
        assignment.add_partition_offset(topic, partition.id(), rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut received = Vec::new();
    let begun = Instant::now();
    while !unread.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "the topic could not be read to its end");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        if unread.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            unread.remove(&message.partition());
        }
        let value: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let headers = message.headers().unwrap().iter();
        received.push(Message {
            partition: message.partition(),
            timestamp_ms: message.timestamp().to_millis().unwrap(),
            key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
            headers: headers
                .map(|header| {
                    (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap())
                })
                .collect(),
            value,
        });
    }
    received
}

/// A connection a request: one that was kept may be closed by the server, killed or thawed meanwhile, just as it is used.
fn client() -> Client {
    stack::http_client().pool_max_idle_per_host(0).timeout(DEADLINE).build().unwrap()
}

/// A running instance. Ends with this value.
pub struct Orders {
    pub service: Service,
    pub http: Client,
}

impl Orders {
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.url())
    }

    /// Where the operators' side is, of an instance that has it apart.
    pub fn operators(&self) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(" for operators. "));
        let address = line.and_then(|line| line.split_once("Listening on ")?.1.split(' ').next());
        format!("http://{}", address.unwrap_or_else(|| panic!("nothing listens for operators: {log}")))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(self.url(path)).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.http.post(self.url(path)).json(&body).send().await.unwrap()).await
    }

    /// Creates an order that must succeed, and returns its id.
    pub async fn create(&self) -> Uuid {
        let (status, order) = self.post("/api/orders", an_order()).await;
        assert_eq!(status, StatusCode::CREATED, "{order}");
        order["order_id"].as_str().unwrap().parse().unwrap()
    }

    /// A command of an existing order that must succeed.
    pub async fn command(&self, order_id: Uuid, command: &str) -> Value {
        let (status, order) = self.post(&format!("/api/orders/{order_id}/{command}"), json!({})).await;
        assert_eq!(status, StatusCode::OK, "{order}");
        order
    }

    /// A page of the list of orders.
    pub async fn listed(&self, query: &str) -> Value {
        let (status, page) = self.get(&format!("/api/orders?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page
    }

    pub async fn list_caught_up(&self) {
        eventually("the list has caught up", async || {
            (self.listed("limit=1").await["lag_events"] == 0).then_some(())
        })
        .await;
    }

    pub async fn outbox(&self) -> Value {
        let (status, outbox) = self.get("/api/outbox").await;
        assert_eq!(status, StatusCode::OK, "{outbox}");
        outbox
    }

    pub async fn breaker_is(&self, wanted: &str) -> Value {
        eventually(&format!("the breaker is {wanted}"), async || {
            let outbox = self.outbox().await;
            (outbox["breaker"] == wanted).then_some(outbox)
        })
        .await
    }

    pub async fn actor(&self, name: &str) -> Value {
        let (_, actors) = self.get("/api/actors").await;
        let found = actors.as_array().unwrap().iter().find(|actor| actor["name"] == name);
        found.unwrap_or_else(|| panic!("no actor {name}")).clone()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.service.log()).unwrap_or_default()
    }

    /// Runs something that blocks, such as killing the process.
    pub fn blocking<T>(&self, work: impl FnOnce(&Service) -> anyhow::Result<T>) -> T {
        tokio::task::block_in_place(|| work(&self.service)).unwrap()
    }
}

impl Drop for Orders {
    /// A failed test shows what the service had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(" INFO ") || line.contains(" WARN ") || line.contains(" ERROR "))
                .collect();
            eprintln!("--- {} ---", self.service.log().display());
            for line in lines.iter().skip(lines.len().saturating_sub(60)) {
                eprintln!("{line}");
            }
        }
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub fn an_order() -> Value {
    json!({
        "customer_id": Uuid::new_v4(),
        "currency": "EUR",
        "items": [{ "sku": "tea", "quantity": 2, "unit_price_minor": 150 }],
    })
}

/// Waits until `check` gives something. Never a sleep in place of a condition: the pause only spares the machine.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
