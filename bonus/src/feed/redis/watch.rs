//! Which topic is read, and what Redis tells of its streams: asked at the start, when a group is gone, and at intervals.

use std::time::{Duration, Instant};

use redis::RedisResult;
use tracing::{debug, error, info, warn};

use super::group::Remove;
use super::start::{Gap, KnownStream, StreamState, gap};
use super::{RedisIntake, SETTLE_PAUSE, StreamProgress};
use crate::feed::memory::PartitionRow;
use crate::streams::{EntryId, TopicIdentity, topic_identity};
use crate::telemetry::metric;

/// How late lag, a gap, a topic that was made anew and a dead consumer are noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What is said again and again is logged once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The last thing said, and when.
#[derive(Default)]
pub(super) struct Repeats(Option<(String, Instant)>);

impl Repeats {
    /// Whether this is to be logged.
    fn is_new(&mut self, text: &str) -> bool {
        let said = |(last, at): &(String, Instant)| last == text && at.elapsed() < LOG_INTERVAL;
        if self.0.as_ref().is_some_and(said) {
            return false;
        }
        self.0 = Some((text.to_owned(), Instant::now()));
        true
    }
}

impl RedisIntake {
    /// Finds out which topic there is, says what is not read on where it ended, and makes the groups that are missing.
    pub(super) fn settle(&mut self) -> RedisResult<()> {
        let is_due = self.topic.is_none() && self.settle_at.is_none_or(|at| Instant::now() >= at);
        let Some(connection) = self.connection.as_mut().filter(|_| is_due) else { return Ok(()) };
        let topic = topic_identity(connection, &self.topic_name)?;
        self.report.connected();
        let Some(topic) = topic else {
            if self.unsettled.is_new("missing") {
                info!(topic = &*self.topic_name, "The topic does not exist yet, waiting for it");
            }
            self.settle_at = Some(Instant::now() + SETTLE_PAUSE);
            return Ok(());
        };
        let partitions: Vec<i32> = (0..topic.partitions).collect();
        let stored = match self.memory.remembered() {
            Ok(rows) => {
                self.settle_streams(topic, &rows)?;
                // Last: after a kill before this, the same is found again.
                self.memory.remember(&partitions, topic.id, topic.partitions)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            if self.unsettled.is_new(&error.to_string()) {
                warn!(%error, "It is not clear yet what is to be read, asking again");
            }
            self.settle_at = Some(Instant::now() + self.settle_pauses.pause());
            return Ok(());
        }
        self.settle_pauses.reset();
        (self.settle_at, self.looked_at, self.topic) = (None, None, Some(topic));
        let unread = || StreamProgress { own_behind: Some(EntryId::START), claim_from: None };
        self.streams = partitions.into_iter().map(|partition| (partition, unread())).collect();
        info!(partitions = topic.partitions, consumer = self.group.consumer, "The topic's streams are read");
        Ok(())
    }

    fn settle_streams(&mut self, topic: TopicIdentity, rows: &[PartitionRow]) -> RedisResult<()> {
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        let of_this_topic = rows.iter().filter(|row| row.topic_id == topic.id);
        let partitions_before = of_this_topic.map(|row| row.partitions).max();
        for partition in 0..topic.partitions {
            let row = rows.iter().find(|row| row.partition == partition);
            let is_added = row.is_none() && partitions_before.is_some_and(|before| partition >= before);
            let known = KnownStream { topic_id: row.map(|row| row.topic_id), is_added };
            let found = self.group.look(connection, partition)?;
            // Before the group is made: after a kill in between, the gap would never be told.
            if let Some((gap, lost)) = gap(known, topic.id, found) {
                log(&self.group.stream(partition), gap, lost);
            }
            if found.is_none_or(|found| found.group.is_none()) {
                let removed = found.map_or(0, |found| found.removed());
                self.group.create(connection, partition, removed)?;
            }
        }
        Ok(())
    }

    /// At intervals: the topic's identity, the lag, what was removed unread, and what dead consumers have left.
    pub(super) fn look(&mut self) -> RedisResult<()> {
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
        let (Some(connection), Some(topic), true) = (self.connection.as_mut(), self.topic, is_due) else {
            return Ok(());
        };
        // A hash that is missing says nothing: if the streams are gone too, reading tells.
        let is_another = topic_identity(connection, &self.topic_name)?.is_some_and(|found| found != topic);
        self.report.connected();
        self.connect_pauses.reset();
        self.looked_at = Some(Instant::now());
        if is_another {
            self.unsettle();
            return Ok(());
        }
        let mut lag = 0;
        for (partition, progress) in &mut self.streams {
            let Some(state) = self.group.look(connection, *partition)? else { continue };
            metric::partition_lag(*partition, state.lag());
            lag += state.lag();
            if let Some((lost, group)) = state.lost().zip(state.group)
                && self.group.pass_over(connection, *partition, group, lost)?
            {
                report_lost(&self.group.stream(*partition), state, lost);
            }
            if state.group.is_some() {
                let removed =
                    self.group.remove(connection, *partition, Remove::Others(self.session_timeout))?;
                removed
                    .iter()
                    .for_each(|consumer| debug!(partition, consumer, "A consumer that is gone is removed"));
                progress.claim_from = Some(EntryId::START);
            }
        }
        metric::lag(lag);
        let partitions = self.streams.len();
        self.report.health().update(|health| (health.lag_messages, health.partitions) = (lag, partitions));
        Ok(())
    }

    /// An entry that was given to a consumer and never acknowledged is not in the stream any more.
    pub(super) fn report_removed(&self, partition: i32, id: EntryId) {
        metric::gap("deleted", 1);
        let stream = self.group.stream(partition);
        error!(stream, entry = %id, "An entry was removed before it was acknowledged; if it was not credited, it is lost");
    }
}

fn report_lost(stream: &str, state: StreamState, lost: i64) {
    metric::gap("deleted", lost);
    let text = |id: Option<EntryId>| id.map(|id| id.to_string()).unwrap_or_default();
    let (behind, before) = (text(state.group.map(|group| group.delivered)), text(state.first));
    error!(stream, lost, behind, before, "Entries were removed before they were read; going on behind them");
}

fn log(stream: &str, gap: Gap, lost: i64) {
    metric::gap(gap.cause(), lost);
    match gap {
        Gap::MadeAnew => error!(stream, lost, "The topic was made anew; reading it from its beginning"),
        Gap::Forgotten => warn!(stream, "The group is gone; reading the stream from its beginning"),
        Gap::Added if lost == 0 => warn!(stream, "A partition was added; reading it from its beginning"),
        Gap::Added => {
            error!(
                stream,
                lost, "A partition was added, and entries were removed from it before they were read"
            );
        }
    }
}
