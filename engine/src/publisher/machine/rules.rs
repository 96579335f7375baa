//! The rules: what each input changes, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::lane::{self, Lane, Mode, Stream};
use super::window::{Origin, Window};
use super::{Breaker, Deferred, Input, Output, Parked};
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::transport::DeliveryReport;

pub struct PublicationMachine {
    pub(super) epoch: u64,
    pub(super) lease: bool,
    pub(super) stopping: bool,
    pub(super) breaker: Breaker,
    /// The highest position known to be committed.
    pub(super) head: i64,
    pub(super) published: i64,
    /// The next position to take in.
    pub(super) next: i64,
    pub(super) reading: bool,
    pub(super) window: Window,
    pub(super) partitions: u32,
    /// Another number of partitions has been seen. It counts once nothing is in flight: see [`Self::change_partitions`].
    pub(super) partitions_seen: Option<u32>,
    pub(super) lanes: Vec<Lane>,
    /// Lanes under suspicion, the first one first.
    pub(super) suspects: Vec<usize>,
    /// Lanes that are known to fail while the breaker is open.
    pub(super) failing: HashSet<usize>,
    /// Deliveries seen in this tenure.
    pub(super) deliveries: u64,
    /// Most bytes in flight in a lane.
    pub(super) lane_bytes_max: usize,
    pub(super) quarantined: HashSet<AggregateId>,
    /// Released aggregates whose parked events are being read and sent. They are quarantined until all are read.
    pub(super) releases: HashMap<AggregateId, Stream>,
    pub(super) tokens: u64,
    pub(super) parked: Vec<Parked>,
    pub(super) unparked: Vec<i64>,
    pub(super) unquarantined: Vec<AggregateId>,
    pub(super) deferred: Vec<Deferred>,
    pub(super) undeferred: Vec<i64>,
    pub(super) outputs: Vec<Output>,
}

impl PublicationMachine {
    /// `window`: most events held at a time.
    pub fn new(window: usize) -> Self {
        Self {
            epoch: 0,
            lease: false,
            stopping: false,
            breaker: Breaker::Closed,
            head: 0,
            published: 0,
            next: 1,
            reading: false,
            window: Window::new(window),
            partitions: 0,
            partitions_seen: None,
            lanes: vec![Lane::new(true)],
            suspects: Vec::new(),
            failing: HashSet::new(),
            deliveries: 0,
            lane_bytes_max: usize::MAX,
            quarantined: HashSet::new(),
            releases: HashMap::new(),
            tokens: 0,
            parked: Vec::new(),
            unparked: Vec::new(),
            unquarantined: Vec::new(),
            deferred: Vec::new(),
            undeferred: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Changes with every lease. A report of an earlier epoch is not about the present window.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    pub fn holds_lease(&self) -> bool {
        self.lease
    }

    pub fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    pub fn lanes(&self) -> u32 {
        lane::lanes(self.partitions)
    }

    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Deliveries seen in this tenure.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    pub fn in_flight_of(&self, lane: u32) -> usize {
        if lane < self.lanes() { self.window.in_flight_of(lane as usize) } else { 0 }
    }

    /// Whether some lane has as many bytes in flight as it may have.
    pub fn is_limited(&self) -> bool {
        (0..self.lanes.len()).any(|lane| self.window.in_flight_bytes_of(lane) >= self.lane_bytes_max)
    }

    /// From now on a lane has at most so many bytes in flight, or one event.
    pub fn limit_lane_bytes(&mut self, bytes: usize) {
        self.lane_bytes_max = bytes;
    }

    /// Everything up to here is delivered or set aside, as far as this machine has seen.
    pub fn published(&self) -> i64 {
        self.published
    }

    /// The last position known to be committed.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// From now on nothing new is sent; reports of what is in flight are still taken.
    pub fn stop_sending(&mut self) {
        self.stopping = true;
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        match input {
            Input::LeaseGained { published, head, quarantined, partitions, deferred } => {
                if partitions > 0 {
                    self.partitions = partitions;
                }
                self.lease_gained(published, head, quarantined);
                self.find_deferred(&deferred);
            }
            Input::LeaseLost => self.lease_lost(),
            Input::Committed(events) => {
                if let Some(last) = events.last() {
                    self.head = self.head.max(last.seq);
                }
                self.look_for_an_untried_lane(&events);
                self.take_in(events);
            }
            Input::HeadSeen(head) => self.head = self.head.max(head),
            Input::JournalNotified => self.head = self.head.max(self.next),
            Input::Read(events) => {
                self.reading = false;
                if events.is_empty() {
                    // The journal has no gaps, so nothing behind means that this is its end.
                    self.head = self.next - 1;
                }
                self.take_in(events);
            }
            Input::ReadFailed => {
                self.reading = false;
                return self.finish_without_reading();
            }
            Input::Reports { epoch, reports } if epoch == self.epoch => {
                for (seq, report) in reports {
                    self.reported(seq, report);
                }
            }
            Input::Reports { .. } => {}
            Input::BrokerLost { lane, cause } => self.lane_fell_silent(lane, cause, self.deliveries, true),
            Input::Silent { lane, cause, deliveries } => {
                self.lane_fell_silent(lane, cause, deliveries, false);
            }
            Input::Partitions(partitions) => self.partitions_seen = Some(partitions),
            Input::Retry { attempt } => self.retry(attempt),
            Input::RetryLane { lane, attempt } => self.retry_lane(lane, attempt),
            Input::OthersPublished => {
                if !self.lease {
                    self.change_breaker(Breaker::Closed);
                }
            }
            Input::Released(aggregates) => self.released(&aggregates),
            Input::Rows { of, token, events } => self.rows_read(of, token, events),
            Input::Tick => {}
        }
        self.change_partitions();
        self.finish()
    }

    fn retry(&mut self, attempt: u32) {
        match self.breaker {
            Breaker::Open { .. } if self.lease => {
                self.change_breaker(Breaker::HalfOpen { attempt, proven: false });
                self.retry_all_lanes();
            }
            Breaker::Open { .. } => self.breaker = Breaker::Open { attempt },
            Breaker::Closed | Breaker::HalfOpen { .. } => {}
        }
    }

    /// Takes the events that continue the sequence, as far as there is room. Skips events seen before. What follows a gap is read
    /// from the table later.
    fn take_in(&mut self, events: Vec<Arc<StoredEvent>>) {
        if !self.lease || matches!(self.breaker, Breaker::Open { .. }) {
            return;
        }
        for event in events {
            if event.seq < self.next {
                continue;
            }
            if event.seq > self.next || !self.window.has_room() {
                break;
            }
            self.next += 1;
            // An event that is in the window already was read from its row earlier.
            if !self.window.holds(event.seq) {
                self.admit(event);
            }
        }
    }

    /// An event from the journal goes to the producer, or aside.
    pub(super) fn admit(&mut self, event: Arc<StoredEvent>) {
        let lane = self.lane_of(event.aggregate_id);
        match &self.lanes[lane].mode {
            _ if self.quarantined.contains(&event.aggregate_id) => {
                self.set_aside(&event, lane, Origin::Journal)
            }
            Mode::Flowing => self.window.enqueue(event, lane, Origin::Journal),
            // It comes after the rows that are being read.
            Mode::Draining(stream) if stream.asked.is_some() => self.window.hold(event, lane),
            Mode::Draining(_) | Mode::Aside => self.set_aside(&event, lane, Origin::Journal),
        }
    }

    fn reported(&mut self, seq: i64, report: DeliveryReport) {
        // Not in flight any more: its aggregate was quarantined meanwhile, or the same report came twice.
        let Some(ended) = self.window.end_send(seq) else { return };
        match report {
            DeliveryReport::Delivered => {
                match self.window.remove(seq) {
                    Some((_, Origin::Quarantine)) => self.unparked.push(seq),
                    Some((_, Origin::Deferral)) => self.undeferred.push(seq),
                    Some((_, Origin::Journal)) | None => {}
                }
                self.prove(ended.lane);
            }
            DeliveryReport::Refused(error) => {
                self.quarantine(seq, ended.lane, error);
                self.prove(ended.lane);
            }
            DeliveryReport::Unavailable(cause) => {
                if self.lanes[ended.lane].is_aside() {
                    if let Some((event, origin)) = self.window.remove(seq) {
                        self.set_aside(&event, ended.lane, origin);
                    }
                } else {
                    self.window.put_back(seq);
                }
                self.failed(ended.lane, cause, ended.sent, false);
            }
        }
    }

    /// Parks an event that the broker refuses, and every later event of its aggregate.
    fn quarantine(&mut self, seq: i64, lane: usize, error: String) {
        let events = self.window.evict_aggregate_of(seq);
        let Some(aggregate_id) = events.first().map(|(event, _)| event.aggregate_id) else { return };
        self.quarantined.insert(aggregate_id);
        self.releases.remove(&aggregate_id);
        let mut error = Some(error);
        for (event, origin) in events {
            if error.is_some() {
                self.undeferred.push(event.seq);
                self.parked.push(Parked { seq: event.seq, aggregate_id, error: error.take() });
            } else {
                self.set_aside(&event, lane, origin);
            }
        }
    }

    pub(super) fn change_breaker(&mut self, to: Breaker) {
        if self.breaker != to {
            self.outputs.push(Output::BreakerChanged { from: self.breaker, to });
            self.breaker = to;
        }
    }
}
