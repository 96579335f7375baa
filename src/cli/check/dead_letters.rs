//! The topic for messages that the bonus service cannot read: it must take what the topic of the events takes.

use engine::transport::kafka::{QuietContext, TopicConfiguration};
use kit::cli::check::Finding;
use operations::check::topic::{named, unseen};
use rdkafka::admin::AdminClient;
use rdkafka::metadata::Metadata;

const NAME: &str = "dead letters";
/// What the bonus service appends to the topic's name, unless it is told another one.
const SUFFIX: &str = ".dlq";

pub(super) async fn check(
    admin: &AdminClient<QuietContext>,
    metadata: &Metadata,
    topic: &str,
    of_events: &TopicConfiguration,
) -> Finding {
    let name = format!("{topic}{SUFFIX}");
    let Some(found) = named(metadata, &name) else {
        return Finding::ok(
            NAME,
            format!("{name} is not there yet; the bonus service makes it for the first letter"),
        );
    };
    if found.partitions().iter().any(|partition| partition.leader() < 0) {
        return Finding::fail(NAME, format!("{name} has no leader"), "Start the brokers that hold it.");
    }
    match TopicConfiguration::read(admin, &name).await {
        Ok(configuration) => compare(&name, &configuration, of_events),
        Err(error) => unseen(NAME, &name, &error),
    }
}

fn compare(name: &str, letters: &TopicConfiguration, of_events: &TopicConfiguration) -> Finding {
    let policy = letters.value("cleanup.policy");
    if policy.contains("compact") {
        let message = format!("{name}: cleanup.policy {policy}");
        return Finding::fail(
            NAME,
            message,
            "Letters of one order replace each other. Set cleanup.policy=delete.",
        );
    }
    let bytes = |configuration: &TopicConfiguration| -> i64 {
        configuration.value("max.message.bytes").parse().unwrap_or_default()
    };
    let (takes, events) = (bytes(letters), bytes(of_events));
    if takes < events {
        let message = format!("{name} takes {takes} bytes a message, the events' topic {events}");
        let advice =
            format!("A large letter arrives without its value. Set max.message.bytes={events} at least.");
        return Finding::warn(NAME, message, advice);
    }
    Finding::ok(NAME, format!("{name} takes what the events' topic takes"))
}
