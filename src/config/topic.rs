//! The topic's settings. All but its name count only when this service makes it.

use std::time::Duration;

use clap::Args;
use kit::kafka::topic_name;

#[cfg(feature = "kafka")]
use engine::transport::kafka::TopicSettings;

const SECONDS_AN_HOUR: u64 = 3_600;

// What the topic is called, and what it is made with.
#[derive(Debug, Clone, Args)]
pub struct Topic {
    /// The topic that events are published to; made if it is missing.
    #[arg(id = "topic", long = "topic", env = "ORDERS_TOPIC", default_value = "orders.events", value_parser = topic_name)]
    pub name: String,

    /// Partitions of the topic, if this service has to make it. More allow more consumers; an order stays in one.
    #[arg(id = "topic_partitions", long = "topic-partitions", env = "ORDERS_TOPIC_PARTITIONS", default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub partitions: i32,

    /// Replicas of the topic, if this service has to make it. Unset: the cluster's default. In production 3: a lost disk then loses nothing.
    #[arg(id = "topic_replication", long = "topic-replication", env = "ORDERS_TOPIC_REPLICATION", value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: Option<i32>,

    /// The topic's min.insync.replicas, if this service has to make it. Unset: the cluster's. In production one below the replicas: an
    /// acknowledged event is then on two disks, and one broker may be away.
    #[arg(id = "topic_min_insync_replicas", long = "topic-min-insync-replicas", env = "ORDERS_TOPIC_MIN_INSYNC_REPLICAS", value_parser = clap::value_parser!(i32).range(1..=100))]
    pub min_insync_replicas: Option<i32>,

    /// Hours that the topic keeps an event; 0: for ever. Kafka is told so if this service has to make the topic. Longer than any consumer may be away, and than the
    /// age of any backup that one may have to start from. Costs disk on the brokers.
    #[arg(id = "topic_retention_hours", long = "topic-retention-hours", env = "ORDERS_TOPIC_RETENTION_HOURS", default_value_t = 720, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub retention_hours: u64,
}

impl Topic {
    #[cfg(feature = "kafka")]
    pub fn settings(&self) -> TopicSettings {
        TopicSettings {
            name: self.name.clone(),
            partitions: self.partitions,
            replication: self.replication,
            min_insync_replicas: self.min_insync_replicas,
            retention: self.retention(),
        }
    }

    /// `None`: for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_hours > 0).then(|| Duration::from_secs(self.retention_hours * SECONDS_AN_HOUR))
    }
}
