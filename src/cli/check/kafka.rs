//! Kafka: whether it is reachable, and whether the topic exists with the promised settings.

use std::time::Duration;

use anyhow::Result;
use engine::transport::kafka::{KafkaSettings, QuietContext};
use kit::cli::check::{self, Finding, Level};
use kit::cli::counted;
use operations::check::topic::{self, unseen};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use super::{WORDS, dead_letters};
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
    let (of_topic, configuration) = topic::check(WORDS, kafka, &admin, &metadata, PATIENCE).await;
    findings.extend(of_topic);
    if let Some(configuration) = configuration {
        findings.push(dead_letters::check(&admin, &metadata, &settings.topic.name, &configuration).await);
    }
    Ok(findings)
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
