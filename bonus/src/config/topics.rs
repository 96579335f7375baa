//! Settings of the message queue that messages come from.

use std::sync::{Arc, OnceLock};

use clap::Args;
use kit::kafka::Cluster;
use kit::settings::not_blank;

use super::{KafkaSecurity, Redis};

/// The message queue that the order service publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mq {
    #[cfg(feature = "kafka")]
    Kafka,
    /// Redis Streams.
    Redis,
}

// Where messages come from, and where those go that cannot be read.
#[derive(Clone, Args)]
pub struct Topics {
    /// The message queue that the order service publishes to: kafka, or redis (Redis Streams).
    #[arg(long, env = "BONUS_MQ", default_value = "kafka", value_parser = parse_mq)]
    #[cfg_attr(not(feature = "kafka"), arg(default_value = "redis"))]
    pub mq: Mq,

    #[command(flatten)]
    pub redis: Redis,

    /// Kafka's bootstrap servers, host:port, separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092", value_parser = not_blank)]
    pub kafka_brokers: String,

    #[command(flatten)]
    pub kafka_security: KafkaSecurity,

    /// What the two come to, and what is known of the link: the same for every client of this process.
    #[arg(skip)]
    cluster: Arc<OnceLock<Cluster>>,

    /// Topic of the order events.
    #[arg(long, env = "ORDERS_TOPIC", default_value = "orders.events", value_parser = kit::kafka::topic_name)]
    pub orders_topic: String,

    /// Topic for messages that cannot be read; made when it is first needed. Default: the orders topic with ".dlq" appended.
    #[arg(long, env = "BONUS_DEAD_LETTER_TOPIC", value_parser = kit::kafka::topic_name)]
    dead_letter_topic: Option<String>,
}

impl Mq {
    /// In prose.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka => "Kafka",
            Self::Redis => "Redis",
        }
    }

    /// As the setting's value.
    pub fn value(self) -> &'static str {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }
}

impl Topics {
    /// How Kafka is reached.
    ///
    /// # Errors
    /// When settings contradict each other, or a file cannot be used.
    pub fn cluster(&self) -> anyhow::Result<Cluster> {
        if let Some(cluster) = self.cluster.get() {
            return Ok(cluster.clone());
        }
        let cluster = self.kafka_security.cluster(&self.kafka_brokers)?;
        Ok(self.cluster.get_or_init(|| cluster).clone())
    }

    pub fn dead_letter_topic(&self) -> String {
        self.dead_letter_topic.clone().unwrap_or_else(|| format!("{}.dlq", self.orders_topic))
    }
}

fn parse_mq(name: &str) -> Result<Mq, String> {
    match name {
        #[cfg(feature = "kafka")]
        "kafka" => Ok(Mq::Kafka),
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err("this build is without Kafka; set BONUS_MQ=redis".to_owned()),
        "redis" => Ok(Mq::Redis),
        _ => Err("must be kafka or redis".to_owned()),
    }
}
