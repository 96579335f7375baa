//! Reading the dead-letter topic, from some place to its present end.

#[cfg(feature = "kafka")]
mod kafka;
mod redis;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;

#[cfg(feature = "kafka")]
use self::kafka::KafkaLetters;
use self::redis::RedisLetters;
use crate::config::{Mq, Topics};
use crate::source::{Position, SourceMessage};

pub enum Letters {
    #[cfg(feature = "kafka")]
    Kafka(KafkaLetters),
    Redis(RedisLetters),
}

impl Letters {
    /// From the beginning of every partition, or only its last `newest` letters. A topic that is not there holds none.
    pub fn open(topics: &Topics, newest: Option<i64>) -> Result<Self> {
        Ok(match topics.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => Self::Kafka(KafkaLetters::open(topics, newest)?),
            Mq::Redis => Self::Redis(RedisLetters::open(topics, newest)?),
        })
    }

    /// `None` at the end.
    pub async fn next(&mut self) -> Result<Option<SourceMessage>> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(letters) => letters.next().await,
            Self::Redis(letters) => letters.next(),
        }
    }
}

/// A dead letter as it is shown.
#[derive(Serialize)]
pub struct Letter {
    pub partition: i32,
    /// Its place: an offset of Kafka, or the id of an entry of a Redis stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    pub buried_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    /// Topic, partition and offset that it came from.
    pub origin: Option<String>,
    pub key: Option<String>,
    pub value_bytes: usize,
    /// As text, whatever it is; absent when it had none, or was too large to be kept.
    pub value: Option<String>,
}

impl Letter {
    pub fn of(message: &SourceMessage) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = |name: &str| message.header(name);
        let origin = || {
            let place = header("dead_letter_topic")?;
            Some(format!("{place}/{}/{}", header("dead_letter_partition")?, header("dead_letter_offset")?))
        };
        let (offset, entry) = match message.position() {
            Position::Offset(offset) => (Some(offset), None),
            Position::Entry(id) => (None, Some(id.to_string())),
        };
        let kept_bytes = message.value().map_or(0, <[u8]>::len);
        Self {
            partition: message.partition(),
            offset,
            entry,
            buried_at: message.timestamp_ms().and_then(DateTime::from_timestamp_millis),
            reason: header("dead_letter_reason"),
            origin: origin(),
            key: message.key().map(text),
            value_bytes: header("dead_letter_value_bytes")
                .and_then(|bytes| bytes.parse().ok())
                .unwrap_or(kept_bytes),
            value: message.value().map(text),
        }
    }

    /// Partition and place.
    pub fn place(&self) -> String {
        let place = self.offset.map(|offset| offset.to_string()).or_else(|| self.entry.clone());
        format!("{}/{}", self.partition, place.unwrap_or_default())
    }
}
