//! After a failure: who tries again, and when. A pure machine like [`super::machine`]: inputs in, outputs out, no IO, no clock, no randomness;
//! times come with the inputs.
//!
//! The publication machine opens its breaker and asks for retry number n. The retry is a job in Redis, which outlives this process and may be
//! run by any instance; the lease is given up with it, so that its runner can take it. If Redis cannot take the job, the lease is kept and a
//! timer here does the same. If Redis loses the job, or dies with it, an instance that sees the retry overdue takes it over. Either way the
//! first sign that the broker answers again brings the attempt forward.
//!
//! ```text
//!             the breaker opens             Redis has the job, or a timer runs
//!   ┌──────┐ ───────────────────> ┌────────┐ ─────────────────────────────> ┌─────────┐
//!   │ well │                      │ asking │                                │ waiting │
//!   └──────┘                      └────────┘ <─────────────┐                └─────────┘
//!      ^                                       it fails    │  job, timer, news │   ^
//!      │        the breaker closes                      ┌────────┐ <───────────┘   │
//!      └─────────────────────────────────────────────── │ trying │ ────────────────┘
//!                                                       └────────┘  it fails, and a job in Redis had begun it
//! ```
//!
//! An attempt that does not get the lease has not failed: the holder may be frozen or cut off, which says nothing of the broker. So its job
//! keeps its number and comes again after the base delay, and this instance stays in line: the attempt begins the moment the lease is free.
//! An attempt that loses the lease has not failed either, and reaches for it again.
//!
//! Invariants, after every input:
//! - while the breaker is open a retry is coming: Redis is being asked, or the job in Redis has a date that is watched, or a timer runs, or an
//!   attempt is under way and wants the lease;
//! - the lease is not wanted while the retry lies in Redis and no attempt is under way;
//! - each job is told one verdict, and none is in hand while the breaker is closed;
//! - a timer runs only while the retry waits in memory.

#[cfg(test)]
mod properties;
mod rules;
#[cfg(test)]
mod tests;
mod watch;

use chrono::{DateTime, TimeDelta, Utc};

pub use self::rules::Retry;
use super::machine::Breaker;
use crate::fallback::{Scheduled, Verdict};

/// A retry that is this late is not coming: Redis is down, or has lost it.
pub const OVERDUE: TimeDelta = TimeDelta::seconds(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Redis,
    Memory,
}

impl Place {
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
    pub place: Place,
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
    HandedOff(Scheduled),
    /// The answer to [`Output::HandOff`]: Redis cannot take the job. `delay` is by the same policy.
    HandOffFailed { attempt: u32, now: DateTime<Utc>, delay: TimeDelta, why: String },
    /// This instance's worker runs the job.
    JobRuns { run: JobRun, attempt: u32 },
    /// This instance's worker has given the job a new date.
    Rescheduled(Scheduled),
    /// To be told before the publication machine is.
    LeaseGained,
    /// To be told before the publication machine is; twice if the tenure was forfeited before the lease's keeper ended it.
    LeaseLost,
    /// The timer of [`Output::SetTimer`].
    TimerRang,
    /// The timer of [`Output::LimitWait`].
    WaitedEnough,
    /// There is reason to try now.
    TryNow { reason: &'static str },
    /// Only some lanes have failed, and another one has something to send: what becomes of it shows whether the broker is at fault.
    UntriedLane,
    /// The answer to [`Output::BringForward`], when it did not work.
    BringForwardFailed { why: String },
    /// Now and then.
    Tick { now: DateTime<Utc> },
    /// The answer to [`Output::LookForJob`]; `None` also when Redis does not answer.
    JobLookedFor { found: Option<Scheduled>, now: DateTime<Utc> },
    /// The tables' numbers, and the cursor as far as this instance's publication machine knows.
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
    LookForJob,
    SetTimer {
        delay: TimeDelta,
    },
    CancelTimer,
    /// An attempt of a job waits for the lease: limit that. Replaces an earlier limit.
    LimitWait,
    CancelLimit,
    /// Reach for the lease and keep it, or give it up.
    WantLease(bool),
    /// To the publication machine: [`super::machine::Input::Retry`].
    Try {
        attempt: u32,
    },
    /// To the publication machine: [`super::machine::Input::OthersPublished`].
    OthersPublished,
    Tell {
        run: JobRun,
        verdict: Verdict,
    },
    /// For log and metrics.
    Note(Note),
}

/// What whoever looks on is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    HandedOff(Scheduled),
    FromMemory { attempt: u32, due_at: DateTime<Utc>, why: String },
    Rescheduled,
    WaitsForLease { attempt: u32 },
    BroughtForward { attempt: u32, place: Place, reason: &'static str },
    NotBroughtForward { why: String },
    ClockSetBack { due_at: DateTime<Utc> },
    Overdue { attempt: u32 },
}
