//! What is read of the client library's statistics.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Statistics {
    brokers: HashMap<String, BrokerStatistics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BrokerStatistics {
    throttle: Throttle,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Throttle {
    /// In milliseconds, since the statistics before.
    max: u64,
}

/// The longest time for which a broker throttled this client since the statistics before.
pub(super) fn throttled(statistics: &[u8]) -> Duration {
    let statistics: Statistics = serde_json::from_slice(statistics).unwrap_or_default();
    let longest = statistics.brokers.into_values().map(|broker| broker.throttle.max).max();
    Duration::from_millis(longest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_throttling_of_any_broker_is_read_from_the_statistics() {
        let statistics = br#"{"name": "orders#producer-1", "brokers": {
            "kafka:9092/1": {"nodeid": 1, "throttle": {"min": 0, "max": 40, "avg": 7, "cnt": 6}},
            "kafka:9093/2": {"nodeid": 2, "throttle": {"min": 0, "max": 6200, "avg": 9, "cnt": 2}},
            ":0/internal": {"nodeid": -1}}}"#;
        assert_eq!(throttled(statistics), Duration::from_millis(6_200));
        assert_eq!(throttled(b"{}"), Duration::ZERO);
        assert_eq!(throttled(b"not JSON"), Duration::ZERO);
    }
}
