//! The rules: what each input changes, and what follows from it.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Input, JobRun, Note, Output, Plan, RetryPlace};
use crate::fallback::{ScheduledRetry, Verdict};
use crate::publisher::machine::Breaker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The breaker is closed.
    Idle,
    /// The breaker is open, and Redis is asked to take the retry.
    Asking,
    /// The breaker is open, and the retry waits where the plan says.
    Waiting,
    /// An attempt is under way: it waits for the lease, or has it and the breaker is half-open.
    Trying { half_open: bool },
}

pub struct RetryMachine {
    /// The longest delay between two attempts, as the policy has it.
    pub(super) delay_max: TimeDelta,
    stage: Stage,
    /// The number of the next attempt, or of the one under way.
    attempt: u32,
    pub(super) plan: Option<Plan>,
    /// The run of the job that waits for its verdict.
    pub(super) job: Option<JobRun>,
    pub(super) lease: bool,
    wants_lease: bool,
    timer: bool,
    limit: bool,
    /// In this outage the retry was brought forward already for a lane that had not been tried.
    early: bool,
    stopping: bool,
    pub(super) outputs: Vec<Output>,
}

impl RetryMachine {
    /// Begins with the breaker closed, and the lease wanted.
    pub fn new(delay_max: TimeDelta) -> Self {
        Self {
            delay_max,
            stage: Stage::Idle,
            attempt: 0,
            plan: None,
            job: None,
            lease: false,
            wants_lease: true,
            timer: false,
            limit: false,
            early: false,
            stopping: false,
            outputs: Vec::new(),
        }
    }

    /// The next attempt.
    pub fn plan(&self) -> Option<Plan> {
        self.plan
    }

    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        match input {
            Input::Breaker(breaker) => self.breaker_changed(breaker),
            Input::Failed { attempt, now } => self.failed(attempt, now),
            Input::HandedOff(scheduled) => self.handed_off(scheduled),
            Input::HandOffFailed { attempt, now, delay, why } => {
                self.hand_off_failed(attempt, now, delay, why)
            }
            Input::JobRuns { run, attempt } => self.job_runs(run, attempt),
            Input::Rescheduled(scheduled) => {
                if self.is_open() {
                    self.note(Note::Rescheduled);
                    self.plan_in_redis(&scheduled);
                }
            }
            Input::LeaseGained => {
                self.lease = true;
                self.cancel_limit();
            }
            Input::LeaseLost => {
                self.lease = false;
                // While the breaker is open, the retry decides when the lease is wanted again. An attempt under way continues when
                // it is regained.
                self.want_lease(matches!(self.stage, Stage::Idle | Stage::Trying { .. }));
                self.limit_wait();
            }
            Input::TimerFired => {
                self.timer = false;
                if self.stage == Stage::Waiting {
                    self.begin(self.attempt);
                }
            }
            Input::LeaseWaitOver => self.lease_wait_over(),
            Input::TryNow { reason } => self.try_now(reason),
            Input::UntriedLane => {
                if self.plan.is_some() && !self.early {
                    self.early = true;
                    self.try_now("Another partition has something to send");
                }
            }
            Input::BringForwardFailed { why } => {
                if self.is_open() {
                    self.note(Note::NotBroughtForward { why });
                    self.begin(self.attempt);
                }
            }
            Input::Tick { now } => self.watch_job(now),
            Input::JobFound { found, now } => self.job_found(found, now),
            Input::OutboxSeen { published, head, deferred_events, known } => {
                // Deferred events are behind the cursor, and wait as well.
                let nothing_waits = published >= head && deferred_events == 0;
                if self.is_open() && !self.lease && (published > known || nothing_waits) {
                    self.outputs.push(Output::OthersPublished);
                }
            }
            Input::ShuttingDown => self.stopping = true,
            Input::Flushed => self.want_lease(false),
        }
        std::mem::take(&mut self.outputs)
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Idle | Stage::Trying { half_open: true })
    }

    fn breaker_changed(&mut self, breaker: Breaker) {
        self.early = false;
        self.cancel_timer();
        match breaker {
            Breaker::Open { attempt } => {
                self.attempt = attempt;
                // If nothing has failed, the attempt under way has lost the lease, and continues.
                self.stage = match self.stage {
                    Stage::Trying { .. } => Stage::Trying { half_open: false },
                    Stage::Idle | Stage::Asking | Stage::Waiting => Stage::Asking,
                };
            }
            Breaker::HalfOpen { attempt, .. } => {
                self.attempt = attempt;
                self.stage = Stage::Trying { half_open: true };
            }
            Breaker::Closed => {
                self.stage = Stage::Idle;
                self.plan = None;
                self.cancel_limit();
                self.end_run(Verdict::Done);
                self.want_lease(true);
            }
        }
    }

    fn failed(&mut self, attempt: u32, now: DateTime<Utc>) {
        self.attempt = attempt;
        self.cancel_limit();
        self.cancel_timer();
        if self.end_run(Verdict::Again) {
            // The job that made this attempt schedules the next one; its date comes with `Rescheduled`. If Redis fails just then,
            // the date does not come, and the job is overdue soon.
            self.stage = Stage::Waiting;
            let known = self.plan.filter(|plan| plan.place == RetryPlace::Redis);
            self.plan = Some(known.unwrap_or(Plan { place: RetryPlace::Redis, attempt, due_at: now }));
            return self.want_lease(false);
        }
        // The lease is kept until Redis has the job. If Redis cannot take it, this instance makes the retry.
        self.stage = Stage::Asking;
        self.outputs.push(Output::HandOff { attempt });
    }

    fn handed_off(&mut self, scheduled: ScheduledRetry) {
        // A timer runs: this answers an earlier hand-off, and the latest one has failed.
        if !self.is_open() || self.timer {
            return;
        }
        self.plan_in_redis(&scheduled);
        self.note(Note::HandedOff(scheduled));
        // But an attempt that has begun meanwhile needs the lease.
        if self.stage == Stage::Asking {
            self.stage = Stage::Waiting;
            self.want_lease(false);
        }
    }

    fn hand_off_failed(&mut self, attempt: u32, now: DateTime<Utc>, delay: TimeDelta, why: String) {
        // An attempt that has begun meanwhile decides what is next.
        if self.stage != Stage::Asking {
            return;
        }
        let due_at = now + delay;
        self.stage = Stage::Waiting;
        self.plan = Some(Plan { place: RetryPlace::Memory, attempt, due_at });
        self.timer = true;
        self.note(Note::FromMemory { attempt, due_at, why });
        self.outputs.push(Output::SetTimer { delay });
    }

    fn job_runs(&mut self, run: JobRun, attempt: u32) {
        let verdict = match self.stage {
            _ if self.stopping => Verdict::Keep,
            // No outage here: this instance publishes, or waits for the lease.
            Stage::Idle => Verdict::Done,
            // A retry from memory is under way. The job stays, in case that fails.
            Stage::Trying { half_open: true } => Verdict::Again,
            Stage::Asking | Stage::Waiting | Stage::Trying { half_open: false } => {
                // The job runs twice: its earlier worker was cut off from Redis and ignores this verdict.
                self.end_run(Verdict::Again);
                self.job = Some(run);
                return self.begin(attempt);
            }
        };
        self.outputs.push(Output::EndRun { run, verdict });
    }

    /// Wants the lease, and tries.
    pub(super) fn begin(&mut self, attempt: u32) {
        self.cancel_timer();
        self.stage = Stage::Trying { half_open: false };
        self.attempt = attempt;
        self.want_lease(true);
        self.outputs.push(Output::Try { attempt });
        self.limit_wait();
    }

    /// A job whose attempt has to wait for the lease is put back into Redis after a while, where another instance may take it.
    fn limit_wait(&mut self) {
        if self.job.is_some() && !self.lease {
            self.limit = true;
            self.outputs.push(Output::LimitWait);
        }
    }

    fn lease_wait_over(&mut self) {
        self.limit = false;
        if self.is_open() && self.end_run(Verdict::Keep) {
            self.note(Note::WaitsForLease { attempt: self.attempt });
        }
    }

    fn try_now(&mut self, reason: &'static str) {
        let Some(Plan { place, attempt, .. }) = self.plan.filter(|_| self.is_open()) else { return };
        self.note(Note::BroughtForward { attempt, place, reason });
        match place {
            RetryPlace::Memory => self.begin(attempt),
            RetryPlace::Redis => self.outputs.push(Output::BringForward),
        }
    }

    pub(super) fn plan_in_redis(&mut self, scheduled: &ScheduledRetry) {
        // A timer that runs here takes precedence.
        if !self.timer {
            let ScheduledRetry { attempt, due_at } = *scheduled;
            self.plan = Some(Plan { place: RetryPlace::Redis, attempt, due_at });
        }
    }

    /// Whether a run was waiting for its verdict.
    fn end_run(&mut self, verdict: Verdict) -> bool {
        let job = self.job.take();
        self.outputs.extend(job.map(|run| Output::EndRun { run, verdict }));
        job.is_some()
    }

    fn want_lease(&mut self, wanted: bool) {
        let wanted = wanted && !self.stopping;
        if self.wants_lease != wanted {
            self.wants_lease = wanted;
            self.outputs.push(Output::WantLease(wanted));
        }
    }

    fn cancel_timer(&mut self) {
        if std::mem::take(&mut self.timer) {
            self.outputs.push(Output::CancelTimer);
        }
    }

    fn cancel_limit(&mut self) {
        if std::mem::take(&mut self.limit) {
            self.outputs.push(Output::CancelLimit);
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        self.outputs.push(Output::Note(note));
    }
}
