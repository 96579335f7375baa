//! After a failure: who tries again, and when.
//!
//! The machine opens its breaker and asks for retry number n. The retry is a job in Redis, which outlives this process and may
//! be run by any instance; the lease is given up with it, so that its runner can take it. If Redis cannot take the job,
//! the lease is kept and a timer here does the same. If Redis loses the job, or dies with it, an instance that sees the retry overdue
//! takes it over. Either way the first sign that the broker answers again brings the attempt forward.

use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::Publisher;
use super::machine::{Breaker, Input};
use crate::fallback::{Scheduled, Verdict};
use crate::telemetry::metric;

/// How long a job waits for the lease before it goes back to Redis, where another instance may have more luck.
const LEASE_PATIENCE: Duration = Duration::from_secs(2);
/// A retry that is this late is not coming: Redis is down, or has lost it.
const OVERDUE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryStatus {
    /// `redis` or `memory`.
    pub place: &'static str,
    pub attempt: u32,
    pub next_attempt_at: DateTime<Utc>,
}

/// Ends a task when it is forgotten.
pub(super) struct Leash(AbortHandle);

impl From<AbortHandle> for Leash {
    fn from(handle: AbortHandle) -> Self {
        Self(handle)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Everything about the present outage that is not the machine's business.
#[derive(Default)]
pub(super) struct Attempting {
    pub(super) status: Option<RetryStatus>,
    /// The job in Redis that waits to hear how its attempt went.
    job: Option<oneshot::Sender<Verdict>>,
    /// The timer of a retry from memory.
    timer: Option<SpawnHandle>,
    /// The limit on waiting for the lease.
    patience: Option<SpawnHandle>,
    pub(super) probing: Option<Leash>,
    /// Whether the breaker opened because no broker could be reached: then its first answer is news.
    pub(super) broker_lost: bool,
    /// The retry was brought forward already, for a lane that had not been tried.
    pub(super) early: bool,
    pub(super) listening: Option<Leash>,
    pub(super) watching_topic: Option<Leash>,
}

impl Attempting {
    pub(super) fn status(&self) -> Option<RetryStatus> {
        self.status.clone()
    }
}

impl Publisher {
    /// The machine wants retry number `attempt`.
    pub(super) fn hand_off(&mut self, attempt: u32, cause: String, ctx: &mut Context<Self>) {
        warn!(attempt, cause, "Publish attempt failed; events wait in the outbox");
        self.dependencies.outages.failed(attempt, &cause);
        self.lifeline.vitals().failed(cause);
        self.end_patience(ctx);
        if let Some(job) = self.attempting.job.take() {
            // The job that made this attempt arranges the next one itself; see `Rescheduled`.
            let _ = job.send(Verdict::Again);
            return self.want_lease(false);
        }
        let fallback = self.dependencies.fallback.clone();
        let handed = self.dependencies.runtime.spawn(async move { fallback.hand_off(attempt).await });
        ctx.spawn(handed.into_actor(self).map(move |handed, publisher, ctx| {
            if !matches!(publisher.machine.breaker(), Breaker::Open { .. }) {
                return;
            }
            match handed {
                Ok(Ok(scheduled)) => publisher.handed_off(scheduled),
                Ok(Err(error)) => publisher.retry_from_memory(attempt, &error.to_string(), ctx),
                Err(error) => publisher.retry_from_memory(attempt, &error.to_string(), ctx),
            }
        }));
    }

    fn handed_off(&mut self, scheduled: Scheduled) {
        info!(
            attempt = scheduled.attempt,
            due_at = %scheduled.due_at,
            next_in_ms = milliseconds_until(scheduled.due_at),
            "The retry is a job in Redis now"
        );
        metric::retry("redis");
        self.attempting.status = Some(RetryStatus {
            place: "redis",
            attempt: scheduled.attempt,
            next_attempt_at: scheduled.due_at,
        });
        self.want_lease(false);
    }

    fn retry_from_memory(&mut self, attempt: u32, why: &str, ctx: &mut Context<Self>) {
        let delay = self.settings.backoff.delay(attempt, &mut rand::rng());
        let next_attempt_at = Utc::now() + delay;
        let next_in_ms = delay.as_millis();
        warn!(attempt, due_at = %next_attempt_at, next_in_ms, why, "Redis cannot take the retry; it runs from memory");
        metric::retry("memory");
        self.attempting.status = Some(RetryStatus { place: "memory", attempt, next_attempt_at });
        if let Some(timer) = self.attempting.timer.take() {
            ctx.cancel_future(timer);
        }
        self.attempting.timer =
            Some(ctx.run_later(delay, move |publisher, ctx| publisher.begin_attempt(attempt, ctx)));
    }

    /// Reach for the lease, and try.
    pub(super) fn begin_attempt(&mut self, attempt: u32, ctx: &mut Context<Self>) {
        if let Some(timer) = self.attempting.timer.take() {
            ctx.cancel_future(timer);
        }
        self.want_lease(true);
        self.feed(Input::Retry { attempt }, ctx);
        self.limit_the_jobs_wait(ctx);
    }

    /// An attempt that does not get the lease has not failed: the holder may be frozen or cut off, which says nothing of the broker.
    /// So its job keeps its number and comes again after the base delay, and this instance stays in line: the attempt
    /// begins the moment the lease is free.
    pub(super) fn limit_the_jobs_wait(&mut self, ctx: &mut Context<Self>) {
        if self.machine.holds_lease() || self.attempting.job.is_none() {
            return;
        }
        self.end_patience(ctx);
        self.attempting.patience = Some(ctx.run_later(LEASE_PATIENCE, |publisher, _| {
            publisher.attempting.patience = None;
            if let Breaker::Open { attempt } = publisher.machine.breaker()
                && let Some(job) = publisher.attempting.job.take()
            {
                info!(attempt, "Another session has the lease; the attempt waits for it");
                let _ = job.send(Verdict::Keep);
            }
        }));
    }

    fn end_patience(&mut self, ctx: &mut Context<Self>) {
        if let Some(patience) = self.attempting.patience.take() {
            ctx.cancel_future(patience);
        }
    }

    /// The breaker has closed.
    pub(super) fn attempt_succeeded(&mut self, ctx: &mut Context<Self>) {
        self.end_patience(ctx);
        if let Some(timer) = self.attempting.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(job) = self.attempting.job.take() {
            let _ = job.send(Verdict::Done);
        }
        self.attempting.status = None;
        self.attempting.probing = None;
    }

    /// While the breaker is open: has another instance published, and is the retry still coming?
    pub(super) fn watch_outage(&mut self, ctx: &mut Context<Self>) {
        let outbox = self.dependencies.outbox.clone();
        let numbers = async move { outbox.numbers().await };
        ctx.spawn(numbers.into_actor(self).map(|numbers, publisher, ctx| {
            let Ok(numbers) = numbers else { return };
            let moved = numbers.published_seq > publisher.machine.published();
            // The cursor passes what is deferred; that waits as well.
            let nothing_waits = numbers.published_seq >= numbers.head_seq && numbers.deferred_events == 0;
            if !publisher.machine.holds_lease() && (moved || nothing_waits) {
                publisher.feed(Input::OthersPublished, ctx);
            }
        }));
        let Some(status) = self.attempting.status.as_mut().filter(|status| status.place == "redis") else {
            return;
        };
        let now = Utc::now();
        let late = (now - status.next_attempt_at).to_std().unwrap_or_default();
        let ahead = (status.next_attempt_at - now).to_std().unwrap_or_default();
        if ahead > self.settings.backoff.cap + OVERDUE {
            warn!(due_at = %status.next_attempt_at, "The clock was set back: the retry is brought forward");
            status.next_attempt_at = now;
            self.bring_the_job_forward(ctx);
        } else if late > OVERDUE && self.attempting.job.is_none() && self.attempting.patience.is_none() {
            self.look_for_the_job(ctx);
        }
    }

    fn look_for_the_job(&mut self, ctx: &mut Context<Self>) {
        let fallback = self.dependencies.fallback.clone();
        let pending = self.dependencies.runtime.spawn(async move { fallback.pending().await });
        ctx.spawn(pending.into_actor(self).map(|pending, publisher, ctx| {
            let Some(status) = publisher.attempting.status.clone() else { return };
            match pending {
                // Another instance runs the job; this is its next date.
                Ok(Ok(Some(scheduled))) if scheduled.due_at > status.next_attempt_at => {
                    publisher.rescheduled(scheduled);
                }
                _ if matches!(publisher.machine.breaker(), Breaker::Open { .. }) => {
                    info!(attempt = status.attempt, "The job in Redis is overdue or gone; trying from here");
                    publisher.attempting.status =
                        Some(RetryStatus { place: "memory", next_attempt_at: Utc::now(), ..status });
                    publisher.begin_attempt(status.attempt, ctx);
                }
                _ => {}
            }
        }));
    }

    fn rescheduled(&mut self, scheduled: Scheduled) {
        self.attempting.status = Some(RetryStatus {
            place: "redis",
            attempt: scheduled.attempt,
            next_attempt_at: scheduled.due_at,
        });
    }
}

pub(super) fn milliseconds_until(due_at: DateTime<Utc>) -> i64 {
    (due_at - Utc::now()).num_milliseconds()
}

/// The job's attempt: take the lease and drain. Answered when the backlog is published, or the attempt has failed.
#[derive(Message)]
#[rtype(result = "Verdict")]
pub struct RunRetry {
    pub attempt: u32,
}

impl Handler<RunRetry> for Publisher {
    type Result = ResponseFuture<Verdict>;

    fn handle(&mut self, RunRetry { attempt }: RunRetry, ctx: &mut Self::Context) -> Self::Result {
        let _handling = self.lifeline.handling();
        if self.machine.is_stopping() {
            return Box::pin(async { Verdict::Keep });
        }
        match self.machine.breaker() {
            // Nothing is wrong here: this instance publishes, or stands in line for the lease.
            Breaker::Closed => Box::pin(async { Verdict::Done }),
            // A retry from memory is at it; the job stays, in case that fails.
            Breaker::HalfOpen { .. } => Box::pin(async { Verdict::Again }),
            Breaker::Open { .. } => {
                let (verdict, verdict_given) = oneshot::channel();
                self.attempting.job = Some(verdict);
                self.begin_attempt(attempt, ctx);
                Box::pin(async move { verdict_given.await.unwrap_or(Verdict::Again) })
            }
        }
    }
}

/// The job in Redis has a new date.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Rescheduled(pub(super) Scheduled);

impl Handler<Rescheduled> for Publisher {
    type Result = ();

    fn handle(&mut self, Rescheduled(scheduled): Rescheduled, _: &mut Self::Context) {
        let _handling = self.lifeline.handling();
        if matches!(self.machine.breaker(), Breaker::Open { .. }) {
            metric::retry("redis");
            self.rescheduled(scheduled);
        }
    }
}
