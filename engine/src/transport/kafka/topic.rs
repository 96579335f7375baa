//! The topic as this service promises it: how it is made if it is missing.
//!
//! Only this service makes it, never the broker's auto-creation, which would use the cluster's defaults. An existing topic is used as
//! it is: its settings may be an operator's. The service's check compares them with what is promised.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{KafkaSettings, Quiet};

/// How long the cluster may take to make it.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct TopicSettings {
    pub name: String,
    pub partitions: i32,
    /// `None`: as many replicas as the cluster makes by default.
    pub replication: Option<i32>,
    /// `None`: as the cluster has it.
    pub min_insync_replicas: Option<i32>,
    /// `None`: for ever.
    pub retention: Option<Duration>,
}

impl TopicSettings {
    /// As Kafka has it.
    pub fn retention_ms(&self) -> i64 {
        self.retention.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }

    /// What the topic is made with, besides the number of its partitions and replicas.
    fn configuration(&self) -> Vec<(&'static str, String)> {
        let mut configuration = vec![
            // Compaction would keep an aggregate's newest event alone.
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", self.retention_ms().to_string()),
            // Only its age ends an event: a busy day must not shorten the time that a consumer has.
            ("retention.bytes", "-1".to_owned()),
            // Dated by the broker: it refuses records from a clock that is an hour ahead of its own, and ours may be wrong.
            // When an event occurred is said in the event.
            ("message.timestamp.type", "LogAppendTime".to_owned()),
        ];
        if let Some(least) = self.min_insync_replicas {
            configuration.push(("min.insync.replicas", least.to_string()));
        }
        configuration
    }
}

/// Whether it was made now, or was there. Fails when Kafka is down or refuses it.
pub(super) async fn ensure(settings: &KafkaSettings) -> Result<bool, KafkaError> {
    let admin = settings.admin()?;
    let configuration = settings.topic.configuration();
    let replication = TopicReplication::Fixed(settings.topic.replication.unwrap_or(-1));
    let topic = NewTopic::new(&settings.topic.name, settings.topic.partitions, replication);
    let topic = configuration.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    match admin.create_topics([&topic], &options).await?.pop() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(false),
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
        Some(Ok(_)) => Ok(true),
    }
}

/// What the topic is configured with, as far as we may see it.
pub struct TopicConfiguration(ConfigResource);

impl TopicConfiguration {
    pub async fn read(admin: &AdminClient<Quiet>, topic: &str) -> Result<Self, KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let mut described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
        match described.pop() {
            Some(Ok(resource)) => Ok(Self(resource)),
            Some(Err(code)) => Err(KafkaError::AdminOp(code)),
            None => Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition)),
        }
    }

    pub fn value(&self, name: &str) -> &str {
        self.0.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
    }

    /// At least 1, as Kafka has it.
    pub fn min_insync_replicas(&self) -> i32 {
        self.value("min.insync.replicas").parse().unwrap_or(1)
    }
}
