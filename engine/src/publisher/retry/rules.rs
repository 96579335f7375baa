//! The rules: what each input changes, and what follows from it.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Input, JobRun, Note, Output, Place, Plan};
use crate::fallback::{Scheduled, Verdict};
use crate::publisher::machine::Breaker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The breaker is closed.
    Well,
    /// The breaker is open, and Redis is asked to take the retry.
    Asking,
    /// The breaker is open, and the retry waits where the plan says.
    Waiting,
    /// An attempt is under way: in line for the lease, or with it and the breaker half-open.
    Trying { half_open: bool },
}

pub struct Retry {
    /// The longest delay between two attempts, as the policy has it.
    pub(super) delay_max: TimeDelta,
    stage: Stage,
    /// The number of the next attempt, or of the one under way.
    attempt: u32,
    pub(super) plan: Option<Plan>,
    /// The job that waits to be told how its attempt went.
    pub(super) job: Option<JobRun>,
    pub(super) lease: bool,
    wants_lease: bool,
    timer: bool,
    limit: bool,
    /// The retry was brought forward already, for a lane that had not been tried.
    early: bool,
    stopping: bool,
    pub(super) outputs: Vec<Output>,
}

impl Retry {
    /// Begins with the breaker closed, and the lease wanted.
    pub fn new(delay_max: TimeDelta) -> Self {
        Self {
            delay_max,
            stage: Stage::Well,
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

    /// The next attempt, as those who look on see it.
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
                // With an open breaker the retry decides when to reach for it again; one that is under way goes on when it is regained.
                self.want_lease(matches!(self.stage, Stage::Well | Stage::Trying { .. }));
                self.limit_wait();
            }
            Input::TimerRang => {
                self.timer = false;
                if self.stage == Stage::Waiting {
                    self.begin(self.attempt);
                }
            }
            Input::WaitedEnough => self.waited_enough(),
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
            Input::Tick { now } => self.watch_the_job(now),
            Input::JobLookedFor { found, now } => self.job_looked_for(found, now),
            Input::OutboxSeen { published, head, deferred_events, known } => {
                // The cursor passes what is deferred; that waits as well.
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
        !matches!(self.stage, Stage::Well | Stage::Trying { half_open: true })
    }

    fn breaker_changed(&mut self, breaker: Breaker) {
        self.early = false;
        self.cancel_timer();
        match breaker {
            Breaker::Open { attempt } => {
                self.attempt = attempt;
                // Without a failure the attempt under way has lost the lease, and goes on.
                self.stage = match self.stage {
                    Stage::Trying { .. } => Stage::Trying { half_open: false },
                    Stage::Well | Stage::Asking | Stage::Waiting => Stage::Asking,
                };
            }
            Breaker::HalfOpen { attempt, .. } => {
                self.attempt = attempt;
                self.stage = Stage::Trying { half_open: true };
            }
            Breaker::Closed => {
                self.stage = Stage::Well;
                self.plan = None;
                self.cancel_limit();
                self.tell_the_job(Verdict::Done);
                self.want_lease(true);
            }
        }
    }

    fn failed(&mut self, attempt: u32, now: DateTime<Utc>) {
        self.attempt = attempt;
        self.cancel_limit();
        self.cancel_timer();
        if self.tell_the_job(Verdict::Again) {
            // The job that made this attempt arranges the next one itself; its date comes with `Rescheduled`. If it does not, since Redis
            // fails just then, the job is overdue soon.
            self.stage = Stage::Waiting;
            let known = self.plan.filter(|plan| plan.place == Place::Redis);
            self.plan = Some(known.unwrap_or(Plan { place: Place::Redis, attempt, due_at: now }));
            return self.want_lease(false);
        }
        // The lease is kept until Redis has the job: if it does not take it, this instance goes on.
        self.stage = Stage::Asking;
        self.outputs.push(Output::HandOff { attempt });
    }

    fn handed_off(&mut self, scheduled: Scheduled) {
        // A timer: this answers an earlier question, and the present one was answered by a failure.
        if !self.is_open() || self.timer {
            return;
        }
        self.plan_in_redis(&scheduled);
        self.note(Note::HandedOff(scheduled));
        // An attempt that was begun meanwhile needs the lease.
        if self.stage == Stage::Asking {
            self.stage = Stage::Waiting;
            self.want_lease(false);
        }
    }

    fn hand_off_failed(&mut self, attempt: u32, now: DateTime<Utc>, delay: TimeDelta, why: String) {
        // An attempt that was begun meanwhile decides what is next.
        if self.stage != Stage::Asking {
            return;
        }
        let due_at = now + delay;
        self.stage = Stage::Waiting;
        self.plan = Some(Plan { place: Place::Memory, attempt, due_at });
        self.timer = true;
        self.note(Note::FromMemory { attempt, due_at, why });
        self.outputs.push(Output::SetTimer { delay });
    }

    fn job_runs(&mut self, run: JobRun, attempt: u32) {
        let verdict = match self.stage {
            _ if self.stopping => Verdict::Keep,
            // Nothing is wrong here: this instance publishes, or stands in line for the lease.
            Stage::Well => Verdict::Done,
            // A retry from memory is at it; the job stays, in case that fails.
            Stage::Trying { half_open: true } => Verdict::Again,
            Stage::Asking | Stage::Waiting | Stage::Trying { half_open: false } => {
                // Run twice: its former worker was cut off from Redis, and nobody hears this any more.
                self.tell_the_job(Verdict::Again);
                self.job = Some(run);
                return self.begin(attempt);
            }
        };
        self.outputs.push(Output::Tell { run, verdict });
    }

    /// Reach for the lease, and try.
    pub(super) fn begin(&mut self, attempt: u32) {
        self.cancel_timer();
        self.stage = Stage::Trying { half_open: false };
        self.attempt = attempt;
        self.want_lease(true);
        self.outputs.push(Output::Try { attempt });
        self.limit_wait();
    }

    /// A job whose attempt has to wait for the lease goes back to Redis after a while, where another instance may have more luck.
    fn limit_wait(&mut self) {
        if self.job.is_some() && !self.lease {
            self.limit = true;
            self.outputs.push(Output::LimitWait);
        }
    }

    fn waited_enough(&mut self) {
        self.limit = false;
        if self.is_open() && self.tell_the_job(Verdict::Keep) {
            self.note(Note::WaitsForLease { attempt: self.attempt });
        }
    }

    fn try_now(&mut self, reason: &'static str) {
        let Some(Plan { place, attempt, .. }) = self.plan.filter(|_| self.is_open()) else { return };
        self.note(Note::BroughtForward { attempt, place, reason });
        match place {
            Place::Memory => self.begin(attempt),
            Place::Redis => self.outputs.push(Output::BringForward),
        }
    }

    pub(super) fn plan_in_redis(&mut self, scheduled: &Scheduled) {
        // A timer that runs here comes first.
        if !self.timer {
            let Scheduled { attempt, due_at } = *scheduled;
            self.plan = Some(Plan { place: Place::Redis, attempt, due_at });
        }
    }

    /// Whether there was a job in hand.
    fn tell_the_job(&mut self, verdict: Verdict) -> bool {
        let job = self.job.take();
        self.outputs.extend(job.map(|run| Output::Tell { run, verdict }));
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
