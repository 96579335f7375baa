//! The state of the client's connection, and the partitions assigned to this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::kafka::Cluster;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use crate::config::Mq;
use crate::feed::connection::ConnectionReport;
use crate::health::HealthBoard;
use crate::telemetry::metric;

/// The partitions that the group has assigned to this process. A partition is read once it is settled, and gets a new epoch with
/// each assignment. Messages read under an earlier epoch must not be committed, because another process may have read on meanwhile.
#[derive(Default)]
pub struct Assignment {
    epochs: BTreeMap<i32, u64>,
    /// Assigned, and not settled yet.
    unsettled: BTreeSet<i32>,
    /// Counts every change; also the source of epochs.
    changes: u64,
}

impl Assignment {
    pub fn give(&mut self, partitions: impl Iterator<Item = i32>) {
        self.changes += 1;
        self.unsettled.extend(partitions);
    }

    pub fn settle(&mut self, partitions: impl Iterator<Item = i32>) {
        self.changes += 1;
        for partition in partitions {
            if self.unsettled.remove(&partition) {
                self.epochs.insert(partition, self.changes);
            }
        }
    }

    fn all(&self) -> Vec<i32> {
        self.epochs.keys().chain(&self.unsettled).copied().collect()
    }

    pub fn unsettled(&self) -> Vec<i32> {
        self.unsettled.iter().copied().collect()
    }

    pub fn settled(&self) -> Vec<i32> {
        self.epochs.keys().copied().collect()
    }

    pub fn take(&mut self, partitions: impl Iterator<Item = i32>) {
        self.changes += 1;
        for partition in partitions {
            self.epochs.remove(&partition);
            self.unsettled.remove(&partition);
        }
    }

    pub fn epoch(&self, partition: i32) -> Option<u64> {
        self.epochs.get(&partition).copied()
    }

    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// Receives librdkafka's callbacks. All but `log` run on the thread that polls, so the locks are never waited for.
pub struct FeedContext {
    topic: String,
    /// Knows more of a refused link than librdkafka tells.
    cluster: Cluster,
    report: ConnectionReport,
    assignment: Mutex<Assignment>,
    /// The group's offsets by partition, as last reported.
    committed: Mutex<BTreeMap<i32, i64>>,
}

/// What these locks guard is whole after every statement, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FeedContext {
    pub fn new(topic: &str, cluster: Cluster, health: HealthBoard) -> Self {
        Self {
            topic: topic.to_owned(),
            cluster,
            report: ConnectionReport::new(Mq::Kafka, health),
            assignment: Mutex::default(),
            committed: Mutex::default(),
        }
    }

    pub fn assignment(&self) -> MutexGuard<'_, Assignment> {
        lock(&self.assignment)
    }

    /// The offsets that Kafka has, at most a second ago.
    pub fn committed(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        lock(&self.committed)
    }

    /// From here on this process closes the connections: a lost one is not logged.
    pub fn closing(&self) {
        self.report.closing();
    }

    fn unreachable(&self, reason: &str) {
        self.report.unreachable(&self.cluster.problem().unwrap_or_else(|| reason.to_owned()));
    }

    /// The partitions of this process, after the change has been carried out.
    fn assignment_changed(&self, what: &'static str, moved: usize) {
        let owned = self.assignment().epochs.len();
        self.report.health().update(|health| health.partitions = owned);
        info!(moved, owned, "Partitions {what}");
    }

    /// These partitions are settled.
    pub fn settled(&self, partitions: impl ExactSizeIterator<Item = i32>) {
        let moved = partitions.len();
        self.assignment().settle(partitions);
        self.assignment_changed("taken over", moved);
    }
}

fn partitions_of(list: &TopicPartitionList) -> impl Iterator<Item = i32> {
    list.elements().into_iter().map(|element| element.partition())
}

impl ClientContext for FeedContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "Kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.unreachable(reason);
        } else {
            debug!(%error, reason, "Kafka client error");
        }
    }

    /// Once a second. A bootstrap entry has no node id and says nothing about the cluster.
    fn stats(&self, statistics: Statistics) {
        let up = |state: &str| matches!(state, "UP" | "UPDATE");
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && up(&broker.state)) {
            self.report.connected();
        } else {
            self.unreachable("no broker is connected");
        }
        let assignment = self.assignment();
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let ours =
            || topic.partitions.values().filter(|partition| assignment.epoch(partition.partition).is_some());
        *self.committed() =
            ours().map(|partition| (partition.partition, partition.committed_offset)).collect();
        let lag = ours().map(|partition| {
            let lag = lag(partition);
            metric::partition_lag(partition.partition, lag);
            lag
        });
        let lag = lag.sum();
        metric::lag(lag);
        self.report.health().update(|health| health.lag_messages = lag);
    }
}

/// Messages not yet committed. Until the first commit of this process, those after the offset that it started from.
fn lag(partition: &Partition) -> i64 {
    let reached = [partition.committed_offset, partition.app_offset, partition.next_offset];
    let reached = reached.into_iter().find(|offset| *offset >= 0);
    reached.map_or(0, |reached| (partition.hi_offset - reached).max(0))
}

impl ConsumerContext for FeedContext {
    /// New partitions are assigned paused, at a placeholder offset: they are settled outside of the callback, which must be short.
    /// With the group's offset the client would fail if that offset is gone. The placeholder is the beginning and not the end,
    /// because the client may resolve it once more after the seek, as for a partition whose leader it does not know yet. Messages
    /// that are read again are not credited twice; messages that are skipped would be lost.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let changed = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assignment().give(partitions_of(partitions));
                partitions
                    .set_all_offsets(Offset::Beginning)
                    .and_then(|()| consumer.incremental_assign(partitions))
                    .and_then(|()| consumer.pause(partitions))
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                // Before they are revoked: after that nothing that was read from them can be committed.
                self.assignment().take(partitions_of(partitions));
                // Another process reports them from now on.
                partitions_of(partitions).for_each(|partition| metric::partition_lag(partition, 0));
                self.assignment_changed("given up", partitions.count());
                consumer.incremental_unassign(partitions)
            }
            _ => {
                warn!(error = %RDKafkaErrorCode::from(code), "The group's rebalance failed; the client tries again");
                let all = self.assignment().all();
                self.assignment().take(all.into_iter());
                consumer.unassign()
            }
        };
        if let Err(error) = changed {
            warn!(%error, "The partitions could not be changed; the client tries again");
        }
    }
}
