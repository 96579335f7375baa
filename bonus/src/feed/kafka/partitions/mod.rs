//! Decides from which offset each assigned partition is read.
//!
//! A partition is *settled* before anything is read from it: its offset in Kafka, the topic's id in Postgres, and what the brokers
//! have are compared ([`start`]). Until then it is paused.

mod gap_log;
mod holes;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kit::kafka::{Cluster, TopicError, TopicIdentity};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tracing::{debug, warn};
use uuid::Uuid;

pub use self::holes::Holes;
use self::start::{BrokerOffsets, KnownPosition, Start, start};
use crate::config::Config;
use crate::error::LedgerError;
use crate::feed::kafka::context::FeedContext;
use crate::feed::memory::TopicMemory;

/// For each answer of a broker.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the topic's id is asked for before partitions are read without it.
const UNANSWERED_MAX: u32 = 3;

/// Partitions stay unsettled, and the next attempt may do better.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the topic's id: {0}")]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The result of an attempt to settle partitions.
pub struct SettleOutcome {
    /// From where partitions are read now.
    pub offsets: BTreeMap<i32, i64>,
    /// Why others are not settled.
    pub unsettled: Option<SettleError>,
}

/// Settles partitions. It waits for servers, so it runs beside the polling thread, which reads the settled partitions meanwhile.
pub struct Settler {
    cluster: Cluster,
    topic: String,
    memory: TopicMemory,
    /// Partitions whose leader did not answer.
    failed: BTreeSet<i32>,
    /// Gaps that are logged, and whose new position is not stored yet.
    logged_gaps: BTreeMap<i32, Start>,
    /// `Some` once partitions were settled; with the topic's id if it was known.
    settled: Option<Option<Uuid>>,
    /// How often in a row no broker told the topic's id.
    unanswered: u32,
    /// It is logged already that the brokers do not tell the id.
    missing_id_logged: bool,
}

impl Settler {
    pub fn new(cluster: Cluster, config: &Config, runtime: Handle) -> Self {
        Self {
            cluster,
            topic: config.topics.orders_topic.clone(),
            memory: TopicMemory::new(config, runtime),
            failed: BTreeSet::new(),
            logged_gaps: BTreeMap::new(),
            settled: None,
            unanswered: 0,
            missing_id_logged: false,
        }
    }

    /// Whether partitions were settled without knowing that the topic is `topic_id`.
    pub fn is_outdated(&self, topic_id: Uuid) -> bool {
        self.settled.is_some_and(|settled| settled != Some(topic_id))
    }

    /// Moves the consumer to the offsets from which `partitions` are to be read. A partition without a leader stays unsettled; the
    /// others do not wait for it.
    pub fn settle(
        &mut self,
        consumer: &BaseConsumer<FeedContext>,
        partitions: &[i32],
    ) -> Result<SettleOutcome, SettleError> {
        let identity = self.identity()?;
        let known = self.known(consumer, partitions, identity)?;
        let (starts, unsettled) = match self.starts(consumer, known, identity) {
            (starts, Some(unsettled)) if starts.is_empty() => return Err(unsettled),
            some_or_all => some_or_all,
        };
        // A seek is undone by the next one, so it may come first. One that fails must not be read from.
        let all = self.list(starts.iter().map(|(partition, start)| (*partition, start.offset)))?;
        for element in consumer.seek_partitions(all, PATIENCE)?.elements() {
            element.error()?;
        }
        // Before the new position is stored: after a kill in between, a gap would never be logged.
        for (partition, start) in &starts {
            self.report(*partition, start);
        }
        // First Kafka, then Postgres: after a kill in between, the same gap is found again. In the other order the old offset would
        // be taken for one of the new topic.
        let moved = starts.iter().filter(|(_, start)| start.gap.is_some());
        let moved = self.list(moved.map(|(partition, start)| (*partition, start.offset)))?;
        if moved.count() > 0 {
            consumer.commit(&moved, CommitMode::Sync)?;
        }
        let offsets: BTreeMap<i32, i64> =
            starts.into_iter().map(|(partition, start)| (partition, start.offset)).collect();
        if let Some(identity) = identity {
            let partitions: Vec<i32> = offsets.keys().copied().collect();
            self.memory.remember(&partitions, identity.id, identity.partitions)?;
        }
        self.settled = Some(identity.map(|identity| identity.id));
        self.logged_gaps.clear();
        Ok(SettleOutcome { offsets, unsettled })
    }

    /// Partitions that failed the last time come last, and end the attempt if they fail again, so that the others do not wait for
    /// their leaders.
    fn starts(
        &mut self,
        consumer: &BaseConsumer<FeedContext>,
        known: BTreeMap<i32, KnownPosition>,
        identity: Option<TopicIdentity>,
    ) -> (BTreeMap<i32, Start>, Option<SettleError>) {
        let mut order: Vec<(i32, KnownPosition)> = known.into_iter().collect();
        order.sort_by_key(|(partition, _)| (self.failed.contains(partition), *partition));
        let mut starts = BTreeMap::new();
        for (partition, known) in order {
            match consumer.fetch_watermarks(&self.topic, partition, PATIENCE) {
                Ok((low, high)) => {
                    self.failed.remove(&partition);
                    let found = BrokerOffsets { low, high, topic_id: identity.map(|identity| identity.id) };
                    starts.insert(partition, start(known, found));
                }
                Err(error) => {
                    self.failed.insert(partition);
                    return (starts, Some(error.into()));
                }
            }
        }
        (starts, None)
    }

    /// `None` if the brokers are too old to tell it, do not permit the request, or do not answer it though they answer the client
    /// (as when the bootstrap server is another one). A topic that was created again is then noticed later, or only if it is
    /// shorter.
    fn identity(&mut self) -> Result<Option<TopicIdentity>, TopicError> {
        let asked = self.cluster.topic_identity(&self.topic, PATIENCE);
        let error = match self.memory.runtime().block_on(asked) {
            Ok(identity) => {
                self.unanswered = 0;
                return Ok(Some(identity));
            }
            Err(TopicError::Missing) => return Err(TopicError::Missing),
            Err(error) => error,
        };
        if matches!(error, TopicError::NoAnswer { .. }) && self.unanswered < UNANSWERED_MAX {
            self.unanswered += 1;
            return Err(error);
        }
        if !std::mem::replace(&mut self.missing_id_logged, true) {
            warn!(%error, topic = self.topic, "The topic's id cannot be had; a topic that is made anew may go unnoticed");
        }
        Ok(None)
    }

    fn known(
        &self,
        consumer: &BaseConsumer<FeedContext>,
        partitions: &[i32],
        identity: Option<TopicIdentity>,
    ) -> Result<BTreeMap<i32, KnownPosition>, SettleError> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&self.topic, *partition);
        }
        let committed = consumer.committed_offsets(asked, PATIENCE)?;
        let remembered = self.memory.remembered()?;
        let of_this_topic =
            remembered.iter().filter(|row| identity.is_some_and(|identity| identity.id == row.topic_id));
        let partitions_before = of_this_topic.map(|row| row.partitions).max();
        let mut known = BTreeMap::new();
        for element in committed.elements() {
            let partition = element.partition();
            element.error()?;
            let committed = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let row = remembered.iter().find(|row| row.partition == partition);
            let is_added = row.is_none() && partitions_before.is_some_and(|before| partition >= before);
            known.insert(
                partition,
                KnownPosition { committed, topic_id: row.map(|row| row.topic_id), is_added },
            );
        }
        Ok(known)
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, i64)>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        }
        Ok(list)
    }

    fn report(&mut self, partition: i32, start: &Start) {
        let Some(gap) = start.gap else {
            debug!(partition, offset = start.offset, "Partition settled");
            return;
        };
        // An attempt that failed after this is repeated, and must not log the gap twice.
        if self.logged_gaps.insert(partition, start.clone()).as_ref() == Some(start) {
            return;
        }
        gap_log::log(&self.topic, partition, gap, start);
    }
}
