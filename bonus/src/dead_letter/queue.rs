//! Where dead letters are sent to: a topic of the message queue in use.

use super::delivery::SendOutcome;
#[cfg(feature = "kafka")]
use super::kafka::KafkaTopic;
use super::outbox::Letter;
use super::redis::RedisStream;
use crate::config::{Mq, Topics};

pub enum Queue {
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaTopic>),
    Redis(RedisStream),
}

impl Queue {
    pub fn new(topics: &Topics) -> Self {
        match topics.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => Self::Kafka(Box::new(KafkaTopic::new(topics))),
            Mq::Redis => Self::Redis(RedisStream::new(topics)),
        }
    }

    /// One outcome for each letter.
    pub async fn send(&mut self, letters: &[Letter]) -> Vec<SendOutcome> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.send(letters).await,
            Self::Redis(stream) => stream.send(letters).await,
        }
    }
}
