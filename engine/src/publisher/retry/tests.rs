//! Rule by rule. Together with the publication machine: [`super::super::simulation`].

use super::*;

pub(super) const CAP: TimeDelta = TimeDelta::seconds(30);
const DELAY: TimeDelta = TimeDelta::seconds(1);
const RUN: JobRun = JobRun(1);

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

pub(super) fn scheduled(attempt: u32, due_at: DateTime<Utc>) -> ScheduledRetry {
    ScheduledRetry { attempt, due_at }
}

pub(super) fn open(attempt: u32) -> Input {
    Input::Breaker(Breaker::Open { attempt })
}

pub(super) fn half_open(attempt: u32) -> Input {
    Input::Breaker(Breaker::HalfOpen { attempt, proven: false })
}

fn tell(verdict: Verdict) -> Output {
    Output::EndRun { run: RUN, verdict }
}

/// Without notes, which are for log and metrics.
fn acts(retry: &mut RetryMachine, input: Input) -> Vec<Output> {
    let mut outputs = retry.handle(input);
    outputs.retain(|output| !matches!(output, Output::Note(_)));
    outputs
}

/// The holder's breaker has opened for the first time.
fn asking() -> RetryMachine {
    let mut retry = RetryMachine::new(CAP);
    retry.handle(Input::LeaseGained);
    retry.handle(open(1));
    let outputs = retry.handle(Input::Failed { attempt: 1, now: at(0) });
    assert_eq!(outputs, [Output::HandOff { attempt: 1 }], "the lease is kept until Redis has the job");
    retry
}

/// The job is in Redis, due at second 1, and the lease is given up.
fn in_redis() -> RetryMachine {
    let mut retry = asking();
    let outputs = acts(&mut retry, Input::HandedOff(scheduled(1, at(1))));
    assert_eq!(outputs, [Output::WantLease(false)]);
    assert_eq!(acts(&mut retry, Input::LeaseLost), []);
    assert_eq!(retry.plan(), Some(Plan { place: RetryPlace::Redis, attempt: 1, due_at: at(1) }));
    retry
}

/// Redis does not take it: the lease is kept, a timer runs.
fn in_memory() -> RetryMachine {
    let mut retry = asking();
    let outputs = acts(&mut retry, redis_fails());
    assert_eq!(outputs, [Output::SetTimer { delay: DELAY }]);
    assert_eq!(retry.plan(), Some(Plan { place: RetryPlace::Memory, attempt: 1, due_at: at(1) }));
    retry
}

pub(super) fn redis_fails() -> Input {
    Input::HandOffFailed { attempt: 1, now: at(0), delay: DELAY, why: String::new() }
}

/// The job runs here and waits for the lease.
fn job_in_line() -> RetryMachine {
    let mut retry = in_redis();
    let outputs = acts(&mut retry, Input::JobRuns { run: RUN, attempt: 1 });
    assert_eq!(outputs, [Output::WantLease(true), Output::Try { attempt: 1 }, Output::LimitWait]);
    retry
}

/// It has the lease, and the breaker is half-open.
fn job_tries() -> RetryMachine {
    let mut retry = job_in_line();
    assert_eq!(acts(&mut retry, Input::LeaseGained), [Output::CancelLimit]);
    assert_eq!(acts(&mut retry, half_open(1)), []);
    retry
}

#[test]
fn a_job_that_fails_goes_on_by_itself() {
    let mut retry = job_tries();
    retry.handle(open(2));
    let outputs = acts(&mut retry, Input::Failed { attempt: 2, now: at(1) });
    assert_eq!(outputs, [tell(Verdict::Again), Output::WantLease(false)]);
    retry.handle(Input::Rescheduled(scheduled(2, at(3))));
    assert_eq!(retry.plan(), Some(Plan { place: RetryPlace::Redis, attempt: 2, due_at: at(3) }));
}

#[test]
fn a_job_that_succeeds_is_done() {
    let mut retry = job_tries();
    assert_eq!(acts(&mut retry, Input::Breaker(Breaker::Closed)), [tell(Verdict::Done)]);
    assert_eq!(retry.plan(), None);
}

#[test]
fn a_job_without_the_lease_goes_back_and_the_attempt_stays_in_line() {
    let mut retry = job_in_line();
    assert_eq!(acts(&mut retry, Input::LeaseWaitOver), [tell(Verdict::Keep)]);
    assert_eq!(acts(&mut retry, Input::LeaseGained), []);
    assert_eq!(acts(&mut retry, half_open(1)), []);
    assert_eq!(acts(&mut retry, Input::Breaker(Breaker::Closed)), []);
}

#[test]
fn a_job_that_loses_the_lease_reaches_for_it_again() {
    let mut retry = job_tries();
    assert_eq!(acts(&mut retry, Input::LeaseLost), [Output::LimitWait], "and still wants it");
    retry.handle(open(1));
    assert_eq!(acts(&mut retry, Input::LeaseWaitOver), [tell(Verdict::Keep)]);
}

#[test]
fn a_job_is_told_at_once_when_there_is_nothing_to_try() {
    let run = Input::JobRuns { run: RUN, attempt: 1 };
    assert_eq!(acts(&mut RetryMachine::new(CAP), run.clone()), [tell(Verdict::Done)]);
    let mut retry = in_memory();
    retry.handle(Input::TimerFired);
    retry.handle(half_open(1));
    assert_eq!(acts(&mut retry, run.clone()), [tell(Verdict::Again)], "a retry from memory is at it");
    let mut retry = in_redis();
    retry.handle(Input::ShuttingDown);
    assert_eq!(acts(&mut retry, run), [tell(Verdict::Keep)]);
}

#[test]
fn a_job_that_runs_twice_is_tried_for_the_second_run() {
    let mut retry = job_in_line();
    let outputs = acts(&mut retry, Input::JobRuns { run: JobRun(2), attempt: 1 });
    assert_eq!(outputs, [tell(Verdict::Again), Output::Try { attempt: 1 }, Output::LimitWait]);
}

#[test]
fn from_memory_the_timer_tries_with_the_lease_in_hand() {
    let mut retry = in_memory();
    assert_eq!(acts(&mut retry, Input::TimerFired), [Output::Try { attempt: 1 }]);
}

#[test]
fn an_attempt_that_forfeits_the_lease_still_wants_it() {
    let mut retry = in_memory();
    retry.handle(Input::TimerFired);
    retry.handle(half_open(1));
    assert_eq!(acts(&mut retry, Input::LeaseLost), [], "forfeited");
    retry.handle(open(1));
    assert_eq!(acts(&mut retry, Input::LeaseLost), [], "ended");
    assert_eq!(acts(&mut retry, Input::LeaseGained), []);
}

/// Redis has come back and given its job to this instance, which waited in memory; then it fails again, and no new date comes.
#[test]
fn a_job_that_fails_without_a_new_date_is_overdue_soon() {
    let mut retry = in_memory();
    let outputs = acts(&mut retry, Input::JobRuns { run: RUN, attempt: 1 });
    assert_eq!(outputs, [Output::CancelTimer, Output::Try { attempt: 1 }]);
    retry.handle(half_open(1));
    retry.handle(open(2));
    retry.handle(Input::Failed { attempt: 2, now: at(1) });
    let late = at(1) + OVERDUE + TimeDelta::milliseconds(1);
    assert_eq!(acts(&mut retry, Input::Tick { now: late }), [Output::FindJob]);
}

#[test]
fn news_of_the_broker_bring_the_retry_forward_where_it_is() {
    let news = Input::TryNow { reason: "The broker answers again" };
    assert_eq!(acts(&mut in_redis(), news.clone()), [Output::BringForward]);
    let tries = [Output::CancelTimer, Output::Try { attempt: 1 }];
    assert_eq!(acts(&mut in_memory(), news.clone()), tries);
    assert_eq!(acts(&mut RetryMachine::new(CAP), news), []);
    let mut retry = in_redis();
    let outputs = acts(&mut retry, Input::BringForwardFailed { why: String::new() });
    assert_eq!(outputs, [Output::WantLease(true), Output::Try { attempt: 1 }]);
}

#[test]
fn an_untried_lane_brings_the_retry_forward_once() {
    let mut retry = in_redis();
    assert_eq!(acts(&mut retry, Input::UntriedLane), [Output::BringForward]);
    assert_eq!(acts(&mut retry, Input::UntriedLane), []);
    retry.handle(half_open(1));
    retry.handle(open(1));
    assert_eq!(acts(&mut retry, Input::UntriedLane), [Output::BringForward]);
}

#[test]
fn a_retry_that_does_not_come_is_looked_for_and_taken_over() {
    let mut retry = in_redis();
    assert_eq!(acts(&mut retry, Input::Tick { now: at(1) + OVERDUE }), []);
    let now = at(2) + OVERDUE;
    assert_eq!(acts(&mut retry, Input::Tick { now }), [Output::FindJob]);
    // Another instance runs it.
    let found = Some(scheduled(2, at(9)));
    assert_eq!(acts(&mut retry, Input::JobFound { found, now }), []);
    assert_eq!(retry.plan(), Some(Plan { place: RetryPlace::Redis, attempt: 2, due_at: at(9) }));
    for found in [None, Some(scheduled(2, at(9)))] {
        let mut retry = in_redis();
        retry.handle(Input::Rescheduled(scheduled(2, at(9))));
        let outputs = acts(&mut retry, Input::JobFound { found, now: at(20) });
        assert_eq!(outputs, [Output::WantLease(true), Output::Try { attempt: 2 }]);
        assert_eq!(retry.plan(), Some(Plan { place: RetryPlace::Memory, attempt: 2, due_at: at(20) }));
    }
}

#[test]
fn a_date_beyond_every_delay_shows_that_the_clock_was_set_back() {
    let mut retry = in_redis();
    let now = at(1) - CAP - OVERDUE;
    assert_eq!(acts(&mut retry, Input::Tick { now }), []);
    let now = now - DELAY;
    assert_eq!(acts(&mut retry, Input::Tick { now }), [Output::BringForward]);
    assert_eq!(retry.plan().map(|plan| plan.due_at), Some(now));
}

#[test]
fn others_have_published_when_the_cursor_moved_or_nothing_waits() {
    let seen = |published, head, known| Input::OutboxSeen { published, head, deferred_events: 0, known };
    let others = [Output::OthersPublished];
    assert_eq!(acts(&mut in_redis(), seen(5, 9, 4)), others);
    assert_eq!(acts(&mut in_redis(), seen(4, 4, 4)), others);
    assert_eq!(acts(&mut in_redis(), seen(4, 9, 4)), []);
    let stuck = Input::OutboxSeen { published: 4, head: 4, deferred_events: 1, known: 4 };
    assert_eq!(acts(&mut in_redis(), stuck), [], "what is deferred waits as well");
    assert_eq!(acts(&mut in_memory(), seen(5, 9, 4)), [], "with the lease nobody else can have");
}

#[test]
fn who_stops_gives_the_lease_up_when_nothing_is_in_flight_and_wants_it_no_more() {
    let mut retry = RetryMachine::new(CAP);
    retry.handle(Input::LeaseGained);
    assert_eq!(acts(&mut retry, Input::ShuttingDown), []);
    assert_eq!(acts(&mut retry, Input::Flushed), [Output::WantLease(false)]);
    assert_eq!(acts(&mut retry, Input::LeaseLost), []);
}
