//! Every metric: its name, and its unit as the name's ending, by Prometheus conventions.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::config::Mq;

const BATCH_SECONDS: &str = "bonus_batch_duration_seconds";
pub const BATCH_MESSAGES: &str = "bonus_batch_messages";
const CREDITED: &str = "bonus_events_credited_total";
const STANDING_CHANGES: &str = "bonus_standing_changes_total";
const DUPLICATES: &str = "bonus_duplicates_absorbed_total";
const IGNORED: &str = "bonus_events_ignored_total";
const FORKS: &str = "bonus_forks_total";
const DEAD_LETTERS: &str = "bonus_dead_letters_total";
const LETTERS_GIVEN_UP: &str = "bonus_dead_letters_given_up_total";
const LETTERS_WAITING: &str = "bonus_dead_letters_waiting";
const LETTERS_REFUSED: &str = "bonus_dead_letters_refused";
const GAPS: &str = "bonus_topic_gaps_total";
const OFFSETS_LOST: &str = "bonus_offsets_lost_total";
const HOLES: &str = "bonus_offset_holes_total";
const BATCH_RETRIES: &str = "bonus_batch_retries_total";
const RESTARTS: &str = "bonus_consumer_restarts_total";
/// Counted by the Guardian.
pub const ACTOR_RESTARTS: &str = "bonus_actor_restarts_total";
/// Counted by the limit of each caller's requests.
pub const RATE_LIMITED: &str = "bonus_http_rate_limited_total";
const LAG: &str = "bonus_consumer_lag_messages";
const PARTITION_LAG: &str = "bonus_partition_lag_messages";
const KAFKA_UP: &str = "bonus_kafka_up";
const REDIS_UP: &str = "bonus_redis_up";

/// Describes every metric and starts the counters at zero: a counter that appears late hides its first increments.
pub(super) fn describe() {
    kit::tls::describe_expiry("BONUS");
    describe_counter!(CREDITED, "Events that changed an account, each exactly once");
    describe_counter!(STANDING_CHANGES, "Grades and VIP statuses that customers gained and lost, by change");
    describe_counter!(DUPLICATES, "Deliveries of an event that the ledger already held");
    describe_counter!(IGNORED, "Events without value here, by reason");
    describe_counter!(FORKS, "Events refused because another event of their order and version is booked");
    describe_counter!(DEAD_LETTERS, "Messages that could not be credited: unreadable, or a fork");
    describe_counter!(LETTERS_GIVEN_UP, "Dead letters that were refused in every form");
    describe_gauge!(
        LETTERS_WAITING,
        "Dead letters in Postgres that the dead-letter topic has not acknowledged yet"
    );
    describe_gauge!(
        LETTERS_REFUSED,
        "Dead letters in Postgres that the dead-letter topic refuses in every form"
    );
    describe_counter!(BATCH_RETRIES, "Attempts at a batch that failed and were repeated");
    describe_counter!(GAPS, "Times that reading a partition did not resume where it had ended, by cause");
    describe_counter!(OFFSETS_LOST, "Offsets that were removed from the topic before they were read");
    describe_counter!(HOLES, "Offsets without a message between two messages");
    describe_counter!(RESTARTS, "Restarts of the consumer after a panic or an error");
    describe_counter!(RATE_LIMITED, "Requests beyond what a caller may send, by what the caller is known by");
    describe_gauge!(
        LAG,
        "Messages of this process's partitions that are not acknowledged; in Redis, of all processes"
    );
    describe_gauge!(PARTITION_LAG, "The same by partition");
    describe_gauge!(KAFKA_UP, "1 while a broker is connected");
    describe_gauge!(REDIS_UP, "1 while Redis answers, if messages come from it");
    describe_histogram!(BATCH_MESSAGES, "Messages in a batch");
    describe_histogram!(BATCH_SECONDS, "Time from a batch's hand-over to its last effect, retries included");
    for name in [
        CREDITED,
        DUPLICATES,
        FORKS,
        DEAD_LETTERS,
        LETTERS_GIVEN_UP,
        OFFSETS_LOST,
        HOLES,
        BATCH_RETRIES,
        RESTARTS,
    ] {
        counter!(name).absolute(0);
    }
    for change in ["grade_attained", "grade_lost", "vip_acquired", "vip_lost"] {
        counter!(STANDING_CHANGES, "change" => change).absolute(0);
    }
    for by in ["caller", "address"] {
        counter!(RATE_LIMITED, "by" => by).absolute(0);
    }
    for cause in ["deleted", "made_anew", "truncated", "added", "forgotten"] {
        counter!(GAPS, "cause" => cause).absolute(0);
    }
    gauge!(PARTITION_LAG, "partition" => "0").set(0.0);
    for name in [LAG, KAFKA_UP, REDIS_UP, LETTERS_WAITING, LETTERS_REFUSED] {
        gauge!(name).set(0.0);
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub fn batch(messages: usize, took: Duration) {
    histogram!(BATCH_MESSAGES).record(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
    histogram!(BATCH_SECONDS).record(took);
}

pub fn credited(new: usize, duplicates: usize) {
    counter!(CREDITED).increment(whole(new));
    counter!(DUPLICATES).increment(whole(duplicates));
}

pub fn standing_change(change: &'static str) {
    counter!(STANDING_CHANGES, "change" => change).increment(1);
}

pub fn ignored(without_points: usize, unknown_type: usize) {
    counter!(IGNORED, "reason" => "without_points").increment(whole(without_points));
    counter!(IGNORED, "reason" => "unknown_type").increment(whole(unknown_type));
}

pub fn fork() {
    counter!(FORKS).increment(1);
}

pub fn dead_letters(number: usize) {
    counter!(DEAD_LETTERS).increment(whole(number));
}

pub fn dead_letter_given_up() {
    counter!(LETTERS_GIVEN_UP).increment(1);
}

/// Those in Postgres, of all processes.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; letters stay far below 2^52")]
pub fn letters(waiting: i64, refused: i64) {
    gauge!(LETTERS_WAITING).set(waiting as f64);
    gauge!(LETTERS_REFUSED).set(refused as f64);
}

pub fn batch_retry() {
    counter!(BATCH_RETRIES).increment(1);
}

pub fn gap(cause: &'static str, offsets_lost: i64) {
    counter!(GAPS, "cause" => cause).increment(1);
    counter!(OFFSETS_LOST).increment(u64::try_from(offsets_lost).unwrap_or_default());
}

pub fn hole(offsets: i64) {
    counter!(HOLES).increment(u64::try_from(offsets).unwrap_or_default());
}

/// To be set when the consumer starts.
pub fn consumer_restarts(restarts: u64) {
    counter!(RESTARTS).absolute(restarts);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; a backlog stays far below 2^52")]
pub fn lag(messages: i64) {
    gauge!(LAG).set(messages as f64);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; a backlog stays far below 2^52")]
pub fn partition_lag(partition: i32, messages: i64) {
    gauge!(PARTITION_LAG, "partition" => partition.to_string()).set(messages as f64);
}

pub fn mq_up(mq: Mq, up: bool) {
    let name = match mq {
        #[cfg(feature = "kafka")]
        Mq::Kafka => KAFKA_UP,
        Mq::Redis => REDIS_UP,
    };
    gauge!(name).set(if up { 1.0 } else { 0.0 });
}
