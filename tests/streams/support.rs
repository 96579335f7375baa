//! A Redis that a test may harm, a service that publishes to its streams, and a reader of them.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, FromRedisValue};
use serde_json::Value;
use stack::servers::{Redis, ServiceSettings};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::fragile::blocking;
use crate::support::{DEADLINE, Orders, Servers, Stage, eventually};

/// Few, so that each of them gets some events.
pub const PARTITIONS: u32 = 3;

pub struct Streams {
    pub redis: Redis,
    pub stage: Stage,
    pub directory: TempDir,
}

/// An entry as a consumer sees it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub partition: u32,
    pub order_id: Uuid,
    pub version: i64,
    pub fields: HashMap<String, String>,
}

impl Streams {
    pub async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let redis = blocking(|| Redis::start(directory.path()));
        // Nobody listens there: whatever is published is published to Redis.
        let servers = Servers { kafka: "127.0.0.1:1".to_owned(), redis: redis.url(), ..Servers::shared() };
        Self { stage: Stage::on(servers).await, redis, directory }
    }

    pub fn settings(&self, name: &str) -> ServiceSettings {
        self.stage
            .settings(name)
            .with("ORDERS_MQ", "redis")
            .with("ORDERS_TOPIC_PARTITIONS", PARTITIONS.to_string())
    }

    pub async fn start(&self) -> Orders {
        self.stage.start_with(self.settings("orders")).await
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        connection(&self.redis).await
    }

    pub fn stream(&self, partition: u32) -> String {
        format!("{}:{partition}", self.stage.topic)
    }

    /// Sets a setting of the server.
    pub async fn configure(&self, name: &str, value: &str) {
        let _: () = ask(&mut self.connection().await, &["CONFIG", "SET", name, value]).await;
    }

    /// Where the server keeps its data.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("redis")
    }

    /// What the topic's hash, or the publisher's, has in a field.
    pub async fn field(&self, suffix: &str, field: &str) -> Option<String> {
        self.connection().await.hget(format!("{}{suffix}", self.stage.topic), field).await.unwrap()
    }

    /// Every entry, stream by stream.
    pub async fn entries(&self) -> Vec<Entry> {
        let mut connection = self.connection().await;
        let mut entries = Vec::new();
        for partition in 0..PARTITIONS {
            let read: Vec<(String, HashMap<String, String>)> =
                ask(&mut connection, &["XRANGE", &self.stream(partition), "-", "+"]).await;
            entries.extend(read.into_iter().map(|(_, fields)| {
                let value: Value = serde_json::from_str(&fields["value"]).unwrap();
                Entry {
                    partition,
                    order_id: fields["key"].parse().unwrap(),
                    version: value["version"].as_i64().unwrap(),
                    fields,
                }
            }));
        }
        entries
    }

    /// Checks that the streams have every event of the journal, the first occurrences of each order in version order. Returns how many
    /// entries were duplicates.
    pub async fn assert_published_in_order(&self) -> usize {
        let journal: Vec<(Uuid, i64)> = sqlx::query_as("SELECT order_id, version FROM order_event")
            .fetch_all(&self.stage.database)
            .await
            .unwrap();
        let (mut last, mut seen) = (HashMap::new(), HashSet::new());
        let entries = self.entries().await;
        for entry in &entries {
            if seen.insert((entry.order_id, entry.version)) {
                let last: &mut i64 = last.entry(entry.order_id).or_default();
                assert_eq!(entry.version, *last + 1, "order {} out of order", entry.order_id);
                *last = entry.version;
            }
        }
        for event in &journal {
            assert!(seen.contains(event), "{event:?} is not in the streams");
        }
        assert_eq!(seen.len(), journal.len(), "the streams have what the journal has not");
        entries.len() - seen.len()
    }

    /// The streams have confirmed everything that is in the journal.
    pub async fn confirmed(&self) {
        let head = self.stage.events().await.to_string();
        eventually("the streams have confirmed the journal's end", async || {
            (self.field(":position", "published_seq").await.as_deref() == Some(&head)).then_some(())
        })
        .await;
    }

    /// Every event of the journal is in the streams, although nothing new is published.
    pub async fn restored(&self) {
        let journal = self.stage.events().await as usize;
        eventually("the streams have every event", async || {
            let entries = self.entries().await;
            let seen: HashSet<_> = entries.iter().map(|entry| (entry.order_id, entry.version)).collect();
            (seen.len() == journal).then_some(())
        })
        .await;
    }
}

pub async fn connection(redis: &Redis) -> MultiplexedConnection {
    let client = Client::open(redis.url()).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// A command whose words are given.
pub async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, words: &[&str]) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query_async(connection).await.unwrap()
}

/// The kernel may take a moment to give a killed server's port back.
pub fn start_again(redis: &Redis) -> anyhow::Result<()> {
    let begun = Instant::now();
    while TcpListener::bind((Ipv4Addr::LOCALHOST, redis.port())).is_err() {
        anyhow::ensure!(begun.elapsed() < DEADLINE, "port {} stays taken", redis.port());
        std::thread::sleep(Duration::from_millis(5));
    }
    redis.start_again().map(drop)
}

pub async fn logged(orders: &Orders, parts: &[&str]) -> String {
    let line = |log: String| {
        log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    };
    eventually(&format!("the log says {parts:?}"), async || line(orders.log())).await
}
