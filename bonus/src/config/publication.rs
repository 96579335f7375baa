//! Settings of what this service publishes: what customers gain and lose.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use engine::PublicationSettings;
use engine::fallback::{Backoff, Fallback, FallbackSettings};
use engine::transport::Transport;
#[cfg(feature = "kafka")]
use engine::transport::kafka::{KafkaSettings, TopicSettings};
use engine::transport::redis::{RedisStreams, StreamSettings};
use kit::settings::bounded;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{Mq, Topics};

const SECONDS_AN_HOUR: u64 = 3_600;
/// `ce_source` of every message.
const SOURCE: &str = "/bonus";
/// How an operator sends every event again.
#[cfg(feature = "kafka")]
const RESEND: &str = "bonus replay --from 1";
/// Names the service's clients to the message queue.
const CLIENT_ID: &str = "bonus";

// What is published, and how.
#[derive(Clone, Args)]
pub struct Publication {
    #[command(flatten)]
    pub topic: EventsTopic,

    /// Most events that the publisher holds in memory.
    #[arg(long, env = "BONUS_PUBLISHER_WINDOW_EVENTS", default_value_t = 20_000, value_parser = bounded(1, 1_000_000))]
    publisher_window_events: usize,

    /// Milliseconds without any acknowledgement before that counts as a failure, of a partition or of the message queue. Slow is no
    /// failure.
    #[arg(long, env = "BONUS_DELIVERY_TIMEOUT_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=300_000))]
    delivery_timeout_ms: u64,

    /// Milliseconds after which a frozen publisher loses its lease. A killed one loses it at once.
    #[arg(long, env = "BONUS_LEASE_TIMEOUT_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(500..=600_000))]
    lease_timeout_ms: u64,

    /// Name of the retry's queue in Redis; processes of one deployment share it, deployments and the order service must not.
    #[arg(long, env = "BONUS_RETRY_QUEUE", default_value = "bonus:publish-backlog")]
    retry_queue: String,

    /// Longest time before the first retry of an outage, in milliseconds; doubles with every retry. Half of it is chance.
    #[arg(long, env = "BONUS_BACKOFF_BASE_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    backoff_base_ms: u64,

    /// Longest time between two retries, in milliseconds. The return of the message queue brings a retry forward anyway.
    #[arg(long, env = "BONUS_BACKOFF_CAP_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    backoff_cap_ms: u64,
}

// The topic that this service publishes to. All but its name count only when this service makes it.
#[derive(Clone, Args)]
pub struct EventsTopic {
    /// Topic of what customers gain and lose; made if it is missing.
    #[arg(id = "events_topic", long = "events-topic", env = "BONUS_EVENTS_TOPIC", default_value = "bonus.events", value_parser = kit::kafka::topic_name)]
    pub name: String,

    /// Partitions of that topic, if this service has to make it. A customer stays in one.
    #[arg(id = "events_topic_partitions", long = "events-topic-partitions", env = "BONUS_EVENTS_TOPIC_PARTITIONS", default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,

    /// Replicas of that topic, if this service has to make it. Unset: the cluster's default. In production 3.
    #[arg(id = "events_topic_replication", long = "events-topic-replication", env = "BONUS_EVENTS_TOPIC_REPLICATION", value_parser = clap::value_parser!(i32).range(1..=100))]
    replication: Option<i32>,

    /// That topic's min.insync.replicas, if this service has to make it. Unset: the cluster's. In production one below the replicas.
    #[arg(id = "events_topic_min_insync_replicas", long = "events-topic-min-insync-replicas", env = "BONUS_EVENTS_TOPIC_MIN_INSYNC_REPLICAS", value_parser = clap::value_parser!(i32).range(1..=100))]
    min_insync_replicas: Option<i32>,

    /// Hours that an event is kept, if this service has to make the topic; 0: for ever. Longer than any consumer may be away.
    #[arg(id = "events_topic_retention_hours", long = "events-topic-retention-hours", env = "BONUS_EVENTS_TOPIC_RETENTION_HOURS", default_value_t = 720, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    retention_hours: u64,
}

impl EventsTopic {
    /// `None`: for ever.
    fn retention(&self) -> Option<Duration> {
        (self.retention_hours > 0).then(|| Duration::from_secs(self.retention_hours * SECONDS_AN_HOUR))
    }
}

impl Publication {
    /// To be called on the process's main runtime, which carries the connections. Connects later.
    pub fn settings(&self, topics: &Topics) -> anyhow::Result<PublicationSettings> {
        Ok(PublicationSettings {
            transport: self.transport(topics)?,
            fallback: self.fallback(topics)?,
            backoff: self.backoff(),
            lease_timeout: Duration::from_millis(self.lease_timeout_ms),
            window: self.publisher_window_events,
        })
    }

    /// As for [`settings`](Self::settings).
    pub fn transport(&self, topics: &Topics) -> anyhow::Result<Arc<dyn Transport>> {
        Ok(match topics.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => Arc::new(self.kafka(topics)?),
            Mq::Redis => Arc::new(RedisStreams::new(self.streams(topics), Handle::current())),
        })
    }

    pub fn delivery_timeout(&self) -> Duration {
        Duration::from_millis(self.delivery_timeout_ms)
    }

    #[cfg(feature = "kafka")]
    pub fn kafka(&self, topics: &Topics) -> anyhow::Result<KafkaSettings> {
        let EventsTopic { name, partitions, replication, min_insync_replicas, .. } = self.topic.clone();
        let retention = self.topic.retention();
        Ok(KafkaSettings {
            cluster: topics.cluster()?,
            client_id: CLIENT_ID.to_owned(),
            source: SOURCE.to_owned(),
            resend: RESEND.to_owned(),
            topic: TopicSettings { name, partitions, replication, min_insync_replicas, retention },
            delivery_timeout: self.delivery_timeout(),
            in_flight_max: self.publisher_window_events,
        })
    }

    pub fn streams(&self, topics: &Topics) -> StreamSettings {
        StreamSettings {
            redis: topics.redis.server(),
            client_id: CLIENT_ID.to_owned(),
            source: SOURCE.to_owned(),
            topic: self.topic.name.clone(),
            partitions: self.topic.partitions.unsigned_abs(),
            retention: self.topic.retention(),
            delivery_timeout: self.delivery_timeout(),
        }
    }

    fn backoff(&self) -> Backoff {
        let base = Duration::from_millis(self.backoff_base_ms);
        Backoff { base, cap: Duration::from_millis(self.backoff_cap_ms).max(base) }
    }

    fn fallback(&self, topics: &Topics) -> anyhow::Result<Fallback> {
        let redis = topics.redis.server();
        redis.check()?;
        Ok(Fallback::new(FallbackSettings {
            redis,
            queue: self.retry_queue.clone(),
            backoff: self.backoff(),
            instance: Uuid::new_v4().simple().to_string(),
        }))
    }
}
