//! PURE: what the holder's session does, and in which order, from acquiring the lease to releasing it.
//!
//! - Progress is collected and written together, with one move of the cursor.
//! - Rows are read after all progress that was recorded before, so a row that is to be read has been written.
//! - A holder that releases the lease first writes its progress. Reads that are still queued are dropped: nobody waits for them.
//!
//! When a tenure is lost, progress that was not written is lost too. The next holder begins at the cursor, and repeats those
//! events.

use super::super::machine::{Progress, Source};

/// What the publisher asks of the holder's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publisher) enum Task {
    Record(Progress),
    /// At most `limit` events that were set aside, behind position `after`.
    ReadRows {
        of: Source,
        after: i64,
        limit: usize,
        token: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publisher) enum Input {
    Task(Task),
    /// The pause since the last write is over. Only while [`Tenure::has_unwritten`].
    WriteDue,
    HeartbeatDue,
    /// The lease is no longer wanted, or this tenure is over for another reason. `left`: tasks that are still queued.
    GiveUp {
        left: Vec<Task>,
    },
}

/// To be carried out in order. If one fails the tenure is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publisher) enum Step {
    /// In one transaction.
    Write(Progress),
    ReadRows {
        of: Source,
        after: i64,
        limit: usize,
        token: u64,
    },
    /// Renew the lease.
    Heartbeat,
    /// Release the lease.
    Release,
}

#[derive(Debug, Default)]
pub(in crate::publisher) struct Tenure {
    /// Recorded and not written.
    unwritten: Option<Progress>,
}

impl Tenure {
    pub(in crate::publisher) fn has_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    pub(in crate::publisher) fn handle(&mut self, input: Input) -> Vec<Step> {
        match input {
            Input::Task(Task::Record(progress)) => {
                self.add(progress);
                Vec::new()
            }
            Input::Task(Task::ReadRows { of, after, limit, token }) => {
                self.write().into_iter().chain([Step::ReadRows { of, after, limit, token }]).collect()
            }
            Input::WriteDue => self.write().into_iter().collect(),
            Input::HeartbeatDue => vec![Step::Heartbeat],
            Input::GiveUp { left } => {
                for task in left {
                    if let Task::Record(progress) = task {
                        self.add(progress);
                    }
                }
                self.write().into_iter().chain([Step::Release]).collect()
            }
        }
    }

    fn add(&mut self, more: Progress) {
        let all = self.unwritten.get_or_insert_default();
        all.published = all.published.max(more.published);
        all.parked.extend(more.parked);
        all.unparked.extend(more.unparked);
        all.deferred.extend(more.deferred);
        all.undeferred.extend(more.undeferred);
        all.unquarantined.extend(more.unquarantined);
    }

    fn write(&mut self) -> Option<Step> {
        self.unwritten.take().map(Step::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upto(published: i64) -> Progress {
        Progress { published, ..Progress::default() }
    }

    fn record(published: i64) -> Task {
        Task::Record(upto(published))
    }

    const READ: Task = Task::ReadRows { of: Source::Lane(1), after: 7, limit: 5, token: 3 };
    const IS_READ: Step = Step::ReadRows { of: Source::Lane(1), after: 7, limit: 5, token: 3 };

    #[test]
    fn progress_is_written_together_once_and_only_forwards() {
        let mut tenure = Tenure::default();
        for published in [4, 9, 6] {
            assert_eq!(tenure.handle(Input::Task(record(published))), []);
        }
        assert!(tenure.has_unwritten());
        assert_eq!(tenure.handle(Input::WriteDue), [Step::Write(upto(9))]);
        assert!(!tenure.has_unwritten());
        assert_eq!(tenure.handle(Input::WriteDue), []);
    }

    #[test]
    fn a_read_comes_behind_what_was_recorded_before_it() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.handle(Input::Task(READ)), [IS_READ]);
        tenure.handle(Input::Task(record(4)));
        assert_eq!(tenure.handle(Input::Task(READ)), [Step::Write(upto(4)), IS_READ]);
    }

    #[test]
    fn whoever_gives_up_writes_what_it_has_achieved_and_reads_nothing_more() {
        let mut tenure = Tenure::default();
        tenure.handle(Input::Task(record(4)));
        let left = vec![READ, record(8)];
        assert_eq!(tenure.handle(Input::GiveUp { left }), [Step::Write(upto(8)), Step::Release]);
        assert_eq!(Tenure::default().handle(Input::GiveUp { left: vec![READ] }), [Step::Release]);
        assert_eq!(Tenure::default().handle(Input::HeartbeatDue), [Step::Heartbeat]);
    }
}
