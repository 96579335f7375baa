//! What an operator's check asks of the streams, and of the Redis that has them. Changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use redis::{FromRedisValue, RedisResult, Value, cmd};

use super::connection::connect;
use super::settings::StreamSettings;
use crate::transport::TransportError;

#[derive(Debug, Clone)]
pub struct StreamOverview {
    /// Redis' own, such as `7.0.15`.
    pub version: String,
    /// `None`: there is no such topic.
    pub partitions: Option<u32>,
    /// In all streams together.
    pub entries: u64,
    /// The names of the consumer groups of any stream.
    pub groups: BTreeSet<String>,
    /// Redis' `maxmemory-policy`.
    pub eviction: String,
    /// In bytes; 0: unlimited.
    pub maxmemory: u64,
    pub append_only: bool,
}

impl StreamOverview {
    /// # Errors
    /// When Redis does not answer.
    pub async fn read(settings: &StreamSettings, patience: Duration) -> Result<Self, TransportError> {
        Ok(Self::ask(settings, patience).await?)
    }

    async fn ask(settings: &StreamSettings, patience: Duration) -> RedisResult<Self> {
        let mut connection = connect(&settings.redis, patience).await?;
        let read = |words: &[&str]| {
            let (first, rest) = words.split_first().unwrap_or((&"PING", &[]));
            let mut command = cmd(first);
            command.arg(rest);
            command
        };
        let partitions: Option<u32> =
            read(&["HGET", &settings.topic, "partitions"]).query_async(&mut connection).await?;
        let (mut entries, mut groups) = (0, BTreeSet::new());
        for partition in 0..partitions.unwrap_or_default() {
            let stream = settings.stream_key(partition);
            let length: u64 = read(&["XLEN", &stream]).query_async(&mut connection).await?;
            entries += length;
            // A stream without entries is not there yet.
            let told: RedisResult<Vec<HashMap<String, Value>>> =
                read(&["XINFO", "GROUPS", &stream]).query_async(&mut connection).await;
            for group in told.unwrap_or_default() {
                if let Some(name) = group.get("name") {
                    groups.insert(String::from_redis_value_ref(name)?);
                }
            }
        }
        let server: String = read(&["INFO", "server"]).query_async(&mut connection).await?;
        let memory: String = read(&["INFO", "memory"]).query_async(&mut connection).await?;
        let persistence: String = read(&["INFO", "persistence"]).query_async(&mut connection).await?;
        Ok(Self {
            partitions,
            entries,
            groups,
            eviction: value(&memory, "maxmemory_policy").to_owned(),
            maxmemory: value(&memory, "maxmemory").parse().unwrap_or_default(),
            append_only: value(&persistence, "aof_enabled") == "1",
            version: value(&server, "redis_version").to_owned(),
        })
    }
}

/// Of a line `name:value`.
fn value<'a>(information: &'a str, name: &str) -> &'a str {
    let line = information.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("unknown").trim()
}
