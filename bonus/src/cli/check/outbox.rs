//! What the outbox needs: the topic that this service publishes to, and the Redis that keeps the retry.

#[cfg(feature = "kafka")]
use std::time::Duration;

use kit::cli::check::Finding;
use operations::check::{Words, streams};
#[cfg(feature = "kafka")]
use operations::check::{retry, topic};

use crate::config::{Config, Mq};

const WORDS: Words = Words { variables: "BONUS_EVENTS_TOPIC", many: "customers" };
/// For each answer.
#[cfg(feature = "kafka")]
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let (publication, topics) = (&config.publication, &config.topics);
    match topics.mq {
        #[cfg(feature = "kafka")]
        Mq::Kafka => {
            let redis = topics.redis.server();
            let (topic, retry) = tokio::join!(of_kafka(config), retry::check(&redis));
            topic.into_iter().map(named).chain(retry).collect()
        }
        // The same Redis keeps the retry: the rest of the check is about it.
        Mq::Redis => {
            streams::check(WORDS, &publication.streams(topics)).await.into_iter().map(named).collect()
        }
    }
}

/// Nothing if Kafka cannot be asked, or its settings are no good: the check of the topic that is read from says so.
#[cfg(feature = "kafka")]
async fn of_kafka(config: &Config) -> Vec<Finding> {
    let Ok(settings) = config.publication.kafka(&config.topics) else { return Vec::new() };
    let asked = async {
        let admin = settings.admin()?;
        tokio::task::spawn_blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
            anyhow::Ok((admin, metadata))
        })
        .await?
    };
    let Ok((admin, metadata)) = asked.await else { return Vec::new() };
    topic::check(WORDS, &settings, &admin, &metadata, PATIENCE).await.0
}

/// By other names than those of the topic that this service reads from.
fn named(mut finding: Finding) -> Finding {
    finding.name = match finding.name {
        "topic" => "events topic",
        "replication" => "events replication",
        "cleanup" => "events cleanup",
        "retention" => "events retention",
        "timestamps" => "events timestamps",
        "groups" => "events groups",
        other => other,
    };
    finding
}
