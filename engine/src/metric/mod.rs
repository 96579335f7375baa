//! What the engine measures. Names begin with the aggregate's plural and end with the unit, by Prometheus conventions.

mod handles;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::gauge;

use self::handles::{AggregateMetrics, OutboxMetrics, RETRY_PLACES};
use crate::aggregate::Name;

static OUTBOX: OnceLock<OutboxMetrics> = OnceLock::new();
static AGGREGATES: OnceLock<AggregateMetrics> = OnceLock::new();

/// What a histogram of commands per transaction is called, for whoever chooses its buckets.
pub fn batch_commands(name: Name) -> String {
    format!("{}_journal_batch_commands", name.many)
}

/// Describes what is measured of events, and starts what has no labels at zero: a counter that appears late hides its first increments.
/// Only the first call counts; the process has its recorder by then. Without it nothing is measured.
pub(crate) fn describe_outbox(name: Name) {
    OUTBOX.get_or_init(|| OutboxMetrics::new(name));
}

/// The same for aggregates and their commands.
pub(crate) fn describe_aggregates(name: Name) {
    AGGREGATES.get_or_init(|| AggregateMetrics::new(name));
}

fn outboxes(measure: impl FnOnce(&OutboxMetrics)) {
    if let Some(metrics) = OUTBOX.get() {
        measure(metrics);
    }
}

fn aggregates(measure: impl FnOnce(&AggregateMetrics)) {
    if let Some(metrics) = AGGREGATES.get() {
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
    aggregates(|metrics| {
        metrics.batches.commands.record(size(commands));
        metrics.batches.duration.record(took);
    });
}

/// To be set when somebody scrapes: it changes with every command.
pub fn journal_queue(commands: usize) {
    aggregates(|metrics| metrics.batches.queue.set(size(commands)));
}

pub(crate) fn appended(events: usize) {
    outboxes(|metrics| metrics.journal.appended.increment(whole(events)));
}

/// `since_commit`: see `StoredEvent::age`.
pub(crate) fn published(since_commit: Duration) {
    outboxes(|metrics| {
        metrics.publication.published.increment(1);
        metrics.publication.duration.record(since_commit);
    });
}

/// To be set at an interval, so that a scrape finds it true.
pub fn outbox(pending: i64, oldest_age: Duration, quarantined: i64) {
    outboxes(|metrics| {
        metrics.publication.pending.set(float(pending));
        metrics.publication.oldest.set(oldest_age.as_secs_f64());
        metrics.publication.quarantined.set(float(quarantined));
    });
}

pub(crate) fn stuck_partitions(partitions: usize) {
    outboxes(|metrics| metrics.publication.stuck.set(size(partitions)));
}

/// 0 closed, 1 half-open, 2 open.
pub(crate) fn breaker(level: u8) {
    outboxes(|metrics| metrics.publication.breaker.set(f64::from(level)));
}

pub(crate) fn lease_held(held: bool) {
    outboxes(|metrics| metrics.publication.lease.set(if held { 1.0 } else { 0.0 }));
}

/// `place`: `redis` or `memory`.
pub(crate) fn retry(place: &'static str) {
    outboxes(|metrics| {
        for (counter, of) in metrics.publication.retries.iter().zip(RETRY_PLACES) {
            if of == place {
                counter.increment(1);
            }
        }
    });
}

pub(crate) fn drained(events: i64) {
    outboxes(|metrics| {
        metrics.publication.drains.increment(1);
        metrics.publication.drained.increment(positive(events));
    });
}

pub(crate) fn topic(partitions: i32, without_leader: i32, lost_events: i64) {
    outboxes(|metrics| {
        metrics.topic.partitions.set(f64::from(partitions));
        metrics.topic.leaderless.set(f64::from(without_leader));
        metrics.topic.lost.set(float(lost_events));
    });
}

pub(crate) fn live_actors(shard: usize, actors: usize) {
    aggregates(|metrics| gauge!(metrics.actors.live.clone(), "shard" => shard.to_string()).set(size(actors)));
}

pub(crate) fn activated() {
    aggregates(|metrics| metrics.actors.activated.increment(1));
}

pub(crate) fn passivated() {
    aggregates(|metrics| metrics.actors.passivated.increment(1));
}

pub(crate) fn version_conflict() {
    aggregates(|metrics| metrics.actors.conflicts.increment(1));
}

pub(crate) fn projection_lag(events: i64) {
    aggregates(|metrics| metrics.projection.lag.set(float(events)));
}

pub(crate) fn projection_unknown(events: i64) {
    aggregates(|metrics| metrics.projection.unknown.increment(positive(events)));
}

/// A new era of the journal has begun: cached states are discarded.
pub(crate) fn journal_era() {
    outboxes(|metrics| metrics.journal.eras.increment(1));
}

pub(crate) fn commits_lost(events: i64) {
    outboxes(|metrics| metrics.journal.lost.increment(positive(events)));
}
