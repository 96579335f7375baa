//! The dead-letter topic in Redis.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result};
use redis::{Connection, Value};

use crate::config::Topics;
use crate::source::SourceMessage;
use crate::streams::{self, Entry, EntryId};

/// The only partition.
const PARTITION: i32 = 0;
/// Letters of one answer.
const PAGE: i64 = 100;

pub struct RedisLetters {
    connection: Connection,
    place: String,
    topic: Arc<str>,
    page: VecDeque<Entry>,
    /// Behind which letter the next page begins. `None`: there is none.
    behind: Option<EntryId>,
    /// The last letter of the stream when it was opened.
    end: EntryId,
}

impl RedisLetters {
    /// From the beginning, or only the last `newest` letters.
    pub fn open(topics: &Topics, newest: Option<i64>) -> Result<Self> {
        let server = topics.redis.server();
        let place = server.to_string();
        let connection =
            streams::connect(&server).with_context(|| format!("Redis at {place} cannot be reached"))?;
        let topic = topics.dead_letter_topic().into();
        let mut letters =
            Self { connection, place, topic, page: VecDeque::new(), behind: None, end: EntryId::START };
        let found = letters.range("XREVRANGE", ["+", "-"], newest.unwrap_or(1))?;
        letters.end = found.front().map_or(EntryId::START, |last| last.id);
        match newest {
            Some(_) => letters.page = found.into_iter().rev().collect(),
            None => letters.behind = (!found.is_empty()).then_some(EntryId::START),
        }
        Ok(letters)
    }

    /// `None` at the end.
    pub fn next(&mut self) -> Result<Option<SourceMessage>> {
        if let (true, Some(behind)) = (self.page.is_empty(), self.behind) {
            let (from, to) = (format!("({behind}"), self.end.to_string());
            self.page = self.range("XRANGE", [&from, &to], PAGE)?;
            self.behind = self.page.back().map(|last| last.id);
        }
        Ok(self.page.pop_front().map(SourceMessage::Redis))
    }

    fn range(&mut self, command: &str, ends: [&str; 2], count: i64) -> Result<VecDeque<Entry>> {
        let mut range = redis::cmd(command);
        range.arg(streams::stream(&self.topic, PARTITION)).arg(&ends).arg("COUNT").arg(count);
        let reply: redis::RedisResult<Value> = range.query(&mut self.connection);
        let found = reply.and_then(streams::entries).with_context(|| format!("Redis at {}", self.place))?;
        let entry = |(id, fields): streams::StreamEntry| {
            Some(Entry { topic: Arc::clone(&self.topic), partition: PARTITION, id, fields: fields? })
        };
        Ok(found.into_iter().filter_map(entry).collect())
    }
}
