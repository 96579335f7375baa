//! One instance of the service: its machine, and what the actor around it does in [`super::super::retry`], without its clock:
//! whatever is due at some time may be due at any step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::machine::{Breaker, Input, Machine, Report, Source};
use super::world::{Job, World};
use crate::journal::StoredEvent;

pub(super) const WINDOW: usize = 8;

pub(super) struct Instance {
    pub(super) machine: Machine,
    /// Reads asked for and not answered.
    pub(super) reads: Vec<(i64, usize)>,
    /// Answers to reads of what was set aside, on their way.
    pub(super) rows: Vec<(Source, u64, Vec<Arc<StoredEvent>>)>,
    /// Retries of lanes that wait here, by lane.
    pub(super) lane_timers: BTreeMap<u32, u32>,
    /// Partitions of the topic, as far as this instance knows.
    pub(super) partitions: u32,
    /// Reports on their way.
    pub(super) reports: Vec<(u64, i64, Report)>,
    /// Lost the lease, or gave it up, and has not been told.
    pub(super) deposed: bool,
    /// Stands in line for the lease, or has it.
    pub(super) wants_lease: bool,
    /// A retry that Redis has been asked to take and has not answered for.
    pub(super) handing_off: Option<u32>,
    /// The retry is a job in Redis, as far as this instance knows.
    retry_in_redis: bool,
    /// The retry waits here.
    timer: bool,
    /// This instance runs the job.
    has_job: bool,
}

impl Instance {
    pub(super) fn new() -> Self {
        Self {
            machine: Machine::new(WINDOW),
            reads: Vec::new(),
            rows: Vec::new(),
            lane_timers: BTreeMap::new(),
            partitions: 0,
            reports: Vec::new(),
            deposed: false,
            wants_lease: true,
            handing_off: None,
            retry_in_redis: false,
            timer: false,
            has_job: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.machine.breaker(), Breaker::Open { .. })
    }
}

impl World {
    pub(super) fn hand_off(&mut self, instance: usize, attempt: u32) {
        let of = &mut self.instances[instance];
        if !std::mem::take(&mut of.has_job) {
            of.handing_off = Some(attempt);
            return;
        }
        of.retry_in_redis = true;
        // Redis may have forgotten the job while it ran.
        if let Some(job) = self.job.as_mut().filter(|job| job.runner == Some(instance)) {
            *job = Job { attempt, runner: None };
        }
        self.give_up(instance);
    }

    /// Redis answers a hand-off, or it fails.
    pub(super) fn answer_hand_off(&mut self, instance: usize) {
        let open = self.instances[instance].is_open();
        let Some(attempt) = self.instances[instance].handing_off.take().filter(|_| open) else { return };
        if self.redis_up {
            self.job.get_or_insert(Job { attempt, runner: None });
            self.instances[instance].retry_in_redis = true;
            self.give_up(instance);
        } else {
            self.instances[instance].retry_in_redis = false;
            self.instances[instance].timer = true;
        }
    }

    fn give_up(&mut self, instance: usize) {
        self.instances[instance].wants_lease = false;
        self.depose(instance);
    }

    /// A worker finds the job due.
    pub(super) fn run_job(&mut self, instance: usize) {
        let due = self.job.as_ref().filter(|job| self.redis_up && job.runner.is_none());
        let Some(attempt) = due.map(|job| job.attempt) else { return };
        match self.instances[instance].machine.breaker() {
            Breaker::Closed => self.job = None,
            Breaker::HalfOpen { .. } => {}
            Breaker::Open { .. } => {
                self.job = Some(Job { attempt, runner: Some(instance) });
                self.instances[instance].has_job = true;
                self.begin_attempt(instance, attempt);
            }
        }
    }

    fn begin_attempt(&mut self, instance: usize, attempt: u32) {
        self.instances[instance].timer = false;
        self.instances[instance].wants_lease = true;
        self.feed(instance, Input::Retry { attempt });
    }

    /// The job has waited long enough for the lease.
    pub(super) fn lose_patience(&mut self, instance: usize) {
        let of = &mut self.instances[instance];
        if of.has_job && of.is_open() && !of.machine.holds_lease() {
            of.has_job = false;
            self.put_job_back(instance);
        }
    }

    fn put_job_back(&mut self, instance: usize) {
        if let Some(job) = self.job.as_mut().filter(|job| job.runner == Some(instance)) {
            job.runner = None;
        }
    }

    pub(super) fn ring_timer(&mut self, instance: usize) {
        if let Breaker::Open { attempt } = self.instances[instance].machine.breaker()
            && self.instances[instance].timer
        {
            self.begin_attempt(instance, attempt);
        }
    }

    pub(super) fn ring_lane_timers(&mut self, instance: usize) {
        for (lane, attempt) in std::mem::take(&mut self.instances[instance].lane_timers) {
            self.feed(instance, Input::RetryLane { lane, attempt });
        }
    }

    /// The job is late: nobody may be coming.
    pub(super) fn miss_the_job(&mut self, instance: usize) {
        let of = &mut self.instances[instance];
        if let Breaker::Open { attempt } = of.machine.breaker()
            && of.retry_in_redis
            && !of.has_job
        {
            of.retry_in_redis = false;
            self.begin_attempt(instance, attempt);
        }
    }

    /// With an open breaker: has somebody else published?
    pub(super) fn watch_others(&mut self, instance: usize) {
        let of = &self.instances[instance];
        let moved = self.published > of.machine.published() || self.published >= self.head();
        if of.is_open() && !of.machine.holds_lease() && moved {
            self.feed(instance, Input::OthersPublished);
        }
    }

    pub(super) fn breaker_closed(&mut self, instance: usize) {
        let of = &mut self.instances[instance];
        (of.wants_lease, of.timer, of.retry_in_redis) = (true, false, false);
        if std::mem::take(&mut of.has_job)
            && self.job.as_ref().is_some_and(|job| job.runner == Some(instance))
        {
            self.job = None;
        }
    }

    pub(super) fn notice_deposition(&mut self, instance: usize) {
        let of = &mut self.instances[instance];
        if std::mem::take(&mut of.deposed) {
            of.wants_lease = !of.is_open();
            of.lane_timers.clear();
            self.feed(instance, Input::LeaseLost);
        }
    }

    pub(super) fn crash(&mut self, instance: usize) {
        self.depose(instance);
        self.put_job_back(instance);
        self.instances[instance] = Instance::new();
        // What was on the wire may still arrive; nobody hears of it.
        let mut flights = std::mem::take(&mut self.flights);
        flights.retain(|flight| flight.instance != instance || self.by_chance(1, 2));
        for flight in flights.iter_mut().filter(|flight| flight.instance == instance) {
            flight.epoch = u64::MAX;
        }
        self.flights = flights;
    }
}
