//! Whether the topic's partitions can be written to. Changes are logged.

use kit::kafka::TopicIdentity;
use tracing::{info, warn};

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TopicHealth {
    without_leader: i32,
    /// Whether some partition has fewer replicas in sync than it needs to take an event.
    below_least: bool,
    /// The topic's `min.insync.replicas`; `None` until a broker has told.
    least: Option<i32>,
}

impl TopicHealth {
    pub(super) fn is_to_be_configured(&self) -> bool {
        self.least.is_none()
    }

    pub(super) fn configured(&mut self, least: Option<i32>) {
        self.least = least;
    }

    pub(super) fn look(&mut self, name: &str, topic: &TopicIdentity) {
        let TopicIdentity { partitions, without_leader, in_sync_least: in_sync, .. } = *topic;
        if without_leader != self.without_leader {
            match without_leader {
                0 => info!(topic = name, "Every partition of the topic has a leader again"),
                _ => warn!(
                    topic = name,
                    without_leader,
                    partitions,
                    "Partitions of the topic have no leader: their events wait. Start the brokers that hold them"
                ),
            }
            self.without_leader = without_leader;
        }
        let below_least = self.least.is_some_and(|least| in_sync < least);
        if below_least != self.below_least {
            match self.least {
                Some(least) if below_least => warn!(
                    topic = name,
                    in_sync,
                    min_insync_replicas = least,
                    "Partitions of the topic have fewer replicas in sync than min.insync.replicas: Kafka takes no events for them, and they \
                     wait. Start the brokers that are down"
                ),
                _ => info!(topic = name, "Every partition of the topic has enough replicas in sync again"),
            }
            self.below_least = below_least;
        }
    }
}
