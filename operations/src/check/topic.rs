//! Compares the topic with the settings that the service promises. Differences are changed by an operator, never by the service.

use std::time::Duration;

use engine::transport::kafka::{KafkaSettings, QuietContext, TopicConfiguration, TopicSettings};
use kit::cli::check::Finding;
use kit::cli::counted;
use kit::kafka::{TopicError, code, describe};
use rdkafka::admin::AdminClient;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::Words;

const FOR_EVER: i64 = -1;
const HOUR_MS: i64 = 3_600_000;

/// As the cluster has it.
struct Topic {
    partitions: usize,
    without_leader: usize,
    /// Those with fewer replicas in sync than `min.insync.replicas`.
    below_least: usize,
    /// Of the partition that has the fewest.
    replicas: usize,
}

/// The topic of `settings`, and how it is configured if it can be looked at.
pub async fn check(
    words: Words,
    settings: &KafkaSettings,
    admin: &AdminClient<QuietContext>,
    metadata: &Metadata,
    patience: Duration,
) -> (Vec<Finding>, Option<TopicConfiguration>) {
    let promised = &settings.topic;
    let name = &promised.name;
    let Some(found) = named(metadata, name) else {
        return (vec![absent(settings, patience).await], None);
    };
    match TopicConfiguration::read(admin, name).await {
        Ok(configuration) => {
            let topic = described(found, &configuration);
            (compare(words, promised, &topic, &configuration), Some(configuration))
        }
        Err(error) => (vec![unseen("topic", name, &error)], None),
    }
}

/// A list of all topics leaves out those that may not be described.
async fn absent(settings: &KafkaSettings, patience: Duration) -> Finding {
    let TopicSettings { name, partitions, .. } = &settings.topic;
    match settings.cluster.topic_identity(name, patience).await {
        Err(error @ TopicError::NotAuthorised) => {
            Finding::fail("topic", format!("{name}: {error}"), "See kafka-acls.")
        }
        _ => {
            let advice = format!("The service makes it at its start, with {partitions} partitions.");
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

fn compare(
    words: Words,
    promised: &TopicSettings,
    topic: &Topic,
    configuration: &TopicConfiguration,
) -> Vec<Finding> {
    let (kept_ms, kept_bytes) = (configuration.value("retention.ms"), configuration.value("retention.bytes"));
    vec![
        partitions(words, promised, topic),
        replication(words, promised, topic, configuration.min_insync_replicas()),
        cleanup(&promised.name, configuration.value("cleanup.policy")),
        retention(words, promised, kept_ms, kept_bytes),
        dates(&promised.name, configuration.value("message.timestamp.type")),
    ]
}

fn alter(topic: &str, setting: &str) -> String {
    format!(
        "To change it: kafka-configs --bootstrap-server … --alter --entity-type topics --entity-name {topic} --add-config {setting}"
    )
}

fn partitions(words: Words, promised: &TopicSettings, topic: &Topic) -> Finding {
    let name = "topic";
    let message = format!("{}, {}", promised.name, counted(topic.partitions, "partition"));
    if topic.without_leader > 0 {
        let message = format!("{message}, {} without a leader", topic.without_leader);
        return Finding::fail(name, message, "Their events wait. Start the brokers that hold them.");
    }
    if topic.below_least > 0 {
        let message =
            format!("{message}, {} with fewer replicas in sync than min.insync.replicas", topic.below_least);
        return Finding::fail(name, message, "Their events wait. Start the brokers that are down.");
    }
    let wanted = usize::try_from(promised.partitions).unwrap_or_default();
    if topic.partitions != wanted {
        let message = format!("{message}; {}_PARTITIONS is {wanted}", words.variables);
        let advice = format!(
            "Set it to the number there is. (More partitions can be added, but move {}' keys: see \"Partitions added\" in \
             docs/operations.md.)",
            words.many
        );
        return Finding::warn(name, message, advice);
    }
    Finding::ok(name, message)
}

fn replication(words: Words, promised: &TopicSettings, topic: &Topic, least: i32) -> Finding {
    let name = "replication";
    let message = format!("{}, min.insync.replicas {least}", counted(topic.replicas, "replica"));
    let least_replicas = usize::try_from(least).unwrap_or(1);
    if least_replicas > topic.replicas {
        let advice = format!(
            "Kafka can take no event. {}",
            alter(&promised.name, &format!("min.insync.replicas={}", topic.replicas.max(1)))
        );
        return Finding::fail(name, message, advice);
    }
    if topic.replicas > 1 && least_replicas == topic.replicas {
        let advice = format!(
            "Every restart of a broker stops publication. {}",
            alter(&promised.name, "min.insync.replicas=2")
        );
        return Finding::warn(name, message, advice);
    }
    let wanted = promised.replication.and_then(|wanted| usize::try_from(wanted).ok());
    if let Some(wanted) = wanted.filter(|wanted| *wanted != topic.replicas) {
        let message = format!("{message}; {}_REPLICATION is {wanted}", words.variables);
        return Finding::warn(name, message, "Change it by kafka-reassign-partitions, or the setting.");
    }
    if let Some(wanted) = promised.min_insync_replicas.filter(|wanted| *wanted != least) {
        let message = format!("{message}; {}_MIN_INSYNC_REPLICAS is {wanted}", words.variables);
        return Finding::warn(name, message, alter(&promised.name, &format!("min.insync.replicas={wanted}")));
    }
    if topic.replicas > 1 && least > 1 {
        return Finding::ok(name, message);
    }
    let advice = "An acknowledged event may be on one disk alone. In production: three replicas, min.insync.replicas 2.";
    Finding::warn(name, message, advice)
}

fn cleanup(topic: &str, policy: &str) -> Finding {
    let message = format!("cleanup.policy {policy}");
    if policy.contains("compact") {
        let advice = format!(
            "Compaction deletes earlier events of a key before consumers have read them. {}",
            alter(topic, "cleanup.policy=delete")
        );
        return Finding::fail("cleanup", message, advice);
    }
    Finding::ok("cleanup", message)
}

fn retention(words: Words, promised: &TopicSettings, kept_ms: &str, kept_bytes: &str) -> Finding {
    let name = "retention";
    let (kept, wanted) = (kept_ms.parse().unwrap_or(FOR_EVER), promised.retention_ms());
    let message = format!("events are kept {}", duration(kept));
    if !matches!(kept_bytes, "-1" | "") {
        let message = format!("{message}, and no more than {kept_bytes} bytes a partition");
        let advice = format!(
            "A busy day shortens the time that consumers have. {}",
            alter(&promised.name, "retention.bytes=-1")
        );
        return Finding::warn(name, message, advice);
    }
    let shorter = kept != FOR_EVER && (wanted == FOR_EVER || kept < wanted);
    if shorter {
        let message =
            format!("{message}; {}_RETENTION_HOURS promises them {}", words.variables, duration(wanted));
        let advice = format!(
            "A consumer that is away for longer loses events. {}",
            alter(&promised.name, &format!("retention.ms={wanted}"))
        );
        return Finding::warn(name, message, advice);
    }
    Finding::ok(name, message)
}

fn duration(ms: i64) -> String {
    if ms < 0 { "for ever".to_owned() } else { format!("for {} hours", ms / HOUR_MS) }
}

fn dates(topic: &str, kind: &str) -> Finding {
    let message = format!("message.timestamp.type {kind}");
    if kind == "LogAppendTime" {
        return Finding::ok("timestamps", message);
    }
    let advice = format!(
        "The broker refuses events from a clock that is an hour ahead of its own. {}",
        alter(topic, "message.timestamp.type=LogAppendTime")
    );
    Finding::warn("timestamps", message, advice)
}

pub fn named<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a MetadataTopic> {
    metadata.topics().iter().find(|found| found.name() == name)
}

/// The finding for something that could not be read, mostly because a privilege is missing.
pub fn unseen(name: &'static str, what: &str, error: &KafkaError) -> Finding {
    let message = format!("{what} cannot be looked at: {}", describe(error));
    match code(error) {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            Finding::warn(name, message, "For this check alone, grant DESCRIBE_CONFIGS as well.")
        }
        _ => Finding::warn(name, message, "Ask again."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::cli::check::Level;

    const WORDS: Words = Words { variables: "ORDERS_TOPIC", many: "orders" };

    fn promised() -> TopicSettings {
        TopicSettings {
            name: "orders.events".to_owned(),
            partitions: 6,
            replication: Some(3),
            min_insync_replicas: Some(2),
            retention: Some(std::time::Duration::from_hours(720)),
        }
    }

    fn topic(partitions: usize, replicas: usize) -> Topic {
        Topic { partitions, without_leader: 0, below_least: 0, replicas }
    }

    #[test]
    fn partitions_are_compared() {
        for (found, level) in [
            (topic(6, 3), Level::Ok),
            (topic(12, 3), Level::Warn),
            (Topic { without_leader: 1, ..topic(6, 3) }, Level::Fail),
            (Topic { below_least: 1, ..topic(6, 3) }, Level::Fail),
        ] {
            assert_eq!(partitions(WORDS, &promised(), &found).level, level);
        }
    }

    #[test]
    fn replicas_are_compared_with_those_that_must_be_in_sync() {
        for (replicas, least, level) in [
            (3, 2, Level::Ok),
            (3, 3, Level::Warn),
            (3, 1, Level::Warn),
            (2, 1, Level::Warn),
            (1, 1, Level::Warn),
            (1, 2, Level::Fail),
        ] {
            assert_eq!(
                replication(WORDS, &promised(), &topic(6, replicas), least).level,
                level,
                "{replicas}, {least}"
            );
        }
    }

    #[test]
    fn what_may_lose_events_is_said() {
        for (policy, level) in
            [("delete", Level::Ok), ("compact", Level::Fail), ("compact,delete", Level::Fail)]
        {
            assert_eq!(cleanup("orders.events", policy).level, level, "{policy}");
        }
        for (ms, bytes, level) in [
            ("2592000000", "-1", Level::Ok),
            ("-1", "-1", Level::Ok),
            ("604800000", "-1", Level::Warn),
            ("2592000000", "1000000", Level::Warn),
        ] {
            assert_eq!(retention(WORDS, &promised(), ms, bytes).level, level, "{ms}, {bytes}");
        }
        let for_ever = TopicSettings { retention: None, ..promised() };
        assert_eq!(retention(WORDS, &for_ever, "2592000000", "-1").level, Level::Warn);
        assert_eq!(dates("orders.events", "CreateTime").level, Level::Warn);
    }
}
