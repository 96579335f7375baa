//! What the streams are called, and how they are used.

use std::time::Duration;

use kit::redis::RedisServer;

#[derive(Clone)]
pub struct StreamSettings {
    pub redis: RedisServer,
    /// Names the service in its spans.
    pub client_id: String,
    /// `ce_source` of every message: CloudEvents' name for the context in which its ids are unique.
    pub source: String,
    pub topic: String,
    /// Of a topic that is made here.
    pub partitions: u32,
    /// How long a stream that no group reads keeps an entry, and how much of the journal a topic that was made anew gets again.
    /// `None`: for ever, and all of it.
    pub retention: Option<Duration>,
    /// How long nothing may be acknowledged before that counts as a failure.
    pub delivery_timeout: Duration,
}

impl StreamSettings {
    pub(super) fn position_key(&self) -> String {
        format!("{}:position", self.topic)
    }

    pub(super) fn stream_key(&self, partition: u32) -> String {
        format!("{}:{partition}", self.topic)
    }
}
