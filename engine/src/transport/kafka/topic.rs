//! How the topic is created if it is missing.
//!
//! Only this service creates it, never the broker's auto-creation, which would use the cluster's defaults. An existing topic is
//! used as it is: an operator may have chosen its settings. The service's check compares them with these.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{KafkaSettings, QuietContext};

/// How long the cluster may take to create it.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct TopicSettings {
    pub name: String,
    pub partitions: i32,
    /// `None`: the cluster's default number of replicas.
    pub replication: Option<i32>,
    /// `None`: the cluster's default.
    pub min_insync_replicas: Option<i32>,
    /// `None`: for ever.
    pub retention: Option<Duration>,
}

impl TopicSettings {
    /// As Kafka has it.
    pub fn retention_ms(&self) -> i64 {
        self.retention.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }

    /// The topic's settings, besides the numbers of partitions and replicas.
    fn configuration(&self) -> Vec<(&'static str, String)> {
        let mut configuration = vec![
            // Compaction would keep only the newest event of an aggregate.
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", self.retention_ms().to_string()),
            // Only an event's age removes it: on a busy day consumers must not have less time.
            ("retention.bytes", "-1".to_owned()),
            // The broker sets the time: it refuses records whose time is an hour ahead of its own, and this machine's clock may be
            // wrong. The event itself tells when it occurred.
            ("message.timestamp.type", "LogAppendTime".to_owned()),
        ];
        if let Some(least) = self.min_insync_replicas {
            configuration.push(("min.insync.replicas", least.to_string()));
        }
        configuration
    }
}

/// Creates the topic. False: it existed. Fails when Kafka is down or refuses.
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

/// The topic's configuration, as far as it may be read.
pub struct TopicConfiguration(ConfigResource);

impl TopicConfiguration {
    pub async fn read(admin: &AdminClient<QuietContext>, topic: &str) -> Result<Self, KafkaError> {
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
