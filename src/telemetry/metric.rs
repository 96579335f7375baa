//! Every metric: its name, and its unit as the name's ending, by Prometheus conventions. `docs/operations.md` says what is normal.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::publisher::machine::Breaker;

const COMMANDS: &str = "orders_commands_total";
const COMMAND_SECONDS: &str = "orders_command_duration_seconds";
const BATCH_SECONDS: &str = "orders_journal_batch_duration_seconds";
pub const BATCH_COMMANDS: &str = "orders_journal_batch_commands";
const QUEUE: &str = "orders_journal_queue_commands";
const APPENDED: &str = "orders_events_appended_total";
const PUBLISHED: &str = "orders_events_published_total";
const PUBLISH_SECONDS: &str = "orders_publish_duration_seconds";
const PENDING: &str = "orders_outbox_pending_events";
const OLDEST: &str = "orders_outbox_oldest_pending_age_seconds";
const CONNECTIONS: &str = "orders_http_connections";
const QUARANTINED: &str = "orders_quarantined_orders";
const STUCK: &str = "orders_publisher_stuck_partitions";
const BREAKER: &str = "orders_publisher_breaker_state";
const LEASE: &str = "orders_publisher_lease_held";
const RETRIES: &str = "orders_publisher_retries_total";
const DRAINS: &str = "orders_publisher_drains_total";
const DRAINED: &str = "orders_publisher_drained_events_total";
const TOPIC_PARTITIONS: &str = "orders_topic_partitions";
const TOPIC_LEADERLESS: &str = "orders_topic_partitions_without_leader";
const TOPIC_LOST: &str = "orders_topic_lost_events";
/// Counted by the Guardian.
pub const RESTARTS: &str = "orders_actor_restarts_total";
const LIVE: &str = "orders_live_actors";
const ACTIVATED: &str = "orders_actor_activations_total";
const PASSIVATED: &str = "orders_actor_passivations_total";
const CONFLICTS: &str = "orders_version_conflicts_total";
const PROJECTION_LAG: &str = "orders_projection_lag_events";
const PROJECTION_UNKNOWN: &str = "orders_projection_unknown_events_total";
const ERAS: &str = "orders_journal_eras_total";
const LOST: &str = "orders_journal_lost_events_total";

/// Describes every metric, and starts what has no labels at zero: a counter that appears late hides its first increments.
pub(super) fn describe() {
    describe_topic();
    describe_counter!(COMMANDS, "Commands answered, by command and outcome");
    describe_histogram!(
        COMMAND_SECONDS,
        Unit::Seconds,
        "Time from a command's arrival to its answer, by command"
    );
    describe_histogram!(BATCH_COMMANDS, "Commands per transaction of the journal");
    describe_histogram!(
        BATCH_SECONDS,
        Unit::Seconds,
        "Time of one transaction of the journal, with its commit and retries"
    );
    describe_gauge!(QUEUE, "Commands in the journal, waiting or being written");
    describe_counter!(APPENDED, "Events committed by this instance");
    describe_counter!(PUBLISHED, "Deliveries acknowledged by Kafka, repeated ones included");
    describe_histogram!(
        PUBLISH_SECONDS,
        Unit::Seconds,
        "Time from an event's commit to Kafka's acknowledgement"
    );
    describe_gauge!(PENDING, "Committed events that are not published yet, in the whole deployment");
    describe_gauge!(OLDEST, Unit::Seconds, "Age of the oldest pending event; 0 if there is none");
    describe_gauge!(CONNECTIONS, "Open client connections");
    describe_gauge!(QUARANTINED, "Orders that wait because Kafka refused one of their events");
    describe_gauge!(STUCK, "Partitions that take nothing while others do");
    describe_gauge!(BREAKER, "This instance's circuit breaker: 0 closed, 1 half-open, 2 open");
    describe_gauge!(LEASE, "1 on the publishing instance, 0 elsewhere");
    describe_counter!(RETRIES, "Scheduled retries of publication, by place: redis or memory");
    describe_counter!(DRAINS, "Drains that reached the end of the backlog");
    describe_counter!(DRAINED, "Events in those drains");
    describe_gauge!(LIVE, "Order actors in memory, by shard");
    describe_counter!(ACTIVATED, "Order actors started");
    describe_counter!(PASSIVATED, "Order actors stopped for idleness or for room");
    describe_counter!(CONFLICTS, "Decisions repeated because another instance had changed the order");
    describe_gauge!(PROJECTION_LAG, "Events that the list of orders does not show yet");
    describe_counter!(
        PROJECTION_UNKNOWN,
        "Events that the list of orders skipped because this version does not know them"
    );
    describe_counter!(ERAS, "Times that the database was found to be another one, or to have lost commits");
    describe_counter!(
        LOST,
        "Committed events that are gone from the journal, as far as this instance knew of them"
    );
    for name in [
        APPENDED,
        PUBLISHED,
        DRAINS,
        DRAINED,
        ACTIVATED,
        PASSIVATED,
        CONFLICTS,
        PROJECTION_UNKNOWN,
        ERAS,
        LOST,
    ] {
        counter!(name).absolute(0);
    }
    for name in [QUEUE, PENDING, OLDEST, QUARANTINED, STUCK, BREAKER, LEASE, PROJECTION_LAG] {
        gauge!(name).set(0.0);
    }
    for place in ["redis", "memory"] {
        counter!(RETRIES, "place" => place).absolute(0);
    }
}

fn describe_topic() {
    describe_gauge!(TOPIC_PARTITIONS, "Partitions of the topic; 0 until it was seen");
    describe_gauge!(TOPIC_LEADERLESS, "Partitions of the topic without a leader; their events wait");
    describe_gauge!(TOPIC_LOST, "Events published to a topic that is gone, and not sent again yet");
    topic(0, 0, 0);
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
fn level(name: &'static str, count: i64) {
    gauge!(name).set(count as f64);
}

fn size(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

pub fn command(kind: &'static str, outcome: &'static str, took: Duration) {
    counter!(COMMANDS, "command" => kind, "outcome" => outcome).increment(1);
    histogram!(COMMAND_SECONDS, "command" => kind).record(took);
}

pub fn journal_batch(commands: usize, took: Duration) {
    histogram!(BATCH_COMMANDS).record(size(commands));
    histogram!(BATCH_SECONDS).record(took);
}

/// To be set when somebody scrapes: it changes with every command.
pub fn journal_queue(commands: usize) {
    gauge!(QUEUE).set(size(commands));
}

pub fn appended(events: usize) {
    counter!(APPENDED).increment(whole(events));
}

/// `since_commit`: see `StoredEvent::age`.
pub fn published(since_commit: Duration) {
    counter!(PUBLISHED).increment(1);
    histogram!(PUBLISH_SECONDS).record(since_commit);
}

/// To be set at an interval, so that a scrape finds it true.
pub fn outbox(pending: i64, oldest_age: Duration, quarantined_orders: i64) {
    level(PENDING, pending);
    gauge!(OLDEST).set(oldest_age.as_secs_f64());
    level(QUARANTINED, quarantined_orders);
}

/// To be set before a scrape.
pub fn connections(open: usize) {
    gauge!(CONNECTIONS).set(size(open));
}

pub fn stuck_partitions(partitions: usize) {
    gauge!(STUCK).set(size(partitions));
}

pub fn breaker(state: Breaker) {
    gauge!(BREAKER).set(match state {
        Breaker::Closed => 0.0,
        Breaker::HalfOpen { .. } => 1.0,
        Breaker::Open { .. } => 2.0,
    });
}

pub fn lease_held(held: bool) {
    gauge!(LEASE).set(if held { 1.0 } else { 0.0 });
}

/// `place`: `redis` or `memory`.
pub fn retry(place: &'static str) {
    counter!(RETRIES, "place" => place).increment(1);
}

pub fn drained(events: i64) {
    counter!(DRAINS).increment(1);
    counter!(DRAINED).increment(u64::try_from(events).unwrap_or_default());
}

pub fn topic(partitions: i32, without_leader: i32, lost_events: i64) {
    gauge!(TOPIC_PARTITIONS).set(f64::from(partitions));
    gauge!(TOPIC_LEADERLESS).set(f64::from(without_leader));
    level(TOPIC_LOST, lost_events);
}

pub fn live_orders(shard: usize, orders: usize) {
    gauge!(LIVE, "shard" => shard.to_string()).set(size(orders));
}

pub fn activated() {
    counter!(ACTIVATED).increment(1);
}

pub fn passivated() {
    counter!(PASSIVATED).increment(1);
}

pub fn version_conflict() {
    counter!(CONFLICTS).increment(1);
}

pub fn projection_lag(events: i64) {
    level(PROJECTION_LAG, events);
}

pub fn projection_unknown(events: i64) {
    counter!(PROJECTION_UNKNOWN).increment(u64::try_from(events).unwrap_or_default());
}

/// What is known of the journal and its orders is forgotten.
pub fn journal_era() {
    counter!(ERAS).increment(1);
}

pub fn commits_lost(events: i64) {
    counter!(LOST).increment(u64::try_from(events).unwrap_or_default());
}
