//! Kafka: reachable; the topic there, its events on more than one disk, dated by the broker.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::metadata::MetadataTopic;

use super::super::output::counted;
use super::Finding;
use crate::config::Broker;
use crate::transport::Quiet;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check(settings: &Broker) -> Vec<Finding> {
    match ask(settings).await {
        Ok(found) => found,
        Err(error) => {
            // The client's errors say their sources themselves.
            let message = format!("{}: {error}", settings.kafka_brokers);
            let advice = "Start it, or set KAFKA_BROKERS. Until then events wait in the outbox.";
            vec![Finding::fail("kafka", message, advice)]
        }
    }
}

async fn ask(settings: &Broker) -> Result<Vec<Finding>> {
    let admin = settings.kafka().admin()?;
    let topic = settings.topic.clone();
    // All topics: asking for one by its name may create it.
    let asked = move || {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
        let brokers = metadata.brokers().len();
        let topic = metadata.topics().iter().find(|found| found.name() == topic).map(described);
        anyhow::Ok((admin, brokers, topic))
    };
    let (admin, brokers, topic) = tokio::task::spawn_blocking(asked).await??;
    let reachable = Finding::ok("kafka", format!("reachable, {}", counted(brokers, "broker")));
    let Some(topic) = topic else {
        let message = format!("{} is not there", settings.topic);
        let advice =
            format!("The service makes it at its start, with {} partitions.", settings.topic_partitions);
        return Ok(vec![reachable, Finding::warn("topic", message, advice)]);
    };
    let configuration = Configuration::read(&admin, &settings.topic).await?;
    Ok(vec![
        reachable,
        partitions(&settings.topic, &topic),
        replication(&topic, &configuration),
        dates(&configuration),
    ])
}

struct Topic {
    partitions: usize,
    without_leader: usize,
    /// Of the partition that has the fewest.
    replicas: usize,
}

fn described(topic: &MetadataTopic) -> Topic {
    let partitions = topic.partitions();
    Topic {
        partitions: partitions.len(),
        without_leader: partitions.iter().filter(|partition| partition.leader() < 0).count(),
        replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default(),
    }
}

struct Configuration {
    min_insync_replicas: String,
    timestamp_type: String,
}

impl Configuration {
    async fn read(admin: &AdminClient<Quiet>, topic: &str) -> Result<Self> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let mut described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
        let resource = described.pop().context("no answer about the topic's configuration")??;
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        Ok(Self {
            min_insync_replicas: value("min.insync.replicas"),
            timestamp_type: value("message.timestamp.type"),
        })
    }
}

fn partitions(name: &str, topic: &Topic) -> Finding {
    let message = format!("{name}, {}", counted(topic.partitions, "partition"));
    match topic.without_leader {
        0 => Finding::ok("topic", message),
        without => {
            let message = format!("{message}, {without} without a leader");
            Finding::fail("topic", message, "Start the brokers that hold them.")
        }
    }
}

fn replication(topic: &Topic, configuration: &Configuration) -> Finding {
    let least = &configuration.min_insync_replicas;
    let message = format!("{}, min.insync.replicas {least}", counted(topic.replicas, "replica"));
    if topic.replicas > 1 && least != "1" {
        return Finding::ok("replication", message);
    }
    let advice = "An acknowledged event may be on one disk alone. In production: three replicas, min.insync.replicas 2.";
    Finding::warn("replication", message, advice)
}

fn dates(configuration: &Configuration) -> Finding {
    let kind = &configuration.timestamp_type;
    let message = format!("message.timestamp.type {kind}");
    if kind == "LogAppendTime" {
        return Finding::ok("timestamps", message);
    }
    let advice =
        "The broker refuses events from a clock that is an hour ahead of its own. Set LogAppendTime.";
    Finding::warn("timestamps", message, advice)
}
