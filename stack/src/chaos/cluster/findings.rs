//! What there is in the topic, and what there was.

use std::sync::Arc;

use anyhow::Result;
use sqlx::PgPool;

use super::super::facts::Generation;
use super::{Cluster, DEAD_LETTER_TOPIC, Queue};
use crate::topic::{Published, PublishedChange};

#[derive(Default)]
pub(in super::super) struct TopicFindings {
    /// Topics that were deleted, or what streams held before each loss.
    pub(in super::super) former: Vec<Generation>,
    pub(in super::super) topic: Vec<Published>,
    /// The same of what bonus publishes.
    pub(in super::super) former_changes: Vec<Vec<PublishedChange>>,
    pub(in super::super) changes: Vec<PublishedChange>,
    /// Entries of streams that were read and then lost.
    pub(in super::super) lost: usize,
    /// Entries of streams that are gone and were never read.
    pub(in super::super) unread: Vec<String>,
    /// What is not in the streams yet, and what was not taken from them.
    pub(in super::super) left: Vec<String>,
    /// In the dead-letter topic.
    pub(in super::super) letters: u64,
}

impl Cluster {
    pub(in super::super) async fn topic_findings(
        self: &Arc<Self>,
        database: &PgPool,
    ) -> Result<TopicFindings> {
        if let Queue::Redis(readings) = &self.queue {
            return self.stream_findings(readings, database).await;
        }
        let former = self.former.lock().await.clone();
        self.blocking(|cluster| {
            let brokers = cluster.brokers()?;
            let (topic, letters) = (brokers.read()?, brokers.count(DEAD_LETTER_TOPIC)?);
            let changes = brokers.read_changes()?;
            Ok(TopicFindings { former, topic, changes, letters, ..TopicFindings::default() })
        })
        .await
    }
}
