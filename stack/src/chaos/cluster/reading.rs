//! The checker's own reading of the streams: all the time, by a group of its own with each of them.
//!
//! Trimming drops nothing that this group has not acknowledged. It acknowledges what was read, so that trimming goes on behind it, as it
//! does without a checker. A stream counts what was ever added to it: the count is compared with what was read.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{FromRedisValue, Pipeline, Value};

use super::super::history::{EntryId, Histories, StreamState};
use crate::topic::{Field, fields};

const GROUP: &str = "checker";
/// Entries asked for at once.
const PAGE: usize = 1_000;

type Parse<T> = fn(i32, Field<'_>) -> Result<T>;

/// Of one topic.
pub(super) struct StreamReading<T> {
    topic: &'static str,
    partitions: usize,
    parse: Parse<T>,
    pub(super) histories: Histories<T>,
}

impl<T: Clone> StreamReading<T> {
    pub(super) fn new(topic: &'static str, partitions: usize, parse: Parse<T>) -> Self {
        Self { topic, partitions, parse, histories: Histories::new(topic, partitions) }
    }

    fn stream(&self, partition: usize) -> String {
        format!("{}:{partition}", self.topic)
    }

    /// Registers the group with each stream; a stream that is not there is made, empty.
    pub(super) fn register(&self, pipeline: &mut Pipeline) {
        for partition in 0..self.partitions {
            let stream = self.stream(partition);
            pipeline.cmd("XGROUP").arg("CREATE").arg(stream).arg(GROUP).arg("0").arg("MKSTREAM").ignore();
        }
    }

    /// Asks for the state of each stream, and then for what was not read of it: what [`Self::take`] takes.
    pub(super) fn ask(&self, pipeline: &mut Pipeline, count: Option<usize>) {
        for partition in 0..self.partitions {
            let (stream, last) = (self.stream(partition), self.histories.last(partition));
            pipeline.cmd("XINFO").arg("STREAM").arg(&stream);
            let range = pipeline.cmd("XRANGE").arg(&stream).arg(format!("({last}")).arg("+");
            if let Some(count) = count {
                range.arg("COUNT").arg(count);
            }
        }
    }

    /// Whether there may be more.
    pub(super) fn take(&mut self, answers: &[Value]) -> Result<bool> {
        let mut more = false;
        for (partition, answers) in answers.chunks(2).enumerate().take(self.partitions) {
            let [told, entries] = answers else { continue };
            let state = state(told.clone())?;
            let entries = StreamRangeReply::from_redis_value(entries.clone())?.ids;
            for entry in &entries {
                let number = i32::try_from(partition)?;
                let parsed = (self.parse)(number, &fields(entry))
                    .with_context(|| format!("{} {}", self.stream(partition), entry.id))?;
                self.histories.append(partition, entry.id.parse()?, parsed)?;
            }
            if entries.is_empty() || self.histories.last(partition) >= state.last {
                self.histories.compare(partition, state);
            } else {
                more = true;
            }
        }
        Ok(more)
    }

    /// Reads what there is, and lets trimming go on behind it.
    pub(super) async fn catch_up(&mut self, redis: &mut MultiplexedConnection) -> Result<()> {
        loop {
            let mut pipeline = Pipeline::new();
            self.ask(&mut pipeline, Some(PAGE));
            let answers: Vec<Value> = pipeline.query_async(redis).await?;
            let more = self.take(&answers)?;
            let mut pipeline = Pipeline::new();
            for partition in 0..self.partitions {
                let (stream, last) = (self.stream(partition), self.histories.last(partition));
                pipeline.cmd("XGROUP").arg("SETID").arg(stream).arg(GROUP).arg(last.to_string()).ignore();
            }
            let _: () = pipeline.query_async(redis).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// The last entry of each stream.
    pub(super) async fn ends(&self, redis: &mut MultiplexedConnection) -> Result<Vec<EntryId>> {
        let mut ends = Vec::new();
        for partition in 0..self.partitions {
            let told =
                redis::cmd("XINFO").arg("STREAM").arg(self.stream(partition)).query_async(redis).await?;
            ends.push(state(told)?.last);
        }
        Ok(ends)
    }

    /// What groups but the checker's have not read, or not acknowledged, of what the checker has read.
    pub(super) async fn unacknowledged(&self, redis: &mut MultiplexedConnection) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for partition in 0..self.partitions {
            let (stream, end) = (self.stream(partition), self.histories.last(partition));
            let groups: Vec<HashMap<String, Value>> =
                redis::cmd("XINFO").arg("GROUPS").arg(&stream).query_async(redis).await?;
            for group in groups {
                let name: String = field(&group, "name")?;
                let pending: u64 = field(&group, "pending")?;
                let delivered: String = field(&group, "last-delivered-id")?;
                if name != GROUP && (pending > 0 || delivered.parse::<EntryId>()? < end) {
                    left.push(format!(
                        "{stream} ends at {end}: group {name} has read up to {delivered}, {pending} pending"
                    ));
                }
            }
        }
        Ok(left)
    }
}

fn field<T: FromRedisValue>(of: &HashMap<String, Value>, name: &str) -> Result<T> {
    let value =
        of.get(name).with_context(|| format!("this Redis does not tell {name}: chaos needs Redis 7"))?;
    T::from_redis_value(value.clone()).map_err(|error| anyhow!("{name}: {error}"))
}

fn state(told: Value) -> Result<StreamState> {
    let told = HashMap::<String, Value>::from_redis_value(told)?;
    let last: String = field(&told, "last-generated-id")?;
    Ok(StreamState { last: last.parse()?, added: field(&told, "entries-added")? })
}
