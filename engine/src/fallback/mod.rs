//! The fallback job: while Kafka is away, one apalis job in Redis says when to try again. It schedules and never decides:
//! what an attempt is, and whether the outage is over, the publisher says ([`Verdict`]).
//!
//! ```text
//! hand_off ──> pending ──due──> running ──Again/Keep──> pending (a new task, the next date)
//!                 ^ bring_forward: due now   └──Done──> gone
//! ```
//!
//! # Who is authoritative
//! `{queue}:outage` is THE pending job, one per queue and so per deployment: the apalis task that is to run, its attempt
//! and its date. An apalis task is only an alarm clock that survives us. One which the record does not name is stale
//! and returns without running. So nothing depends on how often a task is pushed or delivered.
//! (apalis' own uniqueness is a key with an expiry, which is not released with the job; its own retry is linear and ends.)
//!
//! # Why no crash loses the job
//! A task is pushed, and parked, *before* the record names it; one script names it and gives it its date, since a task that is met
//! unnamed is stale; and it is acknowledged *after* the record has left it. Redis loses at most a tail of its log, so this order also
//! holds for what it finds after its own crash. Killed
//! - before the push: nothing has changed. The caller of `hand_off` was told nothing and still has its backlog in Postgres,
//!   which its successor drains; a job that was running is in its dead worker's set, and another worker takes it over.
//! - between push and record: the new task stays parked for a minute and is thrown away then; otherwise as before.
//! - between record and acknowledgement: the old task is delivered again, finds itself stale, and is thrown away.
//! - after acknowledgement: its remains are swept up by the next sweep of any worker.
//!
//! # What may happen twice
//! An attempt: its worker is cut off from Redis or stands still for some seconds, another takes the job over. The publisher's lease
//! makes that harmless; of the two outcomes only the first moves the job on. The future of `run` may be dropped at any await.
//!
//! # What may not be lost between two hands
//! A hand-off or a `bring_forward` that falls into a run is counted in the record. The run then ends with a new date instead of the
//! end of the job, or with a near date instead of a far one.
//!
//! # When Redis fails
//! Calls fail within [`CALL_PATIENCE`]. The worker ends, and is started again until Redis is back, by `run_worker` itself. If
//! Redis has forgotten everything, the job is gone: Postgres knows what waits, and the publisher notices.

mod job;
mod schedule;
mod worker;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::schedule::{Planned, Schedule};
pub use kit::backoff::Backoff;

/// The longest a call may take, whatever Redis does: a breaker that has just opened waits for this answer.
pub const CALL_PATIENCE: Duration = Duration::from_millis(900);

/// When the pending job runs next: what `GET /api/outbox` shows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Scheduled {
    pub attempt: u32,
    pub due_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct FallbackSettings {
    pub redis_url: String,
    /// Prefix of all keys, `orders:publish-backlog` say. All instances of a deployment share one.
    pub queue: String,
    pub backoff: Backoff,
    /// Unique per process: the first part of its workers' names.
    pub instance: String,
}

/// What the attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing waits any more: the job ends, unless it was handed off anew during the attempt.
    Done,
    /// Run again with the next attempt number and its delay, or after the first delay if the broker was seen meanwhile.
    Again,
    /// Could not try: run again with the same number. At once, by another instance, if this one is shutting down;
    /// else after the first delay, so that a runner which cannot try does not spin.
    Keep,
}

/// What the worker tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// Redis answers: told at the first connection and at the end of an outage.
    Up,
    /// Once per outage of Redis.
    Down(String),
    JobStarted {
        attempt: u32,
    },
    Rescheduled(Scheduled),
    Finished {
        attempts: u32,
    },
}

/// For the caller all of them mean: Redis does not hold the job, so far as is known. Retry from memory. (If only the answer
/// was lost the job runs as well, which is harmless.)
#[derive(Debug, thiserror::Error)]
pub enum FallbackError {
    #[error("the Redis address cannot be used: {0}")]
    Address(redis::RedisError),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("Redis did not answer within {} ms", CALL_PATIENCE.as_millis())]
    TimedOut,
    #[error("apalis: {0}")]
    Apalis(String),
}

/// Cheap to clone. Connects when first needed.
#[derive(Clone, Debug)]
pub struct Fallback(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: FallbackSettings,
    schedule: Schedule,
    /// The date of the job as far as this process knows: its worker then looks on time, not at the next poll.
    alarm: watch::Sender<Option<DateTime<Utc>>>,
}

impl Fallback {
    /// Touches nothing but the address.
    pub fn new(settings: FallbackSettings) -> Result<Self, FallbackError> {
        let schedule = Schedule::new(&settings.redis_url, &settings.queue)?;
        Ok(Self(Arc::new(Inner { settings, schedule, alarm: watch::Sender::new(None) })))
    }

    /// Makes sure that a job is pending: joins the one there is, else creates one that is due after the delay of `attempt`.
    pub async fn hand_off(&self, attempt: u32) -> Result<Scheduled, FallbackError> {
        let planned = Planned::after(self.0.settings.backoff.delay(attempt, &mut rand::rng()), attempt);
        let scheduled = self.0.schedule.hand_off(&planned).await?.scheduled();
        self.0.alarm.send_replace(Some(scheduled.due_at));
        Ok(scheduled)
    }

    /// The broker was seen again: a pending job is due now. Without one, nothing happens.
    pub async fn bring_forward(&self) -> Result<(), FallbackError> {
        let now = Utc::now();
        if self.0.schedule.bring_forward(now).await? {
            self.0.alarm.send_replace(Some(now));
        }
        Ok(())
    }

    /// The pending job, due or running included.
    pub async fn pending(&self) -> Result<Option<Scheduled>, FallbackError> {
        Ok(self.0.schedule.current().await?.map(|record| record.scheduled()))
    }

    /// Runs due jobs until `shutdown` holds true or its sender is gone. Outlives every outage of Redis.
    pub async fn run_worker<F, Fut>(
        &self,
        run: F,
        on_event: impl Fn(WorkerEvent) + Send + Sync + 'static,
        shutdown: watch::Receiver<bool>,
    ) where
        F: Fn(u32) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        worker::run(Arc::clone(&self.0), run, on_event, shutdown).await;
    }
}
