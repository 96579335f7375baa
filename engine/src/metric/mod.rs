//! What the engine measures. Names begin with the aggregate's plural and end with the unit, by Prometheus conventions.

mod handles;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::gauge;

use self::handles::{Metrics, RETRY_PLACES};
use crate::aggregate::Name;

static METRICS: OnceLock<Metrics> = OnceLock::new();

/// What a histogram of commands per transaction is called, for whoever chooses its buckets.
pub fn batch_commands(name: Name) -> String {
    format!("{}_journal_batch_commands", name.many)
}

/// Describes every metric, and starts what has no labels at zero: a counter that appears late hides its first increments.
/// Only the first call counts; the process has its recorder by then. Without it nothing is measured.
pub(crate) fn describe(name: Name) {
    METRICS.get_or_init(|| Metrics::new(name));
}

fn with(measure: impl FnOnce(&Metrics)) {
    if let Some(metrics) = METRICS.get() {
        measure(metrics);
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
fn float(count: i64) -> f64 {
    count as f64
}

fn size(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

pub(crate) fn journal_batch(commands: usize, took: Duration) {
    with(|metrics| {
        metrics.journal.batch_commands.record(size(commands));
        metrics.journal.batch_duration.record(took);
    });
}

/// To be set when somebody scrapes: it changes with every command.
pub fn journal_queue(commands: usize) {
    with(|metrics| metrics.journal.queue.set(size(commands)));
}

pub(crate) fn appended(events: usize) {
    with(|metrics| metrics.journal.appended.increment(whole(events)));
}

/// `since_commit`: see `StoredEvent::age`.
pub(crate) fn published(since_commit: Duration) {
    with(|metrics| {
        metrics.publication.published.increment(1);
        metrics.publication.duration.record(since_commit);
    });
}

/// To be set at an interval, so that a scrape finds it true.
pub fn outbox(pending: i64, oldest_age: Duration, quarantined: i64) {
    with(|metrics| {
        metrics.publication.pending.set(float(pending));
        metrics.publication.oldest.set(oldest_age.as_secs_f64());
        metrics.publication.quarantined.set(float(quarantined));
    });
}

pub(crate) fn stuck_partitions(partitions: usize) {
    with(|metrics| metrics.publication.stuck.set(size(partitions)));
}

/// 0 closed, 1 half-open, 2 open.
pub(crate) fn breaker(level: u8) {
    with(|metrics| metrics.publication.breaker.set(f64::from(level)));
}

pub(crate) fn lease_held(held: bool) {
    with(|metrics| metrics.publication.lease.set(if held { 1.0 } else { 0.0 }));
}

/// `place`: `redis` or `memory`.
pub(crate) fn retry(place: &'static str) {
    with(|metrics| {
        for (counter, of) in metrics.publication.retries.iter().zip(RETRY_PLACES) {
            if of == place {
                counter.increment(1);
            }
        }
    });
}

pub(crate) fn drained(events: i64) {
    with(|metrics| {
        metrics.publication.drains.increment(1);
        metrics.publication.drained.increment(positive(events));
    });
}

pub(crate) fn topic(partitions: i32, without_leader: i32, lost_events: i64) {
    with(|metrics| {
        metrics.topic.partitions.set(f64::from(partitions));
        metrics.topic.leaderless.set(f64::from(without_leader));
        metrics.topic.lost.set(float(lost_events));
    });
}

pub(crate) fn live_actors(shard: usize, actors: usize) {
    with(|metrics| gauge!(metrics.actors.live.clone(), "shard" => shard.to_string()).set(size(actors)));
}

pub(crate) fn activated() {
    with(|metrics| metrics.actors.activated.increment(1));
}

pub(crate) fn passivated() {
    with(|metrics| metrics.actors.passivated.increment(1));
}

pub(crate) fn version_conflict() {
    with(|metrics| metrics.actors.conflicts.increment(1));
}

pub(crate) fn projection_lag(events: i64) {
    with(|metrics| metrics.projection.lag.set(float(events)));
}

pub(crate) fn projection_unknown(events: i64) {
    with(|metrics| metrics.projection.unknown.increment(positive(events)));
}

/// A new era of the journal has begun: cached states are discarded.
pub(crate) fn journal_era() {
    with(|metrics| metrics.journal.eras.increment(1));
}

pub(crate) fn commits_lost(events: i64) {
    with(|metrics| metrics.journal.lost.increment(positive(events)));
}
