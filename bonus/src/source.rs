//! A message as it came, whole, from whichever message queue.

use std::fmt;

#[cfg(feature = "kafka")]
use rdkafka::Message as _;
#[cfg(feature = "kafka")]
use rdkafka::message::OwnedMessage;

#[cfg(feature = "kafka")]
use crate::kafka::headers;
use crate::streams::{Entry, EntryId};

#[derive(Debug, Clone)]
pub enum SourceMessage {
    #[cfg(feature = "kafka")]
    Kafka(OwnedMessage),
    Redis(Entry),
}

/// A message's place in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    Offset(i64),
    Entry(EntryId),
}

impl Position {
    /// For the log: an offset is a number there.
    pub fn offset(self) -> Option<i64> {
        match self {
            Self::Offset(offset) => Some(offset),
            Self::Entry(_) => None,
        }
    }

    pub fn entry(self) -> Option<EntryId> {
        match self {
            Self::Offset(_) => None,
            Self::Entry(id) => Some(id),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => offset.fmt(f),
            Self::Entry(id) => id.fmt(f),
        }
    }
}

/// Its name, and its value if it has one.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

impl SourceMessage {
    pub fn topic(&self) -> &str {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => message.topic(),
            Self::Redis(entry) => &entry.topic,
        }
    }

    pub fn partition(&self) -> i32 {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => message.partition(),
            Self::Redis(entry) => entry.partition,
        }
    }

    pub fn position(&self) -> Position {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => Position::Offset(message.offset()),
            Self::Redis(entry) => Position::Entry(entry.id),
        }
    }

    pub fn key(&self) -> Option<&[u8]> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => message.key(),
            Self::Redis(entry) => entry.key(),
        }
    }

    pub fn value(&self) -> Option<&[u8]> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => message.payload(),
            Self::Redis(entry) => entry.value(),
        }
    }

    /// When it was written, in milliseconds since 1970.
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => message.timestamp().to_millis(),
            Self::Redis(entry) => i64::try_from(entry.id.ms).ok(),
        }
    }

    /// Those that can be read, in their order.
    pub fn headers(&self) -> Vec<Header<'_>> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(message) => {
                let all = message.headers().into_iter().flat_map(headers::readable);
                all.map(|header| (header.key, header.value)).collect()
            }
            Self::Redis(entry) => entry.headers().map(|(name, value)| (name, Some(value))).collect(),
        }
    }

    /// The first header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers().into_iter().find(|(header, _)| *header == name)?;
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How much memory key, value and headers take, names included.
    pub fn bytes(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self.headers().into_iter().map(|(name, value)| name.len() + length(value));
        length(self.key()) + length(self.value()) + headers.sum::<usize>()
    }
}
