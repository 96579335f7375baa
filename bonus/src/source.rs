//! A message as it came, whole, from whichever message queue.

use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;

use crate::kafka::headers;

#[derive(Debug, Clone)]
pub enum SourceMessage {
    Kafka(OwnedMessage),
}

/// Its name, and its value if it has one.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

impl SourceMessage {
    pub fn topic(&self) -> &str {
        match self {
            Self::Kafka(message) => message.topic(),
        }
    }

    pub fn partition(&self) -> i32 {
        match self {
            Self::Kafka(message) => message.partition(),
        }
    }

    pub fn offset(&self) -> i64 {
        match self {
            Self::Kafka(message) => message.offset(),
        }
    }

    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Kafka(message) => message.key(),
        }
    }

    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Kafka(message) => message.payload(),
        }
    }

    /// When it was written, in milliseconds since 1970.
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self {
            Self::Kafka(message) => message.timestamp().to_millis(),
        }
    }

    /// Those that can be read, in their order.
    pub fn headers(&self) -> Vec<Header<'_>> {
        match self {
            Self::Kafka(message) => {
                let all = message.headers().into_iter().flat_map(headers::readable);
                all.map(|header| (header.key, header.value)).collect()
            }
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
