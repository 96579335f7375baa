//! What a worker does with a job that is due, and what happens to the job afterwards.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use super::schedule::{JobRecord, NewJob};
use super::worker::{Runner, stopping};
use super::{Backoff, FallbackError, Verdict, WorkerEvent};

/// How often a task that was delivered early checks whether it has been brought forward.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A task is delivered less than a second early, unless two clocks differ. It waits no longer than this, whatever the difference.
const EARLY_MAX: Duration = Duration::from_secs(2);
/// Between two tries of a step that must not be skipped.
const INSIST_DELAY: Duration = Duration::from_millis(250);

/// What to do with a task that was delivered.
enum WaitOutcome {
    Stale,
    Due(JobRecord),
    /// Its time has not come, and this process is shutting down.
    StillEarly(JobRecord),
}

impl<F, Fut> Runner<F>
where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    /// Returns when the task may be acknowledged: when the record names it no longer.
    pub(super) async fn work(&self, task: &str) {
        match self.wait_until_due(task).await {
            WaitOutcome::Stale => debug!(task, "A stale task of the fallback queue is thrown away"),
            WaitOutcome::StillEarly(record) => self.settle(&record, None).await,
            WaitOutcome::Due(record) => {
                (self.tell)(WorkerEvent::JobStarted { attempt: record.attempt });
                let attempt = async { (self.run)(record.attempt).await };
                let verdict = AssertUnwindSafe(attempt).catch_unwind().await.unwrap_or_else(|_| {
                    error!(attempt = record.attempt, "The publish attempt panicked; the job goes on");
                    Verdict::Again
                });
                self.settle(&record, Some(verdict)).await;
            }
        }
        self.ended.notify_one();
    }

    async fn wait_until_due(&self, task: &str) -> WaitOutcome {
        let latest = Instant::now() + EARLY_MAX;
        loop {
            // Read every time: the date may have changed, or the whole job.
            let record = insist(|| self.inner.schedule.current()).await;
            let Some(record) = record.filter(|record| record.task == task) else { return WaitOutcome::Stale };
            let early = (record.due_at - Utc::now()).to_std().unwrap_or_default();
            if early.is_zero() || Instant::now() >= latest {
                return WaitOutcome::Due(record);
            }
            if stopping(&self.shutdown) {
                return WaitOutcome::StillEarly(record);
            }
            sleep(early.min(LOOK_INTERVAL)).await;
        }
    }

    /// Moves the job on. `before` is the record at the beginning of the attempt. No verdict: there was no attempt.
    async fn settle(&self, before: &JobRecord, verdict: Option<Verdict>) {
        let schedule = &self.inner.schedule;
        loop {
            let record = insist(|| schedule.current()).await;
            let Some(record) = record.filter(|record| record.task == before.task) else { return };
            let stopping = stopping(&self.shutdown);
            let next = next(before, &record, verdict, stopping, &self.inner.settings.backoff);
            // False if a hand-off came in between: then decide again.
            if insist(|| schedule.replace(&record, next.as_ref())).await {
                self.inner.alarm.send_replace(next.as_ref().map(|next| next.scheduled().due_at));
                return (self.tell)(match next {
                    Some(next) => WorkerEvent::Rescheduled(next.scheduled()),
                    None => WorkerEvent::Finished { attempts: record.attempt },
                });
            }
        }
    }
}

/// Repeats `step` until it succeeds. If the worker's life ends first, the task is delivered again. Giving up would acknowledge a
/// task that the record still names.
async fn insist<T, Fut>(step: impl Fn() -> Fut) -> T
where
    Fut: Future<Output = Result<T, FallbackError>>,
{
    loop {
        match step().await {
            Ok(value) => return value,
            Err(error) => debug!(%error, "A step of the fallback job is repeated"),
        }
        sleep(INSIST_DELAY).await;
    }
}

/// The job after this attempt, if any. `before` and `now`: its record at the beginning and the end of the attempt.
fn next(
    before: &JobRecord,
    now: &JobRecord,
    verdict: Option<Verdict>,
    stopping: bool,
    backoff: &Backoff,
) -> Option<NewJob> {
    let after =
        |delay_of: u32, attempt: u32| NewJob::after(backoff.delay(delay_of, &mut rand::rng()), attempt);
    let same_outage = |new_job: NewJob| Some(new_job.of_outage(now.outage));
    match verdict {
        Some(Verdict::Done) if now.hand_offs == before.hand_offs => None,
        // Handed off while it ran: this is the next outage.
        Some(Verdict::Done) => Some(after(now.wanted_attempt, now.wanted_attempt)),
        Some(Verdict::Again) => {
            let attempt = now.attempt.saturating_add(1);
            // The broker came back too late for this attempt. Not due at once: the broker may come back often.
            same_outage(after(if now.forwards == before.forwards { attempt } else { 1 }, attempt))
        }
        Some(Verdict::Keep) if stopping => same_outage(NewJob::at(Utc::now(), now.attempt)),
        Some(Verdict::Keep) => same_outage(after(1, now.attempt)),
        None => same_outage(NewJob::at(now.due_at, now.attempt)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

    fn record(attempt: u32) -> JobRecord {
        let (due_at, outage) = (Utc::now(), Uuid::now_v7());
        JobRecord {
            task: "t".into(),
            outage,
            attempt,
            due_at,
            hand_offs: 0,
            wanted_attempt: attempt,
            forwards: 0,
        }
    }

    fn goes_on(before: &JobRecord, now: &JobRecord, verdict: Option<Verdict>, stopping: bool) -> NewJob {
        next(before, now, verdict, stopping, &BACKOFF).unwrap_or_else(|| panic!("it ends"))
    }

    fn delay_ms(new_job: &NewJob) -> i64 {
        (new_job.scheduled().due_at - Utc::now()).num_milliseconds()
    }

    #[test]
    fn done_ends_the_job() {
        let record = record(4);
        assert!(next(&record, &record, Some(Verdict::Done), false, &BACKOFF).is_none());
    }

    #[test]
    fn done_goes_on_if_the_job_was_handed_off_meanwhile() {
        let before = record(4);
        let now = JobRecord { hand_offs: 1, wanted_attempt: 1, ..before.clone() };
        let next = goes_on(&before, &now, Some(Verdict::Done), false);
        assert_eq!(next.scheduled().attempt, 1);
        assert_ne!(next.outage, before.outage);
        assert!((400..=1_000).contains(&delay_ms(&next)), "{next:?}");
    }

    #[test]
    fn again_grows_and_a_broker_seen_meanwhile_shortens() {
        let before = record(4);
        let seen = JobRecord { forwards: 1, ..before.clone() };
        let patient = goes_on(&before, &before, Some(Verdict::Again), false);
        let hurried = goes_on(&before, &seen, Some(Verdict::Again), false);
        assert_eq!((patient.scheduled().attempt, hurried.scheduled().attempt), (5, 5));
        assert_eq!(patient.outage, before.outage);
        assert!((7_900..=16_000).contains(&delay_ms(&patient)), "{patient:?}");
        assert!((400..=1_000).contains(&delay_ms(&hurried)), "{hurried:?}");
        let last = record(u32::MAX);
        let after_last = goes_on(&last, &last, Some(Verdict::Again), false);
        assert_eq!(after_last.scheduled().attempt, u32::MAX);
    }

    #[test]
    fn keep_keeps_the_number_and_spins_in_no_case() {
        let before = record(4);
        let leaving = goes_on(&before, &before, Some(Verdict::Keep), true);
        let staying = goes_on(&before, &before, Some(Verdict::Keep), false);
        assert_eq!((leaving.scheduled().attempt, staying.scheduled().attempt), (4, 4));
        assert!(delay_ms(&leaving) <= 0, "{leaving:?}");
        assert!((400..=1_000).contains(&delay_ms(&staying)), "{staying:?}");
    }

    #[test]
    fn an_early_job_left_behind_keeps_its_date() {
        let before = record(4);
        let left = goes_on(&before, &before, None, true);
        assert_eq!(left.scheduled(), NewJob::at(before.due_at, 4).scheduled());
    }
}
