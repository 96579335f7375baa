//! Which message queue events are published to. The rest of the service does not know.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use engine::transport::Transport;
#[cfg(feature = "kafka")]
use engine::transport::kafka::KafkaSettings;
use engine::transport::redis::{RedisStreams, StreamSettings};
use tokio::runtime::Handle;

use super::{Broker, Redis};

/// What events are published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mq {
    #[cfg(feature = "kafka")]
    Kafka,
    /// Redis Streams.
    Redis,
}

impl Default for Mq {
    fn default() -> Self {
        #[cfg(feature = "kafka")]
        return Self::Kafka;
        #[cfg(not(feature = "kafka"))]
        return Self::Redis;
    }
}

impl Mq {
    /// As the setting's value, and as the conventions for traces name it.
    pub fn value(self) -> &'static str {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }
}

impl Broker {
    /// Which message queue it is, and where, for people. An address of Redis may hold a password.
    pub fn place(&self) -> String {
        match self.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => format!("Kafka at {}", self.kafka_brokers),
            Mq::Redis => "Redis".to_owned(),
        }
    }

    pub fn delivery_timeout(&self) -> Duration {
        Duration::from_millis(self.delivery_timeout_ms)
    }

    /// To be called on the process's main runtime, which carries the connections.
    pub fn transport(&self, redis: &Redis) -> anyhow::Result<Arc<dyn Transport>> {
        Ok(match self.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => Arc::new(self.kafka()?),
            Mq::Redis => {
                let streams = self.streams(redis);
                streams.redis.check()?;
                Arc::new(RedisStreams::new(streams, Handle::current()))
            }
        })
    }

    #[cfg(feature = "kafka")]
    pub fn kafka(&self) -> anyhow::Result<KafkaSettings> {
        Ok(KafkaSettings {
            cluster: self.kafka_security.cluster(&self.kafka_brokers)?,
            client_id: "orders".to_owned(),
            source: "/orders".to_owned(),
            resend: "orders replay --from 1".to_owned(),
            topic: self.topic.settings(),
            delivery_timeout: self.delivery_timeout(),
            in_flight_max: self.publisher_window_events,
        })
    }

    pub fn streams(&self, redis: &Redis) -> StreamSettings {
        StreamSettings {
            redis: redis.server(),
            client_id: "orders".to_owned(),
            source: "/orders".to_owned(),
            topic: self.topic.name.clone(),
            partitions: self.topic.partitions.unsigned_abs(),
            retention: self.topic.retention(),
            delivery_timeout: self.delivery_timeout(),
        }
    }
}
