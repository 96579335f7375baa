//! The topics, and how far the group has come.

use std::time::Duration;

use kit::cli::check::{self, Finding, Level};
use kit::kafka::{TopicError, TopicIdentity, explain};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Config;
use crate::kafka;

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let topic = &config.topics.orders_topic;
    let cluster = match config.topics.cluster() {
        Ok(cluster) => cluster,
        Err(error) => {
            return vec![Finding::fail("kafka", format!("{error:#}"), "The service does not start with it.")];
        }
    };
    let mut findings = Vec::from_iter(check::kafka_link(&cluster, topic).await);
    if findings.iter().any(|link| link.level == Level::Fail) {
        return findings;
    }
    let letters = config.topics.dead_letter_topic();
    let (orders, dead) =
        tokio::join!(cluster.topic_identity(topic, PATIENCE), cluster.topic_identity(&letters, PATIENCE));
    findings.extend([on_topic(topic, &orders), on_letters(&letters, dead)]);
    if let Ok(identity) = orders {
        let config = config.clone();
        let asked = tokio::task::spawn_blocking(move || on_group(&config, identity.partitions)).await;
        findings.extend(asked.ok());
    }
    findings
}

fn on_topic(topic: &str, identity: &Result<TopicIdentity, TopicError>) -> Finding {
    match identity {
        Ok(TopicIdentity { partitions, without_leader, .. }) if *without_leader > 0 => {
            let message = format!("{topic} has {partitions} partitions, {without_leader} without a leader");
            Finding::warn("topic", message, "Start the brokers that hold them.")
        }
        Ok(TopicIdentity { partitions, .. }) => {
            Finding::ok("topic", format!("{topic} has {partitions} partitions"))
        }
        Err(TopicError::Missing) => Finding::warn(
            "topic",
            format!("{topic} is missing"),
            "The order service makes it when it starts.",
        ),
        Err(error) => {
            Finding::fail("topic", format!("{topic}: {error}"), "Check KAFKA_BROKERS and the brokers.")
        }
    }
}

fn on_letters(topic: &str, identity: Result<TopicIdentity, TopicError>) -> Finding {
    match identity {
        Ok(_) => Finding::ok("dead-letter topic", format!("{topic} is there")),
        Err(TopicError::Missing) => {
            Finding::ok("dead-letter topic", format!("{topic} is made with the first letter"))
        }
        Err(error) => {
            let advice = "Until this is mended, letters wait in Postgres.";
            Finding::warn("dead-letter topic", format!("{topic}: {error}"), advice)
        }
    }
}

fn on_group(config: &Config, partitions: i32) -> Finding {
    match lag(config, partitions) {
        Ok(None) => Finding::ok("group", format!("{} has read nothing yet", config.group_id)),
        Ok(Some(lag)) => Finding::ok("group", format!("{} is {lag} messages behind", config.group_id)),
        Err(error) => {
            let advice = error.rdkafka_error_code().and_then(explain).unwrap_or("Check the brokers.");
            Finding::fail("group", format!("{}: {error}", config.group_id), advice)
        }
    }
}

/// Messages behind the group's offsets. `None`: it has none.
fn lag(config: &Config, partitions: i32) -> KafkaResult<Option<i64>> {
    let topic = &config.topics.orders_topic;
    let consumer: BaseConsumer =
        kafka::client_settings(&config.topics)?.set("group.id", &config.group_id).create()?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let committed = consumer.committed_offsets(asked, PATIENCE)?;
    let (mut lag, mut any) = (0, false);
    for element in committed.elements() {
        element.error()?;
        let (low, high) = consumer.fetch_watermarks(topic, element.partition(), PATIENCE)?;
        let reached = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => low,
        };
        any |= matches!(element.offset(), Offset::Offset(_));
        lag += (high - reached).max(0);
    }
    Ok::<_, KafkaError>(any.then_some(lag))
}
