//! One instance of the service: its two machines, with their inputs and outputs passed on as the actor does. The model has no
//! clock: anything scheduled may fire at any step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::TimeDelta;

use super::super::lease::tenure::{self, Step, Task, Tenure};
use super::super::machine::{Breaker, Input, Output, PublicationMachine, Source};
use super::super::retry::{self, JobRun, RetryMachine, RetryPlace};
use super::redis::Call;
use super::world::{Flight, World};
use crate::journal::StoredEvent;
use crate::transport::DeliveryReport;

pub(super) const WINDOW: usize = 8;
/// Longer than any date is ahead: then every scheduled retry is overdue.
const LATE: TimeDelta = TimeDelta::seconds(10);

pub(super) struct Instance {
    pub(super) machine: PublicationMachine,
    pub(super) retry: RetryMachine,
    /// Reads that are not answered yet.
    pub(super) reads: Vec<(i64, usize)>,
    /// Answers to reads of rows that the machine has not got yet.
    pub(super) rows: Vec<(Source, u64, Vec<Arc<StoredEvent>>)>,
    /// Retries of lanes that wait here, by lane.
    pub(super) lane_timers: BTreeMap<u32, u32>,
    /// Partitions of the topic, as far as this instance knows.
    pub(super) partitions: u32,
    /// Reports that the machine has not got yet.
    pub(super) reports: Vec<(u64, i64, DeliveryReport)>,
    /// Has lost or released the lease, and the machine does not know it yet.
    pub(super) deposed: bool,
    /// Has forfeited its tenure, and the lease's keeper has not reported its end yet.
    forfeited: bool,
    /// The work of the holder's session.
    tenure: Tenure,
    /// Waits for the lease, or has it.
    pub(super) wants_lease: bool,
    /// Calls to Redis under way, and events of the worker, the oldest first.
    pub(super) calls: VecDeque<Call>,
    /// The job's runs that wait for a verdict.
    pub(super) jobs: BTreeSet<JobRun>,
    /// The retry's timer runs.
    timer: bool,
    /// A job's wait for the lease is limited.
    limit: bool,
    /// An attempt was begun, and has neither failed nor succeeded.
    trying: bool,
}

impl Instance {
    pub(super) fn new() -> Self {
        Self {
            machine: PublicationMachine::new(WINDOW),
            retry: RetryMachine::new(TimeDelta::seconds(30)),
            reads: Vec::new(),
            rows: Vec::new(),
            lane_timers: BTreeMap::new(),
            partitions: 0,
            reports: Vec::new(),
            deposed: false,
            forfeited: false,
            tenure: Tenure::default(),
            wants_lease: true,
            calls: VecDeque::new(),
            jobs: BTreeSet::new(),
            timer: false,
            limit: false,
            trying: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.machine.breaker(), Breaker::Open { .. })
    }

    /// Checks the retry machine's invariants, as far as they can be seen from outside.
    pub(super) fn check(&self) {
        let asking = self.calls.iter().any(|call| matches!(call, Call::HandOff { .. }));
        let place = self.retry.plan().map(|plan| plan.place);
        let in_redis = place == Some(RetryPlace::Redis);
        if self.is_open() {
            let comes = asking || in_redis || self.timer || self.trying && self.wants_lease;
            assert!(comes, "the breaker is open, and no retry is coming");
            let idle = in_redis && !asking && !self.trying;
            assert!(!(idle && self.wants_lease), "the lease is kept while the retry lies in Redis");
            assert!(
                !self.timer || place == Some(RetryPlace::Memory),
                "a timer, and the retry is in {place:?}"
            );
        } else {
            assert!(!self.timer, "a timer runs, and the breaker is not open");
        }
        if self.machine.breaker() == Breaker::Closed {
            assert!(self.jobs.is_empty(), "a job is left without a verdict");
            assert!(self.wants_lease, "the breaker is closed, and the lease is not wanted");
        }
    }
}

impl World {
    /// To the publication machine.
    pub(super) fn feed(&mut self, instance: usize, input: Input) {
        let mut outputs: VecDeque<Output> = self.instances[instance].machine.handle(input).into();
        while let Some(output) = outputs.pop_front() {
            let holds = self.holds(instance);
            let of = &mut self.instances[instance];
            match output {
                // The actor asks its clock before it sends; a deposed holder's clock has run out.
                Output::Send { .. } if of.deposed => self.forfeit(instance, &mut outputs),
                Output::Forfeit => self.forfeit(instance, &mut outputs),
                Output::Send { lane, event } => self.send(instance, lane, event),
                Output::Read { after, limit } => of.reads.push((after, limit)),
                Output::ReadRows { of, after, limit, token } if holds => {
                    self.hold(instance, tenure::Input::Task(Task::ReadRows { of, after, limit, token }));
                }
                Output::ReadRows { .. } => {}
                Output::Progress(progress) if holds => {
                    self.hold(instance, tenure::Input::Task(Task::Record(progress)));
                    if !self.writes_late {
                        self.hold(instance, tenure::Input::WriteDue);
                    }
                }
                // The session that would have written it is gone.
                Output::Progress(_) => {}
                Output::Abandon { lane } => self.abandon(instance, lane),
                Output::LaneOpened { lane, attempt, .. } => {
                    of.lane_timers.insert(lane, attempt);
                }
                Output::LaneClosed { lane } => {
                    of.lane_timers.remove(&lane);
                }
                Output::RetryEarly => self.retry(instance, retry::Input::UntriedLane),
                Output::HandOff { attempt, .. } => {
                    of.trying = false;
                    self.retry(instance, retry::Input::Failed { attempt, now: self.now });
                }
                Output::BreakerChanged { to, .. } => {
                    match to {
                        Breaker::Closed => of.trying = false,
                        Breaker::Open { .. } | Breaker::HalfOpen { .. } => of.lane_timers.clear(),
                    }
                    self.retry(instance, retry::Input::Breaker(to));
                }
            }
        }
        let machine = &self.instances[instance].machine;
        assert!(machine.in_flight() <= WINDOW, "too much in flight");
        for lane in 0..machine.lanes() {
            let flies = |flight: &&Flight| {
                (flight.instance, flight.epoch, flight.lane) == (instance, machine.epoch(), lane)
            };
            let flights = self.flights.iter().filter(flies).count();
            assert!(
                flights <= machine.in_flight_of(lane),
                "an event is in flight in another lane than it was sent in"
            );
        }
    }

    /// To the retry's machine.
    pub(super) fn retry(&mut self, instance: usize, input: retry::Input) {
        for output in self.instances[instance].retry.handle(input) {
            let of = &mut self.instances[instance];
            match output {
                retry::Output::HandOff { attempt } => of.calls.push_back(Call::HandOff { attempt }),
                retry::Output::BringForward => of.calls.push_back(Call::BringForward),
                retry::Output::FindJob => of.calls.push_back(Call::FindJob),
                retry::Output::SetTimer { .. } => of.timer = true,
                retry::Output::CancelTimer => of.timer = false,
                retry::Output::LimitWait => of.limit = true,
                retry::Output::CancelLimit => of.limit = false,
                retry::Output::WantLease(wanted) => {
                    of.wants_lease = wanted;
                    if !wanted {
                        self.give_up(instance);
                    }
                }
                retry::Output::Try { attempt } => {
                    of.trying = true;
                    self.feed(instance, Input::Retry { attempt });
                }
                retry::Output::OthersPublished => self.feed(instance, Input::OthersPublished),
                retry::Output::EndRun { run, verdict } => self.settle(instance, run, verdict),
                retry::Output::Note(_) => {}
            }
        }
    }

    /// To the holder's session.
    pub(super) fn hold(&mut self, instance: usize, input: tenure::Input) {
        if !self.holds(instance) {
            return;
        }
        for step in self.instances[instance].tenure.handle(input) {
            match step {
                Step::Write(progress) => self.record(progress),
                Step::ReadRows { of, after, limit, token } => {
                    let rows = self.rows(of, after, limit);
                    self.instances[instance].rows.push((of, token, rows));
                }
                Step::Heartbeat => {}
                Step::Release => self.depose(instance),
            }
        }
    }

    fn give_up(&mut self, instance: usize) {
        self.hold(instance, tenure::Input::GiveUp { left: Vec::new() });
    }

    /// Ends this tenure of the lease; the keeper reports it later.
    fn forfeit(&mut self, instance: usize, outputs: &mut VecDeque<Output>) {
        self.give_up(instance);
        let of = &mut self.instances[instance];
        if !std::mem::replace(&mut of.forfeited, true) {
            self.retry(instance, retry::Input::LeaseLost);
            outputs.extend(self.instances[instance].machine.handle(Input::LeaseLost));
        }
    }

    /// A session that has ended has no work.
    pub(super) fn forget_tenure(&mut self, instance: usize) {
        self.instances[instance].tenure = Tenure::default();
    }

    pub(super) fn notice_deposition(&mut self, instance: usize) {
        let of = &mut self.instances[instance];
        if std::mem::take(&mut of.deposed) {
            of.forfeited = false;
            of.lane_timers.clear();
            self.retry(instance, retry::Input::LeaseLost);
            self.feed(instance, Input::LeaseLost);
        }
    }

    /// A job has waited long enough for the lease.
    pub(super) fn end_wait(&mut self, instance: usize) {
        if std::mem::take(&mut self.instances[instance].limit) {
            self.retry(instance, retry::Input::LeaseWaitOver);
        }
    }

    pub(super) fn ring_timer(&mut self, instance: usize) {
        if std::mem::take(&mut self.instances[instance].timer) {
            self.retry(instance, retry::Input::TimerFired);
        }
    }

    pub(super) fn ring_lane_timers(&mut self, instance: usize) {
        for (lane, attempt) in std::mem::take(&mut self.instances[instance].lane_timers) {
            self.feed(instance, Input::RetryLane { lane, attempt });
        }
    }

    /// If the retry has a date it is overdue now.
    pub(super) fn watch_job(&mut self, instance: usize) {
        self.now += LATE;
        self.retry(instance, retry::Input::Tick { now: self.now });
    }

    /// Whether another instance has published.
    pub(super) fn watch_others(&mut self, instance: usize) {
        let known = self.instances[instance].machine.published();
        let (published, head) = (self.published, self.head());
        let deferred_events = self.deferred.len() as i64;
        self.retry(instance, retry::Input::OutboxSeen { published, head, deferred_events, known });
    }

    pub(super) fn see_the_broker(&mut self, instance: usize) {
        self.retry(instance, retry::Input::TryNow { reason: "The broker answers again" });
    }

    pub(super) fn crash(&mut self, instance: usize) {
        self.depose(instance);
        self.take_over_jobs_of(instance);
        self.instances[instance] = Instance::new();
        // Messages on the wire may still arrive; their reports are lost.
        let mut flights = std::mem::take(&mut self.flights);
        flights.retain(|flight| flight.instance != instance || self.by_chance(1, 2));
        for flight in flights.iter_mut().filter(|flight| flight.instance == instance) {
            flight.epoch = u64::MAX;
        }
        self.flights = flights;
    }
}
