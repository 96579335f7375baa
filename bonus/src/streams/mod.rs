//! Redis Streams as a message queue: what a topic is called there, and what an entry holds.
//!
//! A partition is the stream `{topic}:{partition}`. The hash `{topic}` has the number of `partitions` and the topic's `id`, which is
//! another one when the topic is made anew. An entry has the fields `key` and `value`, and a field for each header.

mod entry;
mod reply;

use std::time::Duration;

use kit::redis::RedisServer;
use redis::{Connection, ErrorKind, RedisError, RedisResult};
use uuid::Uuid;

pub use self::entry::{Entry, EntryId};
pub use self::reply::{Claimed, StreamEntry, claimed, entries, streams};

/// For a connection, and for each answer. Longer than any read waits for entries.
pub const PATIENCE: Duration = Duration::from_secs(2);

pub fn stream(topic: &str, partition: i32) -> String {
    format!("{topic}:{partition}")
}

/// A connection that fails instead of waiting for a server that does not answer.
pub fn connect(server: &RedisServer) -> RedisResult<Connection> {
    server.connect_blocking(PATIENCE)
}

/// What the hash says of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIdentity {
    pub id: Uuid,
    pub partitions: i32,
}

/// `None`: there is no such topic.
pub fn topic_identity(connection: &mut Connection, topic: &str) -> RedisResult<Option<TopicIdentity>> {
    let mut ask = redis::cmd("HMGET");
    let (partitions, id): (Option<String>, Option<String>) =
        ask.arg(topic).arg("partitions").arg("id").query(connection)?;
    // Whoever makes a topic may be between the two fields.
    let (Some(partitions), Some(id)) = (partitions, id) else { return Ok(None) };
    match (partitions.parse(), id.parse()) {
        (Ok(partitions), Ok(id)) if partitions > 0 => Ok(Some(TopicIdentity { id, partitions })),
        _ => Err((
            ErrorKind::UnexpectedReturnType,
            "the topic's hash is malformed",
            format!("{partitions}, {id}"),
        )
            .into()),
    }
}

/// The stream or its group is gone.
pub fn is_group_missing(error: &RedisError) -> bool {
    error.code() == Some("NOGROUP")
}
