//! Carries out the retry machine's outputs: timers, calls to Redis, verdicts for the worker's jobs, log and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::Publisher;
use super::machine;
use super::retry::{Input, JobRun, Note, Output, Plan, RetryMachine};
use crate::fallback::{Backoff, ScheduledRetry, Verdict};
use crate::metric;

/// How long a job waits for the lease before it is put back into Redis.
const LEASE_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryStatus {
    /// `redis` or `memory`.
    pub place: &'static str,
    pub attempt: u32,
    pub next_attempt_at: DateTime<Utc>,
}

impl From<Plan> for RetryStatus {
    fn from(Plan { place, attempt, due_at }: Plan) -> Self {
        Self { place: place.name(), attempt, next_attempt_at: due_at }
    }
}

/// Aborts a task when this is dropped.
pub(super) struct AbortOnDrop(AbortHandle);

impl From<AbortHandle> for AbortOnDrop {
    fn from(handle: AbortHandle) -> Self {
        Self(handle)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) struct Attempts {
    retry: RetryMachine,
    /// Jobs of the worker that wait for their verdict.
    jobs: BTreeMap<JobRun, oneshot::Sender<Verdict>>,
    runs: u64,
    /// A retry from memory.
    timer: Option<SpawnHandle>,
    /// The limit on a job's wait for the lease.
    limit: Option<SpawnHandle>,
}

impl Attempts {
    pub(super) fn new(backoff: &Backoff) -> Self {
        let retry = RetryMachine::new(time_delta(backoff.cap));
        Self { retry, jobs: BTreeMap::new(), runs: 0, timer: None, limit: None }
    }

    pub(super) fn status(&self) -> Option<RetryStatus> {
        self.retry.plan().map(RetryStatus::from)
    }
}

impl Publisher {
    /// The publication machine wants retry number `attempt`.
    pub(super) fn failed(&mut self, attempt: u32, cause: String, ctx: &mut Context<Self>) {
        warn!(attempt, cause, "Publish attempt failed; events wait in the outbox");
        self.dependencies.outages.failed(attempt, &cause);
        self.lifeline.vitals().failed(cause);
        self.retry(Input::Failed { attempt, now: Utc::now() }, ctx);
    }

    /// Feeds the retry machine and carries out its outputs.
    pub(super) fn retry(&mut self, input: Input, ctx: &mut Context<Self>) {
        for output in self.attempts.retry.handle(input) {
            match output {
                Output::HandOff { attempt } => self.hand_off(attempt, ctx),
                Output::BringForward => self.bring_job_forward(ctx),
                Output::FindJob => self.find_job(ctx),
                Output::SetTimer { delay } => {
                    let delay = delay.to_std().unwrap_or_default();
                    let ring = |publisher: &mut Self, ctx: &mut _| publisher.retry(Input::TimerFired, ctx);
                    replace(&mut self.attempts.timer, Some(ctx.run_later(delay, ring)), ctx);
                }
                Output::CancelTimer => replace(&mut self.attempts.timer, None, ctx),
                Output::LimitWait => {
                    let over = |publisher: &mut Self, ctx: &mut _| publisher.retry(Input::LeaseWaitOver, ctx);
                    replace(&mut self.attempts.limit, Some(ctx.run_later(LEASE_PATIENCE, over)), ctx);
                }
                Output::CancelLimit => replace(&mut self.attempts.limit, None, ctx),
                Output::WantLease(wanted) => {
                    if let Some(lease) = &self.lease {
                        lease.want(wanted);
                    }
                }
                Output::Try { attempt } => self.feed(machine::Input::Retry { attempt }, ctx),
                Output::OthersPublished => self.feed(machine::Input::OthersPublished, ctx),
                Output::EndRun { run, verdict } => {
                    if let Some(job) = self.attempts.jobs.remove(&run) {
                        let _ = job.send(verdict);
                    }
                }
                Output::Note(note) => log_note(note),
            }
        }
    }

    fn hand_off(&mut self, attempt: u32, ctx: &mut Context<Self>) {
        let fallback = self.dependencies.fallback.clone();
        let handed = self.dependencies.runtime.spawn(async move { fallback.hand_off(attempt).await });
        ctx.spawn(handed.into_actor(self).map(move |handed, publisher, ctx| {
            let input = match handed {
                Ok(Ok(scheduled)) => Input::HandedOff(scheduled),
                Ok(Err(error)) => publisher.hand_off_failed(attempt, error.to_string()),
                Err(error) => publisher.hand_off_failed(attempt, error.to_string()),
            };
            publisher.retry(input, ctx);
        }));
    }

    fn hand_off_failed(&self, attempt: u32, why: String) -> Input {
        let delay = time_delta(self.settings.backoff.delay(attempt, &mut rand::rng()));
        Input::HandOffFailed { attempt, now: Utc::now(), delay, why }
    }

    /// Makes the job in Redis due now. If Redis cannot do that, the attempt is made from here.
    fn bring_job_forward(&mut self, ctx: &mut Context<Self>) {
        let fallback = self.dependencies.fallback.clone();
        let brought = self.dependencies.runtime.spawn(async move { fallback.bring_forward().await });
        ctx.spawn(brought.into_actor(self).map(|brought, publisher, ctx| {
            let why = match brought {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            publisher.retry(Input::BringForwardFailed { why }, ctx);
        }));
    }

    fn find_job(&mut self, ctx: &mut Context<Self>) {
        let fallback = self.dependencies.fallback.clone();
        let pending = self.dependencies.runtime.spawn(async move { fallback.pending().await });
        ctx.spawn(pending.into_actor(self).map(|pending, publisher, ctx| {
            let found = pending.ok().and_then(Result::ok).flatten();
            publisher.retry(Input::JobFound { found, now: Utc::now() }, ctx);
        }));
    }

    /// While the breaker is open: has another instance published, and is the retry still coming?
    pub(super) fn watch_outage(&mut self, ctx: &mut Context<Self>) {
        let outbox = self.dependencies.outbox.clone();
        let numbers = async move { outbox.numbers().await };
        ctx.spawn(numbers.into_actor(self).map(|numbers, publisher, ctx| {
            if let Ok(numbers) = numbers {
                let (published, head) = (numbers.published_seq, numbers.head_seq);
                let (deferred_events, known) = (numbers.deferred_events, publisher.machine.published());
                publisher.retry(Input::OutboxSeen { published, head, deferred_events, known }, ctx);
            }
        }));
        self.retry(Input::Tick { now: Utc::now() }, ctx);
    }
}

/// The settings' bounds are far below the maximum.
fn time_delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn replace(timer: &mut Option<SpawnHandle>, with: Option<SpawnHandle>, ctx: &mut Context<Publisher>) {
    if let Some(former) = std::mem::replace(timer, with) {
        ctx.cancel_future(former);
    }
}

fn log_note(note: Note) {
    match note {
        Note::HandedOff(ScheduledRetry { attempt, due_at }) => {
            metric::retry("redis");
            let next_in_ms = milliseconds_until(due_at);
            info!(attempt, %due_at, next_in_ms, "The retry is a job in Redis now");
        }
        Note::FromMemory { attempt, due_at, why } => {
            metric::retry("memory");
            let next_in_ms = milliseconds_until(due_at);
            warn!(attempt, %due_at, next_in_ms, why, "Redis cannot take the retry; it runs from memory");
        }
        Note::Rescheduled => metric::retry("redis"),
        Note::WaitsForLease { attempt } => {
            info!(attempt, "Another session has the lease; the attempt waits for it");
        }
        Note::BroughtForward { attempt, place, reason } => {
            info!(attempt, place = place.name(), "{reason}; the retry is brought forward");
        }
        Note::NotBroughtForward { why } => {
            warn!(why, "The job in Redis could not be brought forward; trying from here");
        }
        Note::ClockSetBack { due_at } => {
            warn!(%due_at, "The clock was set back: the retry is brought forward");
        }
        Note::Overdue { attempt } => {
            info!(attempt, "The job in Redis is overdue or gone; trying from here");
        }
    }
}

pub(super) fn milliseconds_until(due_at: DateTime<Utc>) -> i64 {
    (due_at - Utc::now()).num_milliseconds()
}

/// The job's attempt: acquire the lease and drain. Answered when the backlog is published, or the attempt has failed.
#[derive(Message)]
#[rtype(result = "Verdict")]
pub struct RunRetry {
    pub attempt: u32,
}

impl Handler<RunRetry> for Publisher {
    type Result = ResponseFuture<Verdict>;

    fn handle(&mut self, RunRetry { attempt }: RunRetry, ctx: &mut Self::Context) -> Self::Result {
        let _handling = self.lifeline.handling();
        let (verdict, verdict_given) = oneshot::channel();
        self.attempts.runs += 1;
        let run = JobRun(self.attempts.runs);
        self.attempts.jobs.insert(run, verdict);
        self.retry(Input::JobRuns { run, attempt }, ctx);
        Box::pin(async move { verdict_given.await.unwrap_or(Verdict::Again) })
    }
}

/// The job in Redis has a new date.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct JobRescheduled(pub(super) ScheduledRetry);

impl Handler<JobRescheduled> for Publisher {
    type Result = ();

    fn handle(&mut self, JobRescheduled(scheduled): JobRescheduled, ctx: &mut Self::Context) {
        let _handling = self.lifeline.handling();
        self.retry(Input::Rescheduled(scheduled), ctx);
    }
}
