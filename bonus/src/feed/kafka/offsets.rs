//! Committing offsets: only of credited messages, only of partitions still assigned to this process, repeated until Kafka has them.
//!
//! Commits are sent without waiting, because waiting would block the thread that serves rebalances. rdkafka 0.39 does not
//! report the outcome of such a commit (rust-rdkafka #856), so it is read from the client's statistics, a second later at
//! most. A commit that failed, as all do while Kafka is away, is sent again; until then at worst messages come again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::context::{Assignment, FeedContext};

/// A commit that the statistics do not confirm within this is sent again. Longer than their interval of one second.
const RESEND_AFTER: Duration = Duration::from_secs(3);
/// Between two commits. A commit for every small batch would cost the broker more than the messages do. Messages of this time come
/// again after a kill, and are not credited twice.
const PAUSE: Duration = Duration::from_millis(100);

/// How far one partition was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The assignment of the partition to this process under which it was read. See [`super::context::Assignment`].
    pub epoch: u64,
    /// The offset to commit: one past the last message read.
    pub next_offset: i64,
}

/// By partition; there is one topic. The latest offset counts, not the highest: after a rebalance a partition may be read again
/// from an earlier offset.
pub type Positions = BTreeMap<i32, Position>;

#[derive(Default)]
pub struct Offsets {
    /// Took effect, not known to be committed.
    unconfirmed: Positions,
    /// Some of that was never sent.
    unsent: bool,
    /// When a commit was last sent.
    sent_at: Option<Instant>,
}

impl Offsets {
    /// `positions` have taken effect.
    pub fn handled(&mut self, positions: Positions) {
        self.unconfirmed.extend(positions);
        self.unsent = true;
    }

    /// Sends a commit if there is something new to commit, or if an earlier one seems to have failed.
    pub fn commit_if_due(&mut self, consumer: &BaseConsumer<FeedContext>, topic: &str) {
        if self.unconfirmed.is_empty() {
            return;
        }
        self.confirm(&consumer.context().committed());
        let pause = if self.unsent { PAUSE } else { RESEND_AFTER };
        if self.sent_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.commit(consumer, topic, CommitMode::Async);
    }

    /// Commits what is left and waits for the answer. Only at the end: nothing is polled meanwhile.
    pub fn commit_and_wait(&mut self, consumer: &BaseConsumer<FeedContext>, topic: &str) {
        self.commit(consumer, topic, CommitMode::Sync);
    }

    fn commit(&mut self, consumer: &BaseConsumer<FeedContext>, topic: &str, mode: CommitMode) {
        // On the thread that also runs the rebalance callbacks, so nothing is revoked between this check and the send.
        self.forget_revoked(&consumer.context().assignment());
        if self.unconfirmed.is_empty() {
            return;
        }
        let committed = list(topic, &self.unconfirmed).and_then(|list| consumer.commit(&list, mode));
        (self.unsent, self.sent_at) = (false, Some(Instant::now()));
        match (committed, mode) {
            (Ok(()), CommitMode::Sync) => self.unconfirmed.clear(),
            (Ok(()), CommitMode::Async) => {}
            (Err(error), CommitMode::Sync) => {
                warn!(%error, "The last offsets could not be committed; their messages will come again");
            }
            (Err(error), CommitMode::Async) => debug!(%error, "Offsets could not be committed, trying again"),
        }
    }

    fn confirm(&mut self, committed: &BTreeMap<i32, i64>) {
        self.unconfirmed
            .retain(|partition, position| committed.get(partition) != Some(&position.next_offset));
    }

    fn forget_revoked(&mut self, assignment: &Assignment) {
        self.unconfirmed.retain(|partition, position| assignment.epoch(*partition) == Some(position.epoch));
    }
}

fn list(topic: &str, positions: &Positions) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (partition, position) in positions {
        list.add_partition_offset(topic, *partition, Offset::Offset(position.next_offset))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(epoch: u64, next_offset: i64) -> Position {
        Position { epoch, next_offset }
    }

    #[test]
    fn only_the_exact_offset_confirms() {
        let mut offsets = Offsets::default();
        offsets.handled(Positions::from([(0, position(1, 10)), (1, position(1, 20))]));
        offsets.confirm(&BTreeMap::from([(0, 10), (1, 19)]));
        assert_eq!(offsets.unconfirmed, Positions::from([(1, position(1, 20))]));
    }

    #[test]
    fn what_was_read_under_an_earlier_assignment_is_not_committed() {
        let mut assignment = Assignment::default();
        assignment.give([0, 1, 2].into_iter());
        assert_eq!(assignment.epoch(0), None, "nothing is read before it is settled");
        assignment.settle([0, 1, 2].into_iter());
        let epoch = assignment.epoch(0).unwrap();
        let mut offsets = Offsets::default();
        offsets.handled((0..3).map(|partition| (partition, position(epoch, 10))).collect());
        // 1 goes to another process; 2 goes and comes back.
        assignment.take([1, 2].into_iter());
        assignment.give([2].into_iter());
        assignment.settle([2].into_iter());
        offsets.forget_revoked(&assignment);
        assert_eq!(offsets.unconfirmed, Positions::from([(0, position(epoch, 10))]));
    }
}
