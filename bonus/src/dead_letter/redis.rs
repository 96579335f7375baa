//! The dead-letter topic in Redis: one stream, with the fields of the message and those that say why it is there.

use kit::redis::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, RedisResult};
use uuid::Uuid;

use super::delivery::{Failure, SendOutcome};
use super::outbox::Letter;
use super::record::{self, Record};
use crate::config::Topics;
use crate::streams::{PATIENCE, stream};

/// The only partition.
const PARTITION: i32 = 0;

pub struct RedisStream {
    server: RedisServer,
    topic: String,
    /// Made when the first letter is there: most processes never need it.
    connection: Option<MultiplexedConnection>,
}

impl RedisStream {
    pub fn new(topics: &Topics) -> Self {
        Self { server: topics.redis.server(), topic: topics.dead_letter_topic(), connection: None }
    }

    /// One outcome for each letter. After a failure the rest waits too: all go the same way, and Redis finds no letter too large that
    /// Postgres has kept.
    pub async fn send(&mut self, letters: &[Letter]) -> Vec<SendOutcome> {
        let (mut outcomes, mut failure) = (Vec::with_capacity(letters.len()), None);
        for letter in letters {
            if failure.is_none() {
                failure = self.send_one(letter).await.err().map(|error| Failure::from(&error));
            }
            outcomes.push(failure.clone().map_or(SendOutcome::Delivered, SendOutcome::Waits));
        }
        outcomes
    }

    async fn send_one(&mut self, letter: &Letter) -> RedisResult<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.server.connect(PATIENCE, PATIENCE).await?,
        };
        // Whoever comes first makes the topic. Redis may have lost it since the last letter. One by one: of several commands at once
        // the error's code is not told.
        for (field, value) in [("partitions", "1".to_owned()), ("id", Uuid::new_v4().to_string())] {
            let mut make = redis::cmd("HSETNX");
            make.arg(&self.topic).arg(field).arg(value).exec_async(&mut connection).await?;
        }
        self.add(&record::record(letter, record::WHOLE)).exec_async(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    fn add(&self, record: &Record<'_>) -> Cmd {
        let mut add = redis::cmd("XADD");
        add.arg(stream(&self.topic, PARTITION)).arg("*");
        let own = [("key", record.key), ("value", record.value)];
        let headers = record.headers.iter().map(|(name, value)| (*name, value.as_deref()));
        for (name, value) in own.into_iter().chain(headers) {
            if let Some(value) = value {
                add.arg(name).arg(value);
            }
        }
        add
    }
}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        let hint = match error.code() {
            Some("OOM") => "Redis is at maxmemory; give it more, or trim the dead-letter stream",
            Some("WRONGTYPE") => {
                "the key of the dead-letter stream holds something else; set BONUS_DEAD_LETTER_TOPIC"
            }
            Some("NOPERM" | "NOAUTH" | "WRONGPASS") => "the user in REDIS_URL may not do this",
            _ => "",
        };
        Self { cause: error.to_string(), hint, needs_operator: !hint.is_empty() }
    }
}
