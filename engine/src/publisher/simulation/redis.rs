//! The model of Redis and of the workers that run its job.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::machine::Breaker;
use super::super::retry::{Input, JobRun};
use super::world::World;
use crate::fallback::{ScheduledRetry, Verdict};

/// From now to the next date of whatever is scheduled.
const DELAY: TimeDelta = TimeDelta::seconds(1);

/// What one instance asks of Redis, or is told by its worker.
pub(super) enum Call {
    HandOff { attempt: u32 },
    BringForward,
    FindJob,
    Rescheduled(ScheduledRetry),
}

#[derive(Default)]
pub(super) struct Redis {
    pub(super) down: bool,
    pub(super) job: Option<Job>,
    runs: u64,
}

/// The pending job.
pub(super) struct Job {
    attempt: u32,
    due_at: DateTime<Utc>,
    runner: Option<(usize, JobRun)>,
    /// The attempt of a hand-off during the run.
    joined: Option<u32>,
}

impl Job {
    fn new(attempt: u32, now: DateTime<Utc>) -> Self {
        Self { attempt, due_at: now + DELAY, runner: None, joined: None }
    }

    fn scheduled(&self) -> ScheduledRetry {
        ScheduledRetry { attempt: self.attempt, due_at: self.due_at }
    }
}

impl World {
    /// The oldest call comes back. False when there is none.
    pub(super) fn answer_call(&mut self, instance: usize) -> bool {
        let Some(call) = self.instances[instance].calls.pop_front() else { return false };
        let (now, up) = (self.now, !self.redis.down);
        let input = match call {
            Call::HandOff { attempt } if up => Input::HandedOff(self.join_job(attempt)),
            Call::HandOff { attempt } => {
                Input::HandOffFailed { attempt, now, delay: DELAY, why: String::new() }
            }
            Call::BringForward if up => return true,
            Call::BringForward => Input::BringForwardFailed { why: String::new() },
            Call::FindJob => {
                let found = self.redis.job.as_ref().filter(|_| up).map(Job::scheduled);
                Input::JobFound { found, now }
            }
            Call::Rescheduled(scheduled) => Input::Rescheduled(scheduled),
        };
        self.retry(instance, input);
        true
    }

    fn join_job(&mut self, attempt: u32) -> ScheduledRetry {
        let job = self.redis.job.get_or_insert_with(|| Job::new(attempt, self.now));
        if job.runner.is_some() {
            job.joined = Some(attempt);
        }
        job.scheduled()
    }

    /// A worker finds the job due.
    pub(super) fn run_job(&mut self, instance: usize) {
        let redis = &mut self.redis;
        let Some(job) = redis.job.as_mut().filter(|job| !redis.down && job.runner.is_none()) else { return };
        redis.runs += 1;
        let (run, attempt) = (JobRun(redis.runs), job.attempt);
        job.runner = Some((instance, run));
        self.instances[instance].jobs.insert(run);
        self.retry(instance, Input::JobRuns { run, attempt });
    }

    /// A run's verdict moves the job on, if the worker still has it.
    pub(super) fn settle(&mut self, instance: usize, run: JobRun, verdict: Verdict) {
        assert!(self.instances[instance].jobs.remove(&run), "{run:?} is told a second verdict");
        let closed = self.instances[instance].machine.breaker() == Breaker::Closed;
        assert!(closed || verdict != Verdict::Done, "the job ends, and the breaker is not closed");
        let Some(job) = self.redis.job.as_mut().filter(|job| job.runner == Some((instance, run))) else {
            return;
        };
        if self.redis.down {
            // The worker ends with its connection, and the same task is delivered again.
            (job.runner, job.joined) = (None, None);
            return;
        }
        let next = match verdict {
            Verdict::Done => job.joined,
            Verdict::Again => Some(job.attempt + 1),
            Verdict::Keep => Some(job.attempt),
        };
        self.redis.job = next.map(|attempt| Job::new(attempt, self.now));
        let scheduled = self.redis.job.as_ref().map(|job| Call::Rescheduled(job.scheduled()));
        self.instances[instance].calls.extend(scheduled);
    }

    /// Redis goes away, or comes back: then another worker takes over what was running.
    pub(super) fn toggle_redis(&mut self) {
        self.redis.down = !self.redis.down;
        if let Some(job) = &mut self.redis.job {
            job.runner = None;
        }
    }

    /// The process of this instance has ended.
    pub(super) fn take_over_jobs_of(&mut self, instance: usize) {
        let runs_here = |job: &&mut Job| job.runner.is_some_and(|(runner, _)| runner == instance);
        if let Some(job) = self.redis.job.as_mut().filter(runs_here) {
            job.runner = None;
        }
    }
}
