//! A Redis of the test's own as the message queue, and the order service's side of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

use redis::{Cmd, Connection, FromRedisValue};
use serde_json::Value;
use stack::servers::Redis;
use tempfile::TempDir;
use uuid::Uuid;

use super::process::Bonus;
use super::{DEADLINE, TestEvent, World, eventually};

pub const PARTITIONS: i32 = 3;

pub struct RedisWorld {
    world: World,
    pub redis: Redis,
    _directory: TempDir,
}

impl Deref for RedisWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl RedisWorld {
    /// With a topic that has no entries yet.
    pub async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let redis = Redis::start(directory.path()).unwrap();
        Self::on(redis, directory).await
    }

    /// On a Redis of the test's own, which is in this directory.
    pub async fn on(redis: Redis, directory: TempDir) -> Self {
        let made = Self { world: World::without_kafka().await, redis, _directory: directory };
        made.create_topic(PARTITIONS);
        made
    }

    pub async fn start_with(&self, settings: &[(&str, &str)]) -> Bonus {
        let url = self.redis.url();
        let settings = [&[("BONUS_MQ", "redis"), ("REDIS_URL", url.as_str())], settings].concat();
        Bonus::start_with(&self.world, &settings).await
    }

    pub async fn start(&self) -> Bonus {
        let bonus = self.start_with(&[]).await;
        bonus.becomes_ready().await;
        bonus
    }

    /// Runs a command of the binary; the document on its standard output.
    pub async fn run(&self, arguments: &[&str]) -> Value {
        let running = tokio::process::Command::new(env!("CARGO_BIN_EXE_bonus"))
            .args(arguments)
            .env("BONUS_AUTH", "off")
            .env("DATABASE_URL", &self.world.database_url)
            .env("BONUS_MQ", "redis")
            .env("REDIS_URL", self.redis.url())
            .env("ORDERS_TOPIC", &self.world.topic)
            .env("BONUS_GROUP_ID", &self.world.group)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn connection(&self) -> Connection {
        self.redis.client().unwrap().get_connection().unwrap()
    }

    pub fn ask<T: FromRedisValue>(&self, command: &str, arguments: &[&str]) -> T {
        Self::ask_at(&self.redis, command, arguments)
    }

    pub fn ask_at<T: FromRedisValue>(server: &Redis, command: &str, arguments: &[&str]) -> T {
        let mut connection = server.client().unwrap().get_connection().unwrap();
        redis::cmd(command).arg(arguments).query(&mut connection).unwrap()
    }

    /// Another server that has what this one has.
    pub async fn replica(&self) -> (TempDir, Redis) {
        let directory = TempDir::new().unwrap();
        let replica = Redis::start(directory.path()).unwrap();
        let _: String = Self::ask_at(&replica, "REPLICAOF", &["127.0.0.1", &self.redis.port().to_string()]);
        self.is_replicated_to(&replica).await;
        (directory, replica)
    }

    pub async fn is_replicated_to(&self, replica: &Redis) {
        eventually("the replica has everything", async || {
            let offset = |server: &Redis, name: &str| {
                let info: String = Self::ask_at(server, "INFO", &["replication"]);
                let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                value.and_then(|value| value.trim().parse::<i64>().ok())
            };
            let ends = [offset(&self.redis, "master_repl_offset"), offset(replica, "slave_repl_offset")];
            if ends[0].is_some() && ends[0] == ends[1] { Ok(()) } else { Err(format!("{ends:?}")) }
        })
        .await;
    }

    /// As whoever makes a topic does. Another one has another id.
    pub fn create_topic(&self, partitions: i32) {
        let id = Uuid::new_v4().to_string();
        let mut connection = self.connection();
        for (field, value) in [("partitions", partitions.to_string()), ("id", id)] {
            let mut make = redis::cmd("HSETNX");
            make.arg(&self.topic).arg(field).arg(value).exec(&mut connection).unwrap();
        }
    }

    pub fn stream(&self, partition: i32) -> String {
        format!("{}:{partition}", self.topic)
    }

    /// Adds the events in order, each order's to one partition.
    pub fn publish(&self, events: &[TestEvent]) {
        let mut commands = redis::pipe();
        for event in events {
            let partition = i32::from(event.order_id.as_bytes()[15]) % PARTITIONS;
            commands.add_command(self.entry(
                partition,
                &event.order_id.to_string(),
                &event.value.to_string(),
            ));
        }
        let _: Vec<String> = commands.query(&mut self.connection()).unwrap();
    }

    pub fn add(&self, partition: i32, key: &str, value: &str) -> String {
        self.entry(partition, key, value).query(&mut self.connection()).unwrap()
    }

    fn entry(&self, partition: i32, key: &str, value: &str) -> Cmd {
        let mut add = redis::cmd("XADD");
        add.arg(self.stream(partition)).arg("*").arg("key").arg(key).arg("value").arg(value);
        add.arg("ce_specversion").arg("1.0").arg("content-type").arg("application/json");
        add
    }

    /// Entries that were given to a consumer and are not acknowledged, in all streams.
    pub fn pending(&self) -> i64 {
        let pending = |partition| {
            let mut ask = redis::cmd("XPENDING");
            ask.arg(self.stream(partition)).arg(&self.group);
            let summary: redis::RedisResult<(i64, redis::Value, redis::Value, redis::Value)> =
                ask.query(&mut self.connection());
            summary.map_or(0, |(pending, ..)| pending)
        };
        (0..PARTITIONS).map(pending).sum()
    }

    pub async fn nothing_is_pending(&self) {
        eventually("everything is acknowledged", async || match self.pending() {
            0 => Ok(()),
            pending => Err(format!("{pending} pending")),
        })
        .await;
    }

    pub async fn something_is_pending(&self) {
        eventually("entries are with a consumer", async || match self.pending() {
            0 => Err("nothing is pending".to_owned()),
            _ => Ok(()),
        })
        .await;
    }

    /// The consumers, each with its pending entries in all streams.
    pub fn consumers(&self) -> BTreeMap<String, i64> {
        let mut consumers = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let mut ask = redis::cmd("XINFO");
            ask.arg("CONSUMERS").arg(self.stream(partition)).arg(&self.group);
            let found: redis::RedisResult<Vec<HashMap<String, redis::Value>>> =
                ask.query(&mut self.connection());
            for mut consumer in found.unwrap_or_default() {
                let mut value = |field| consumer.remove(field).unwrap();
                let name: String = redis::from_redis_value(value("name")).unwrap();
                let pending: i64 = redis::from_redis_value(value("pending")).unwrap();
                *consumers.entry(name).or_default() += pending;
            }
        }
        consumers
    }
}
