//! The settings of the Kafka clients, and the headers of a message.

pub mod headers;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};

use crate::config::{Config, Topics};

/// What every client of this service shares.
pub fn client_settings(topics: &Topics) -> KafkaResult<ClientConfig> {
    let unusable = |error: anyhow::Error| KafkaError::ClientCreation(format!("{error:#}"));
    topics.cluster().map_err(unusable)?.client("bonus")
}

pub fn consumer_settings(config: &Config) -> KafkaResult<ClientConfig> {
    let session_timeout_ms = config.session_timeout().as_millis();
    let mut settings = client_settings(&config.topics)?;
    settings
        .set("group.id", &config.group_id)
        // Offsets are committed by the feed, after Postgres has committed their messages.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // The offset to read from is decided in `partitions`, which can log what is skipped. An offset that is gone is an error.
        .set("auto.offset.reset", "error")
        // With this a rebalance revokes only the partitions that move; the others are read on.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_timeout_ms.to_string())
        // Also how late a member learns that partitions are to move, so it does not grow with the session.
        .set("heartbeat.interval.ms", "1500")
        // The feed polls all the time, whatever Postgres does. If its thread hangs, others take over after this.
        .set("max.poll.interval.ms", session_timeout_ms.max(60_000).to_string())
        // A topic that appears later, or gains partitions, is noticed within this.
        .set("topic.metadata.refresh.interval.ms", "2000")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "20")
        .set("statistics.interval.ms", "1000");
    if let Some(instance_id) = &config.instance_id {
        settings.set("group.instance.id", instance_id);
    }
    Ok(settings)
}
