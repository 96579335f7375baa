//! Checks at intervals which topic of Kafka has the name.
#![cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "the feed itself looks at a topic in Redis"))]

use std::time::Duration;

use kit::kafka::TopicError;
use tokio::sync::watch;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::config::Topics;

/// How late a topic that was created again is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);

/// As last seen; `None` until then. A topic that is missing for a while keeps its id here.
pub type TopicId = watch::Receiver<Option<Uuid>>;

/// Looks until `stopping`, and puts what it sees into `seen`.
pub async fn watch(topics: &Topics, seen: &watch::Sender<Option<Uuid>>, mut stopping: watch::Receiver<bool>) {
    let topic = &topics.orders_topic;
    let cluster = match topics.cluster() {
        Ok(cluster) => cluster,
        Err(error) => return warn!(error = format!("{error:#}"), "Kafka cannot be used"),
    };
    let look = async {
        let mut refused = None;
        loop {
            match cluster.topic_identity(topic, PATIENCE).await {
                Ok(identity) => {
                    refused = None;
                    seen.send_replace(Some(identity.id));
                }
                Err(TopicError::Link(error)) => {
                    if refused.as_ref() != Some(&error) {
                        warn!(%error, "Kafka is there and cannot be used; tried again until it can");
                    }
                    refused = Some(error);
                }
                Err(error) => debug!(%error, topic, "The topic's id is not known at the moment"),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::select! {
        () = look => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}
