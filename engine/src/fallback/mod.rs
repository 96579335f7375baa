//! The fallback job: while the broker is down, one apalis job in Redis says when to try again. It schedules and never decides. What
//! an attempt is, and whether the outage is over, is the publisher's decision ([`Verdict`]).
//!
//! ```text
//! hand_off ──> pending ──due──> running ──Again/Keep──> pending (a new task, the next date)
//!                 ^ bring_forward: due now   └──Done──> gone
//! ```
//!
//! # Who is authoritative
//! The record `{queue}:outage` is the pending job: the apalis task that is to run, its attempt number and its date. There is one
//! per queue, so one per deployment. An apalis task only wakes a worker at the right time. A task that the record does not name is
//! stale and returns without running, so it does not matter how often a task is pushed or delivered. (apalis' own uniqueness is a
//! key that expires, and is not released with the job. Its own retry is linear and ends.)
//!
//! # Why no crash loses the job
//! A task is pushed, and parked, *before* the record names it. One script then names it and sets its date, since a task that runs
//! unnamed is stale. It is acknowledged *after* the record names it no longer. Redis loses at most the end of its log, so the same
//! order holds after a crash of Redis. If the process is killed
//! - before the push: nothing has changed. The caller of `hand_off` got no answer, and its backlog is in Postgres for its
//!   successor. A job that was running is in its dead worker's set, and another worker takes it over.
//! - between push and record: the new task stays parked for a minute and is then discarded; otherwise as before.
//! - between record and acknowledgement: the old task is delivered again, is stale, and is discarded.
//! - after acknowledgement: the next sweep of any worker removes what is left of the task.
//!
//! # What may happen twice
//! An attempt: if its worker is cut off from Redis or frozen for some seconds, another worker takes the job over. The publisher's
//! lease makes that harmless, and only the first of the two outcomes moves the job on. The future of `run` may be dropped at any
//! await.
//!
//! # What must not be lost during a run
//! A hand-off or a `bring_forward` during a run is counted in the record. Because of a hand-off the job gets a new date at the end
//! of the run, instead of ending. Because of a `bring_forward` it gets a near date instead of a far one.
//!
//! # When Redis fails
//! Calls fail within [`CALL_PATIENCE`]. The worker ends; `run_worker` starts it again until Redis is back. If Redis has lost its
//! data, the job is gone: the events are in Postgres, and the publisher notices that the retry is overdue.

mod job;
mod schedule;
mod worker;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::schedule::{NewJob, Schedule};
pub use kit::backoff::Backoff;
use kit::redis::RedisServer;

/// The longest that a call may take, whatever Redis does. A breaker that has just opened waits for the answer.
pub const CALL_PATIENCE: Duration = Duration::from_millis(900);

/// When the pending job runs next.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ScheduledRetry {
    pub attempt: u32,
    pub due_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct FallbackSettings {
    pub redis: RedisServer,
    /// Prefix of all keys. All instances of a deployment share one.
    pub queue: String,
    pub backoff: Backoff,
    /// Unique per process: the first part of its workers' names.
    pub instance: String,
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The backlog is published: the job ends, unless it was handed off again during the attempt.
    Done,
    /// Run again with the next attempt number and its delay. If the broker was seen meanwhile: after the first delay.
    Again,
    /// No attempt was possible: run again with the same number. If this instance is shutting down, at once and by another one.
    /// Otherwise after the first delay, to avoid a busy loop.
    Keep,
}

/// What the worker reports to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// Redis answers: at the first connection and at the end of an outage.
    Up,
    /// Once per outage of Redis.
    Down(String),
    JobStarted {
        attempt: u32,
    },
    Rescheduled(ScheduledRetry),
    Finished {
        attempts: u32,
    },
}

/// Each of them means for the caller: as far as is known, Redis does not have the job. Retry from memory. (If only the answer was
/// lost the job runs too, which is harmless.)
#[derive(Debug, thiserror::Error)]
pub enum FallbackError {
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
    /// The date of the job as far as this process knows, so that its worker looks on time and not at the next poll.
    alarm: watch::Sender<Option<DateTime<Utc>>>,
}

impl Fallback {
    /// Connects later.
    pub fn new(settings: FallbackSettings) -> Self {
        let schedule = Schedule::new(settings.redis.clone(), &settings.queue);
        Self(Arc::new(Inner { settings, schedule, alarm: watch::Sender::new(None) }))
    }

    /// Ensures that a job is pending: joins the one there is, or creates one that is due after the delay of `attempt`.
    pub async fn hand_off(&self, attempt: u32) -> Result<ScheduledRetry, FallbackError> {
        let new_job = NewJob::after(self.0.settings.backoff.delay(attempt, &mut rand::rng()), attempt);
        let scheduled = self.0.schedule.hand_off(&new_job).await?.scheduled();
        self.0.alarm.send_replace(Some(scheduled.due_at));
        Ok(scheduled)
    }

    /// The broker was seen again: makes the pending job due now. Without a pending job nothing happens.
    pub async fn bring_forward(&self) -> Result<(), FallbackError> {
        let now = Utc::now();
        if self.0.schedule.bring_forward(now).await? {
            self.0.alarm.send_replace(Some(now));
        }
        Ok(())
    }

    /// The pending job, due or running included.
    pub async fn pending(&self) -> Result<Option<ScheduledRetry>, FallbackError> {
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
