//! Which of the partitions are read at the moment: those that are settled, unless a full batch waits.

use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use tracing::info;

use super::{Feed, SETTLE_PAUSE};

impl Feed {
    /// A fresh client then starts where it should: this one would take its offsets for places in the new topic.
    pub(super) fn topic_is_another_one(&self) -> bool {
        // What was seen before the partitions were settled may be the old one.
        let seen_since = self.topic_id.has_changed().unwrap_or_default();
        let now = *self.topic_id.borrow();
        seen_since && now.is_some_and(|now| self.settler.is_outdated(now))
    }

    /// Partitions that were given to this process are read once it is clear from where.
    pub(super) fn settle_partitions(&mut self) {
        let context = self.consumer.context();
        let unsettled = context.assignment().unsettled();
        let paused = self.settled_at.is_some_and(|at| at.elapsed() < SETTLE_PAUSE);
        if unsettled.is_empty() || paused {
            return;
        }
        self.settled_at = Some(Instant::now());
        match self.settler.settle(&self.consumer, &unsettled) {
            Ok(starts) => {
                context.settled(starts.keys().copied());
                self.topic_id.mark_unchanged();
                self.holes.start(starts);
                if let Err(error) = self.resume_settled() {
                    self.ends_by = Some(error.into());
                }
                self.settled_at = None;
            }
            Err(error) => self.errors.not_settled(&error),
        }
    }

    pub(super) fn pause(&mut self) {
        let change = self.consumer.context().assignment().changes();
        if self.paused_at_change == Some(change) {
            return;
        }
        match self.consumer.assignment().and_then(|all| self.consumer.pause(&all)) {
            Ok(()) => {
                info!("The consumer is paused until the batch in hand is done");
                self.paused_at_change = Some(change);
            }
            Err(error) => self.note(&error),
        }
    }

    pub(super) fn resume(&mut self) {
        if self.paused_at_change.is_none() {
            return;
        }
        match self.resume_settled() {
            Ok(()) => {
                info!("The consumer goes on");
                self.paused_at_change = None;
            }
            Err(error) => self.note(&error),
        }
    }

    pub(super) fn resume_settled(&self) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for partition in self.consumer.context().assignment().settled() {
            list.add_partition(&self.topic, partition);
        }
        self.consumer.resume(&list)
    }
}
