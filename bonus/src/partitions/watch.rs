//! Checks at intervals which topic has the name.

use std::time::Duration;

use kit::kafka::topic_identity;
use tokio::sync::watch;
use tracing::debug;
use uuid::Uuid;

use crate::config::Topics;

/// How late a topic that was made anew is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);

/// As last seen; `None` until then. A topic that is missing for a while keeps its id here.
pub type TopicId = watch::Receiver<Option<Uuid>>;

/// Looks for as long as the returned value, or a clone of it, is kept.
pub fn watch(topics: &Topics) -> TopicId {
    let (brokers, topic) = (topics.kafka_brokers.clone(), topics.orders_topic.clone());
    let (seen, id) = watch::channel(None);
    actix_rt::spawn(async move {
        while !seen.is_closed() {
            match topic_identity(&brokers, &topic, PATIENCE).await {
                Ok(identity) => {
                    seen.send_replace(Some(identity.id));
                }
                Err(error) => debug!(%error, topic, "The topic's id is not known at the moment"),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    });
    id
}
