//! What a worker does with a job that is due, and what becomes of the job.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use super::schedule::{Planned, Record};
use super::worker::{Runner, stopping};
use super::{Backoff, FallbackError, Verdict, WorkerEvent};

/// How often a job that is at hand before its time looks whether it has been brought forward.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A job is at hand less than a second before its time, unless two clocks differ. No difference holds it longer than this.
const EARLY_MAX: Duration = Duration::from_secs(2);
/// Between two tries of a step that must not be skipped.
const INSIST_DELAY: Duration = Duration::from_millis(250);

/// What to do with a task that is at hand.
enum Turn {
    Stale,
    Now(Record),
    /// It is early, and we are shutting down.
    NotHere(Record),
}

impl<F, Fut> Runner<F>
where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    /// Returns when the task may be acknowledged: when the record names it no longer.
    pub(super) async fn work(&self, task: &str) {
        match self.wait_until_due(task).await {
            Turn::Stale => debug!(task, "A stale task of the fallback queue is thrown away"),
            Turn::NotHere(record) => self.settle(&record, None).await,
            Turn::Now(record) => {
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

    async fn wait_until_due(&self, task: &str) -> Turn {
        let latest = Instant::now() + EARLY_MAX;
        loop {
            // Read anew every time: the date may have changed, or the whole job.
            let record = insist(|| self.inner.schedule.current()).await;
            let Some(record) = record.filter(|record| record.task == task) else { return Turn::Stale };
            let early = (record.due_at - Utc::now()).to_std().unwrap_or_default();
            if early.is_zero() || Instant::now() >= latest {
                return Turn::Now(record);
            }
            if stopping(&self.shutdown) {
                return Turn::NotHere(record);
            }
            sleep(early.min(LOOK_INTERVAL)).await;
        }
    }

    /// Moves the job on. `before` is the record as the attempt began; no verdict: it has not been tried.
    async fn settle(&self, before: &Record, verdict: Option<Verdict>) {
        let schedule = &self.inner.schedule;
        loop {
            let record = insist(|| schedule.current()).await;
            let Some(record) = record.filter(|record| record.task == before.task) else { return };
            let stopping = stopping(&self.shutdown);
            let next = next(before, &record, verdict, stopping, &self.inner.settings.backoff);
            // False if a hand-off came in between: then the decision is to be made again.
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

/// Repeats until it succeeds, or until this life of the worker ends, and then the task is delivered again. Giving up
/// would acknowledge a task that the record still names.
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

/// The job after this attempt, if any. `before` and `now` are its record at the beginning and the end of it.
fn next(
    before: &Record,
    now: &Record,
    verdict: Option<Verdict>,
    stopping: bool,
    backoff: &Backoff,
) -> Option<Planned> {
    let after =
        |delay_of: u32, attempt: u32| Planned::after(backoff.delay(delay_of, &mut rand::rng()), attempt);
    let same_outage = |planned: Planned| Some(planned.of_outage(now.outage));
    match verdict {
        Some(Verdict::Done) if now.hand_offs == before.hand_offs => None,
        // Handed off while it ran: that is the next outage already.
        Some(Verdict::Done) => Some(after(now.wanted_attempt, now.wanted_attempt)),
        Some(Verdict::Again) => {
            let attempt = now.attempt.saturating_add(1);
            // The broker came back too late for this attempt. Not "at once": it may come back often.
            same_outage(after(if now.forwards == before.forwards { attempt } else { 1 }, attempt))
        }
        Some(Verdict::Keep) if stopping => same_outage(Planned::at(Utc::now(), now.attempt)),
        Some(Verdict::Keep) => same_outage(after(1, now.attempt)),
        None => same_outage(Planned::at(now.due_at, now.attempt)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

    fn record(attempt: u32) -> Record {
        let (due_at, outage) = (Utc::now(), Uuid::now_v7());
        Record {
            task: "t".into(),
            outage,
            attempt,
            due_at,
            hand_offs: 0,
            wanted_attempt: attempt,
            forwards: 0,
        }
    }

    fn goes_on(before: &Record, now: &Record, verdict: Option<Verdict>, stopping: bool) -> Planned {
        next(before, now, verdict, stopping, &BACKOFF).unwrap_or_else(|| panic!("it ends"))
    }

    fn delay_ms(planned: &Planned) -> i64 {
        (planned.scheduled().due_at - Utc::now()).num_milliseconds()
    }

    #[test]
    fn done_ends_the_job() {
        let record = record(4);
        assert!(next(&record, &record, Some(Verdict::Done), false, &BACKOFF).is_none());
    }

    #[test]
    fn done_goes_on_if_the_job_was_handed_off_meanwhile() {
        let before = record(4);
        let now = Record { hand_offs: 1, wanted_attempt: 1, ..before.clone() };
        let next = goes_on(&before, &now, Some(Verdict::Done), false);
        assert_eq!(next.scheduled().attempt, 1);
        assert_ne!(next.outage, before.outage);
        assert!((400..=1_000).contains(&delay_ms(&next)), "{next:?}");
    }

    #[test]
    fn again_grows_and_a_broker_seen_meanwhile_shortens() {
        let before = record(4);
        let seen = Record { forwards: 1, ..before.clone() };
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
        assert_eq!(left.scheduled(), Planned::at(before.due_at, 4).scheduled());
    }
}
