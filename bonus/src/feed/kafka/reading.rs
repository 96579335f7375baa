//! Which partitions are read at the moment: the settled ones, unless a full batch is waiting.

use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use tracing::info;

use super::partitions::{SettleError, SettleOutcome, Settler};
use super::{KafkaIntake, KafkaIntakeError};

/// The settler with its result, and the state of the assignment that it was started with.
pub(super) struct SettlingResult {
    settler: Settler,
    change: u64,
    outcome: Result<SettleOutcome, SettleError>,
}

impl KafkaIntake {
    /// Then a fresh client must be started: this one would take its offsets for those of the new topic.
    pub(super) fn topic_is_another_one(&self) -> bool {
        // An id that was seen before the partitions were settled may be the old topic's.
        let seen_since = self.topic_id.has_changed().unwrap_or_default();
        let now = *self.topic_id.borrow();
        let settler = self.settler.as_ref();
        seen_since && now.zip(settler).is_some_and(|(now, settler)| settler.is_outdated(now))
    }

    /// Starts to settle newly assigned partitions, on another thread, or takes its result. A partition is read once it is settled.
    pub(super) fn settle_partitions(&mut self) -> Result<(), KafkaIntakeError> {
        if let Some(settling) = &self.settling {
            match settling.try_recv() {
                Ok(done) => self.take_settled(done)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(KafkaIntakeError::NotSettled),
            }
            return Ok(());
        }
        let assignment = self.consumer.context().assignment();
        let (unsettled, change) = (assignment.unsettled(), assignment.changes());
        drop(assignment);
        let paused = self.settle_again_at.is_some_and(|at| Instant::now() < at);
        if unsettled.is_empty() || paused {
            return Ok(());
        }
        let Some(mut settler) = self.settler.take() else { return Err(KafkaIntakeError::NotSettled) };
        let (consumer, (done, settling)) = (Arc::clone(&self.consumer), channel());
        let thread = std::thread::Builder::new().name("kafka-settle".to_owned()).spawn(move || {
            let outcome = settler.settle(&consumer, &unsettled);
            // Nobody receives it when the feed has ended meanwhile.
            let _ = done.send(SettlingResult { settler, change, outcome });
        });
        self.settling = Some(settling);
        thread.map(|_| ()).map_err(|_| KafkaIntakeError::NotSettled)
    }

    fn take_settled(&mut self, done: SettlingResult) -> Result<(), KafkaIntakeError> {
        let SettlingResult { settler, change, outcome } = done;
        self.settling = None;
        self.settler = Some(settler);
        let context = self.consumer.context();
        if context.assignment().changes() != change {
            // The assignment has changed meanwhile, and other processes may have read the partitions: settle again.
            return Ok(());
        }
        let unsettled = match outcome {
            Ok(SettleOutcome { offsets, unsettled }) => {
                context.settled(offsets.keys().copied());
                self.topic_id.mark_unchanged();
                self.holes.start(offsets);
                self.resume_settled()?;
                unsettled
            }
            Err(error) => Some(error),
        };
        self.settle_again_at = unsettled.map(|error| {
            self.errors.not_settled(&error);
            Instant::now() + self.settle_pauses.pause()
        });
        if self.settle_again_at.is_none() {
            self.settle_pauses.reset();
        }
        Ok(())
    }

    pub(super) fn pause_assigned(&mut self) {
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

    pub(super) fn resume_paused(&mut self) {
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
