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

/// The first version whose streams tell what was removed unread.
const MAJOR_MIN: u32 = 7;

/// The value of a line of INFO.
pub fn info_value<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("unknown").trim()
}

/// Which version it is, if that one is too old to read streams from.
pub fn too_old(info: &str) -> Option<&str> {
    let version = info_value(info, "redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_none_or(|major| major < MAJOR_MIN).then_some(version)
}

/// An error if the server is too old. A user who may not ask for its version is taken at their word.
pub fn require_version(connection: &mut Connection) -> RedisResult<()> {
    match redis::cmd("INFO").arg("server").query::<String>(connection) {
        Ok(info) => too_old(&info).map_or(Ok(()), |version| {
            let detail =
                format!("it is Redis {version}, and BONUS_MQ=redis needs Redis {MAJOR_MIN} or later");
            Err((ErrorKind::UnexpectedReturnType, "the server is too old", detail).into())
        }),
        Err(error) if error.is_io_error() => Err(error),
        Err(_) => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_count_what_groups_read_is_told_from_others() {
        assert_eq!(too_old("# Server\r\nredis_version:6.2.5\r\nredis_mode:standalone\r\n"), Some("6.2.5"));
        assert_eq!(too_old("# Server\r\nredis_version:7.0.15\r\n"), None);
        assert_eq!(too_old("redis_version:8.2.1"), None);
        assert_eq!(too_old("# Server"), Some("unknown"));
    }
}
