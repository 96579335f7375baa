//! The rules: what each input changes, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::lane::{self, Lane, Mode, Stream};
use super::window::{Origin, Window};
use super::{Breaker, Deferred, Input, Output, Parked, Progress};
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::transport::DeliveryReport;

/// Most events asked for in one read: a round trip's worth, far below the window.
pub(super) const READ_MAX: usize = 2_000;

pub struct Machine {
    epoch: u64,
    pub(super) lease: bool,
    stopping: bool,
    pub(super) breaker: Breaker,
    /// The highest position known to be committed.
    head: i64,
    published: i64,
    /// The next position to take in.
    pub(super) next: i64,
    pub(super) reading: bool,
    pub(super) window: Window,
    pub(super) partitions: u32,
    pub(super) lanes: Vec<Lane>,
    /// Lanes under suspicion, the first one first.
    pub(super) suspects: Vec<usize>,
    /// Lanes that are known to fail while the breaker is open.
    pub(super) failing: HashSet<usize>,
    /// Deliveries seen in this tenure.
    pub(super) deliveries: u64,
    /// Most bytes in flight in a lane.
    lane_bytes_max: usize,
    pub(super) quarantined: HashSet<AggregateId>,
    /// Released aggregates whose parked events are being read and sent. They are quarantined until all are read.
    pub(super) releases: HashMap<AggregateId, Stream>,
    pub(super) tokens: u64,
    pub(super) parked: Vec<Parked>,
    unparked: Vec<i64>,
    pub(super) unquarantined: Vec<AggregateId>,
    pub(super) deferred: Vec<Deferred>,
    pub(super) undeferred: Vec<i64>,
    pub(super) outputs: Vec<Output>,
}

impl Machine {
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

    /// Changes with every lease; a report of an earlier epoch says nothing about the present window.
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

    /// Whether `bytes` in flight a lane were reached.
    pub fn is_limited(&self) -> bool {
        (0..self.lanes.len()).any(|lane| self.window.in_flight_bytes_of(lane) >= self.lane_bytes_max)
    }

    /// From now on at most so many bytes are in flight in a lane, or one event.
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
            Input::Woken => self.head = self.head.max(self.next),
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
            Input::Partitions(partitions) => self.partitions_seen(partitions),
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
        self.finish()
    }

    fn lease_gained(&mut self, published: i64, head: i64, quarantined: Vec<AggregateId>) {
        self.lease = true;
        self.published = published;
        self.next = published + 1;
        self.head = head;
        if let Breaker::Open { attempt } = self.breaker {
            self.change_breaker(Breaker::HalfOpen { attempt, proven: false });
        }
        self.forget_window();
        self.quarantined = quarantined.into_iter().collect();
    }

    fn lease_lost(&mut self) {
        self.lease = false;
        self.forget_window();
        if let Breaker::HalfOpen { attempt, .. } = self.breaker {
            // Not a failure of the broker: the same attempt goes on with the lease.
            self.change_breaker(Breaker::Open { attempt });
        }
    }

    /// What the window held is not lost: it is behind the cursor in the table, or set aside, and the next holder reads it there.
    fn forget_window(&mut self) {
        self.epoch += 1;
        self.reading = false;
        self.forget_lanes();
        self.releases.clear();
        self.parked.clear();
        self.unparked.clear();
        self.unquarantined.clear();
        self.deferred.clear();
        self.undeferred.clear();
    }

    /// A partition count that is news. While something is set aside by the old one the lease is taken anew: who gains it finds
    /// what was set aside divided by the new one.
    fn partitions_seen(&mut self, partitions: u32) {
        if partitions == 0 || partitions == self.partitions {
            return;
        }
        let flows = |lane: &Lane| lane.is_flowing() && lane.is_well() && !lane.opened;
        // What was read from rows has them still until it is delivered.
        let rows_are_left = self.window.has_deferred() || !self.lanes.iter().all(flows);
        if self.lease && rows_are_left {
            return self.outputs.push(Output::Forfeit);
        }
        self.partitions = partitions;
        let lanes = self.lanes() as usize;
        let proven = self.lanes.iter().all(|lane| lane.proven);
        self.lanes.clear();
        self.lanes.resize_with(lanes, || Lane::new(proven));
        self.window.relane(lanes, |aggregate_id| lane::lane_of(aggregate_id, partitions) as usize);
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

    /// Takes what continues the sequence, as far as there is room. Events seen before are skipped; after a gap the rest
    /// is left to a read.
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
            // One that is held was released or deferred ahead of its turn, and is on its way already.
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
            // Its place is behind what is just being read.
            Mode::Draining(stream) if stream.asked.is_some() => self.window.hold(event, lane),
            Mode::Draining(_) | Mode::Aside => self.set_aside(&event, lane, Origin::Journal),
        }
    }

    fn reported(&mut self, seq: i64, report: DeliveryReport) {
        // Not in flight any more: its order was quarantined meanwhile, or the same report came twice.
        let Some(landed) = self.window.land(seq) else { return };
        match report {
            DeliveryReport::Delivered => {
                match self.window.remove(seq) {
                    Some((_, Origin::Quarantine)) => self.unparked.push(seq),
                    Some((_, Origin::Deferral)) => self.undeferred.push(seq),
                    Some((_, Origin::Journal)) | None => {}
                }
                self.prove(landed.lane);
            }
            DeliveryReport::Refused(error) => {
                self.quarantine(seq, landed.lane, error);
                self.prove(landed.lane);
            }
            DeliveryReport::Unavailable(cause) => {
                if self.lanes[landed.lane].is_aside() {
                    if let Some((event, origin)) = self.window.remove(seq) {
                        self.set_aside(&event, landed.lane, origin);
                    }
                } else {
                    self.window.put_back(seq);
                }
                self.failed(landed.lane, cause, landed.sent, false);
            }
        }
    }

    /// Parks an event for its own fault, and with it every later one of its aggregate.
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

    /// What follows from the new state, whatever the input was.
    fn finish(&mut self) -> Vec<Output> {
        self.make_room();
        self.judge();
        if self.lease && !matches!(self.breaker, Breaker::Open { .. }) {
            // Half a window free before reading on: few large reads instead of many small ones. What the broker is tried with may come from
            // anywhere in the window.
            let tries =
                matches!(self.breaker, Breaker::HalfOpen { proven: false, .. }) && self.window.has_room();
            if !self.reading && self.next <= self.head && (self.window.is_half_empty() || tries) {
                self.reading = true;
                let limit = self.window.room().min(READ_MAX);
                self.outputs.push(Output::Read { after: self.next - 1, limit });
            }
        }
        self.finish_without_reading()
    }

    fn finish_without_reading(&mut self) -> Vec<Output> {
        self.judge();
        self.begin_due_lanes();
        self.progress();
        self.close_lanes();
        self.close_breaker();
        self.read_rows();
        self.send_ready();
        std::mem::take(&mut self.outputs)
    }

    /// Once all is published, or set aside; though what is set aside proves nothing, unless some other event was delivered.
    fn close_breaker(&mut self) {
        let Breaker::HalfOpen { proven, .. } = self.breaker else { return };
        let caught_up = self.window.is_empty() && self.next > self.head;
        if self.lease && caught_up && (proven || self.lanes.iter().all(Lane::is_flowing)) {
            self.change_breaker(Breaker::Closed);
        }
    }

    fn progress(&mut self) {
        if !self.lease {
            return;
        }
        let first_unfinished = self.window.first_behind(self.published);
        // A released event may lie ahead of what was taken in so far.
        let published = first_unfinished.map_or(self.next, |seq| self.next.min(seq)) - 1;
        let progress = Progress {
            published: self.published.max(published),
            parked: std::mem::take(&mut self.parked),
            deferred: std::mem::take(&mut self.deferred),
            undeferred: std::mem::take(&mut self.undeferred),
            unparked: std::mem::take(&mut self.unparked),
            unquarantined: std::mem::take(&mut self.unquarantined),
        };
        if progress.published > self.published || !progress.is_plain() {
            self.published = progress.published;
            self.outputs.push(Output::Progress(progress));
        }
    }

    fn send_ready(&mut self) {
        for lane in 0..self.lanes.len() {
            while self.may_send(lane) {
                let Some(event) = self.window.send_next(lane, self.deliveries) else { break };
                self.outputs.push(Output::Send { lane: lane as u32, event });
            }
        }
    }

    fn may_send(&self, lane: usize) -> bool {
        let of = &self.lanes[lane];
        let one = self.window.in_flight_of(lane) == 0;
        let more = of.proven && self.window.in_flight_bytes_of(lane) < self.lane_bytes_max;
        self.lease
            && !self.stopping
            && !matches!(self.breaker, Breaker::Open { .. })
            && of.is_well()
            && (one || more)
    }
}
