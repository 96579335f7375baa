//! Redis Streams: whether the topic is there with the promised partitions, who reads it, and whether Redis keeps it.

use std::time::Duration;

use engine::transport::redis::{StreamOverview, StreamSettings};
use kit::cli::check::Finding;
use kit::cli::counted;

use super::Words;

/// For what they ask of their groups.
const CONSUMERS_MAJOR_MIN: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(2);

pub async fn check(words: Words, settings: &StreamSettings) -> Vec<Finding> {
    match StreamOverview::read(settings, PATIENCE).await {
        Ok(overview) => vec![
            version(&overview),
            topic(words, settings, &overview),
            groups(words, &overview),
            eviction(&overview),
            persistence(&overview),
        ],
        Err(error) => {
            let advice = "Start it, or set REDIS_URL. Until then events wait in the outbox.";
            vec![Finding::fail("streams", error.to_string(), advice)]
        }
    }
}

/// The publisher needs 6.2, which has `XTRIM MINID`.
fn version(overview: &StreamOverview) -> Finding {
    let (name, version) = ("redis version", &overview.version);
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= CONSUMERS_MAJOR_MIN) {
        return Finding::ok(name, format!("Redis {version}"));
    }
    let advice = "The bonus service reads streams from Redis 7 on: use Redis 7 or later.";
    Finding::warn(name, format!("Redis {version}"), advice)
}

fn topic(words: Words, settings: &StreamSettings, overview: &StreamOverview) -> Finding {
    let (name, wanted) = ("topic", settings.partitions);
    let Some(partitions) = overview.partitions else {
        let advice = format!("The service makes it at its start, with {wanted} partitions.");
        return Finding::warn(name, format!("{} is not there", settings.topic), advice);
    };
    let streams = counted(usize::try_from(partitions).unwrap_or_default(), "partition");
    let message = format!("{}, {streams}, {} entries", settings.topic, overview.entries);
    if partitions != wanted {
        let message = format!("{message}; {}_PARTITIONS is {wanted}", words.variables);
        return Finding::warn(name, message, "Set it to the number there is.");
    }
    Finding::ok(name, message)
}

fn groups(words: Words, overview: &StreamOverview) -> Finding {
    let name = "groups";
    if overview.groups.is_empty() {
        let advice = format!(
            "Without a group the streams keep every entry for {}_RETENTION_HOURS. Start the consumers.",
            words.variables
        );
        return Finding::warn(name, "no consumer group is registered", advice);
    }
    let groups: Vec<&str> = overview.groups.iter().map(String::as_str).collect();
    let message = format!("{}; entries are kept until all of them have acknowledged", groups.join(", "));
    Finding::ok(name, message)
}

/// Streams have no expiry, so a policy for keys that have one leaves them alone.
fn eviction(overview: &StreamOverview) -> Finding {
    let (name, policy) = ("eviction", &overview.eviction);
    let message = format!("maxmemory-policy {policy}");
    if policy.starts_with("allkeys") && overview.maxmemory > 0 {
        let advice = "Redis may drop a whole stream, with events that nobody has read. Set noeviction: then events wait in the outbox.";
        return Finding::fail(name, message, advice);
    }
    Finding::ok(name, message)
}

fn persistence(overview: &StreamOverview) -> Finding {
    let name = "persistence";
    if overview.append_only {
        return Finding::ok(name, "appendonly yes");
    }
    let advice = "A restart of Redis loses the streams' end, or all of them; what they lost is published again. Set appendonly yes.";
    Finding::warn(name, "appendonly no", advice)
}

#[cfg(test)]
mod tests {
    use kit::cli::check::Level;

    use super::*;

    const WORDS: Words = Words { variables: "ORDERS_TOPIC", many: "orders" };

    fn overview() -> StreamOverview {
        StreamOverview {
            partitions: Some(6),
            entries: 1,
            groups: ["bonus".to_owned()].into(),
            eviction: "noeviction".to_owned(),
            maxmemory: 1_000_000,
            append_only: true,
            version: "7.0.15".to_owned(),
        }
    }

    #[test]
    fn what_may_lose_events_is_said() {
        assert_eq!(eviction(&overview()).level, Level::Ok);
        assert_eq!(
            eviction(&StreamOverview { eviction: "allkeys-lru".to_owned(), ..overview() }).level,
            Level::Fail
        );
        assert_eq!(version(&StreamOverview { version: "6.2.5".to_owned(), ..overview() }).level, Level::Warn);
        assert_eq!(persistence(&StreamOverview { append_only: false, ..overview() }).level, Level::Warn);
        assert_eq!(
            groups(WORDS, &StreamOverview { groups: Default::default(), ..overview() }).level,
            Level::Warn
        );
    }
}
