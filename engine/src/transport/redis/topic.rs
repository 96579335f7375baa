//! The topic: what its hash says, and how far its streams are.

use kit::kafka::TopicIdentity;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use super::checkpoints::{Checkpoint, parse};
use super::script::LOOK;
use super::settings::StreamSettings;

/// A topic, as its hash has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamTopic {
    pub(super) id: Uuid,
    pub(super) partitions: u32,
}

/// How far its streams are.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamPosition {
    /// -1: not known.
    pub(super) published_seq: i64,
    pub(super) unconfirmed_seconds: i64,
    pub(super) newest: Option<Checkpoint>,
}

impl StreamTopic {
    pub(super) async fn read(
        connection: &mut MultiplexedConnection,
        settings: &StreamSettings,
        id_if_missing: Uuid,
    ) -> RedisResult<(Self, StreamPosition)> {
        let mut script = LOOK.key(&settings.topic);
        script.key(settings.position_key()).arg(id_if_missing.to_string()).arg(settings.partitions);
        let (id, partitions, published_seq, unconfirmed_seconds, newest): (String, u32, i64, i64, String) =
            script.invoke_async(connection).await?;
        let topic = Self { id: id.parse().unwrap_or_default(), partitions };
        let newest = parse(&newest).first().copied();
        Ok((topic, StreamPosition { published_seq, unconfirmed_seconds, newest }))
    }

    pub(super) fn identity(&self) -> TopicIdentity {
        let partitions = i32::try_from(self.partitions).unwrap_or(i32::MAX);
        TopicIdentity { id: self.id, partitions, without_leader: 0, in_sync_least: 1 }
    }
}
