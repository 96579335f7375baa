//! After a failure: which instance tries again, and when. A pure machine like [`super::machine`]: inputs in, outputs out, no IO, no
//! clock, no randomness. Times come with the inputs.
//!
//! The publication machine opens its breaker and asks for retry number n. The retry is a job in Redis: it outlives this process,
//! and any instance may run it. So the lease is released, for the instance that runs the job. If Redis cannot take the job, the
//! lease is kept and a timer of this process runs the retry. If Redis loses the job, an instance that sees the retry overdue makes
//! the attempt itself. In each case the first sign that the broker answers again brings the attempt forward.
//!
//! ```text
//!             the breaker opens             Redis has the job, or a timer runs
//!   ┌──────┐ ───────────────────> ┌────────┐ ─────────────────────────────> ┌─────────┐
//!   │ idle │                      │ asking │                                │ waiting │
//!   └──────┘                      └────────┘ <─────────────┐                └─────────┘
//!      ^                                       it fails    │  job, timer, news │   ^
//!      │        the breaker closes                      ┌────────┐ <───────────┘   │
//!      └─────────────────────────────────────────────── │ trying │ ────────────────┘
//!                                                       └────────┘  it fails, and a job in Redis had begun it
//! ```
//!
//! An attempt that does not get the lease has not failed: the holder may be frozen or cut off, and the broker may work. So its job
//! keeps its attempt number and is due again after the base delay. This instance keeps waiting for the lease, and the attempt
//! begins as soon as it is free. An attempt that loses the lease has not failed either: it waits for the lease again.
//!
//! Invariants, after every input:
//! - while the breaker is open a retry is coming: Redis is being asked, or the job's date in Redis is watched, or a timer runs, or
//!   an attempt is under way and wants the lease;
//! - the lease is not wanted while the retry lies in Redis and no attempt is under way;
//! - each run of the job gets one verdict, and none waits for one while the breaker is closed;
//! - a timer runs only while the retry waits in memory.

#[cfg(test)]
mod properties;
mod rules;
#[cfg(test)]
mod tests;
mod watch;

use chrono::{DateTime, TimeDelta, Utc};

pub use self::rules::RetryMachine;
use super::machine::Breaker;
use crate::fallback::{ScheduledRetry, Verdict};

/// A retry that is this late counts as lost: Redis is down, or has lost the job.
pub const OVERDUE: TimeDelta = TimeDelta::seconds(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPlace {
    Redis,
    Memory,
}

impl RetryPlace {
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Memory => "memory",
        }
    }
}

/// Where the next attempt waits, and for when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub place: RetryPlace,
    pub attempt: u32,
    pub due_at: DateTime<Utc>,
}

/// One run of the job in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobRun(pub u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The publication machine's breaker has changed.
    Breaker(Breaker),
    /// The publication machine wants retry number `attempt`: its breaker has just opened.
    Failed { attempt: u32, now: DateTime<Utc> },
    /// The answer to [`Output::HandOff`]: the job is in Redis, or was there before.
    HandedOff(ScheduledRetry),
    /// The answer to [`Output::HandOff`]: Redis cannot take the job. `delay` is by the same policy.
    HandOffFailed { attempt: u32, now: DateTime<Utc>, delay: TimeDelta, why: String },
    /// This instance's worker runs the job.
    JobRuns { run: JobRun, attempt: u32 },
    /// This instance's worker has given the job a new date.
    Rescheduled(ScheduledRetry),
    /// To be told before the publication machine is.
    LeaseGained,
    /// To be told before the publication machine is. Comes twice if the tenure was forfeited before the lease's keeper ended it.
    LeaseLost,
    /// The timer of [`Output::SetTimer`].
    TimerFired,
    /// The timer of [`Output::LimitWait`].
    LeaseWaitOver,
    /// There is reason to try now.
    TryNow { reason: &'static str },
    /// Only some lanes have failed, and another one has an event to send. Its outcome shows whether the broker is at fault.
    UntriedLane,
    /// The answer to [`Output::BringForward`], when it did not work.
    BringForwardFailed { why: String },
    /// Now and then.
    Tick { now: DateTime<Utc> },
    /// The answer to [`Output::FindJob`]; `None` also when Redis does not answer.
    JobFound { found: Option<ScheduledRetry>, now: DateTime<Utc> },
    /// Numbers of the tables, and `known`: the cursor as this instance's publication machine knows it.
    OutboxSeen { published: i64, head: i64, deferred_events: i64, known: i64 },
    /// The process is stopping: no job is run here any more.
    ShuttingDown,
    /// The process is stopping, and nothing is in flight any more.
    Flushed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask Redis to take the retry: create its job, or join the one there is.
    HandOff {
        attempt: u32,
    },
    /// Ask Redis to make the job due now.
    BringForward,
    /// Ask Redis for the job there is.
    FindJob,
    SetTimer {
        delay: TimeDelta,
    },
    CancelTimer,
    /// A job's attempt waits for the lease: limit its wait. Replaces an earlier limit.
    LimitWait,
    CancelLimit,
    /// Acquire the lease and keep it, or release it.
    WantLease(bool),
    /// To the publication machine: [`super::machine::Input::Retry`].
    Try {
        attempt: u32,
    },
    /// To the publication machine: [`super::machine::Input::OthersPublished`].
    OthersPublished,
    EndRun {
        run: JobRun,
        verdict: Verdict,
    },
    /// For log and metrics.
    Note(Note),
}

/// What is logged and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    HandedOff(ScheduledRetry),
    FromMemory { attempt: u32, due_at: DateTime<Utc>, why: String },
    Rescheduled,
    WaitsForLease { attempt: u32 },
    BroughtForward { attempt: u32, place: RetryPlace, reason: &'static str },
    NotBroughtForward { why: String },
    ClockSetBack { due_at: DateTime<Utc> },
    Overdue { attempt: u32 },
}
