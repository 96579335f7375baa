//! Kafka: whether it is reachable, and whether the topic exists with the promised settings.

use std::time::Duration;

use anyhow::Result;
use engine::transport::kafka::{KafkaSettings, QuietContext, TopicConfiguration};
use kit::cli::check::{self, Finding, Level};
use kit::cli::counted;
use kit::kafka::TopicError;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::dead_letters;
use super::topic::{self, Topic, named, unseen};
use crate::config::Broker;

pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check(settings: &Broker) -> Vec<Finding> {
    let kafka = match settings.kafka() {
        Ok(kafka) => kafka,
        Err(error) => {
            return vec![Finding::fail("kafka", format!("{error:#}"), "The service does not start with it.")];
        }
    };
    let mut findings = Vec::from_iter(check::kafka_link(&kafka.cluster, &settings.topic.name).await);
    if findings.iter().any(|link| link.level == Level::Fail) {
        return findings;
    }
    findings.extend(match ask(settings, &kafka).await {
        Ok(found) => found,
        Err(error) => {
            let message = format!("{}: {error}", settings.kafka_brokers);
            let advice = "Start it, or set KAFKA_BROKERS. Until then events wait in the outbox.";
            vec![Finding::fail("kafka", message, advice)]
        }
    });
    findings
}

async fn ask(settings: &Broker, kafka: &KafkaSettings) -> Result<Vec<Finding>> {
    let admin = kafka.admin()?;
    let (admin, metadata) = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
        anyhow::Ok((admin, metadata))
    })
    .await??;
    let brokers = metadata.brokers().len();
    let reachable = Finding::ok("kafka", format!("reachable, {}", counted(brokers, "broker")));
    let mut findings = vec![reachable, auto_creation(&admin, &metadata).await];
    let name = &settings.topic.name;
    let Some(found) = named(&metadata, name) else {
        findings.push(absent(settings, kafka).await);
        return Ok(findings);
    };
    match TopicConfiguration::read(&admin, name).await {
        Ok(configuration) => {
            let topic = described(found, &configuration);
            findings.extend(topic::compare(&settings.topic.settings(), &topic, &configuration));
            findings.push(dead_letters::check(&admin, &metadata, name, &configuration).await);
        }
        Err(error) => findings.push(unseen("topic", name, &error)),
    }
    Ok(findings)
}

/// A list of all topics leaves out those that may not be described.
async fn absent(settings: &Broker, kafka: &KafkaSettings) -> Finding {
    let name = &settings.topic.name;
    match kafka.cluster.topic_identity(name, PATIENCE).await {
        Err(error @ TopicError::NotAuthorised) => {
            Finding::fail("topic", format!("{name}: {error}"), "See kafka-acls.")
        }
        _ => {
            let advice =
                format!("The service makes it at its start, with {} partitions.", settings.topic.partitions);
            Finding::warn("topic", format!("{name} is not there"), advice)
        }
    }
}

fn described(topic: &MetadataTopic, configuration: &TopicConfiguration) -> Topic {
    let partitions = topic.partitions();
    let least = usize::try_from(configuration.min_insync_replicas()).unwrap_or(1);
    Topic {
        partitions: partitions.len(),
        without_leader: partitions.iter().filter(|partition| partition.leader() < 0).count(),
        below_least: partitions.iter().filter(|partition| partition.isr().len() < least).count(),
        replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default(),
    }
}

/// The first broker's setting; as a rule all brokers have the same.
async fn auto_creation(admin: &AdminClient<QuietContext>, metadata: &Metadata) -> Finding {
    const NAME: &str = "auto-creation";
    let Some(broker) = metadata.brokers().first() else {
        return Finding::warn(NAME, "no broker can be asked", "Start the brokers.");
    };
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let asked = admin.describe_configs([&ResourceSpecifier::Broker(broker.id())], &options).await;
    let described = match asked.map(|mut described| described.pop()) {
        Ok(Some(Ok(described))) => described,
        Ok(Some(Err(code))) => return unseen(NAME, "the broker", &KafkaError::AdminOp(code)),
        Ok(None) => return Finding::warn(NAME, "the broker tells no configuration", "Ask again."),
        Err(error) => return unseen(NAME, "the broker", &error),
    };
    let value = described.get("auto.create.topics.enable").and_then(|entry| entry.value.as_deref());
    if value == Some("true") {
        let advice = "Neither service uses it, but any other client that asks for a missing topic makes it, with the cluster's \
                      defaults: set auto.create.topics.enable=false at the brokers.";
        return Finding::warn(NAME, "the brokers make topics that are asked for", advice);
    }
    Finding::ok(NAME, "the brokers make no topics by themselves")
}
