//! The rules: what each input changes, and what follows from it.

use std::collections::HashSet;
use std::sync::Arc;

use super::window::Window;
use super::{Breaker, Input, Output, Parked, Progress, Report};
use crate::journal::StoredEvent;
use crate::order::OrderId;

/// Most events asked for in one read: a round trip's worth, far below the window.
const READ_MAX: usize = 2_000;

pub struct Machine {
    epoch: u64,
    lease: bool,
    stopping: bool,
    breaker: Breaker,
    /// The highest position known to be committed.
    head: i64,
    published: i64,
    /// The next position to take in.
    next: i64,
    reading: bool,
    window: Window,
    quarantined: HashSet<OrderId>,
    parked: Vec<Parked>,
    unparked: Vec<i64>,
    unquarantined: Vec<OrderId>,
    outputs: Vec<Output>,
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
            quarantined: HashSet::new(),
            parked: Vec::new(),
            unparked: Vec::new(),
            unquarantined: Vec::new(),
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

    /// Everything up to here is delivered or parked, as far as this machine has seen.
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
            Input::LeaseGained { published, head, quarantined } => {
                self.lease_gained(published, head, quarantined);
            }
            Input::LeaseLost => self.lease_lost(),
            Input::Committed(events) => {
                if let Some(last) = events.last() {
                    self.head = self.head.max(last.seq);
                }
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
            Input::BrokerLost(cause) => {
                if self.window.in_flight() > 0 {
                    self.open(cause);
                }
            }
            Input::Retry { attempt } => self.retry(attempt),
            Input::OthersPublished => {
                if !self.lease {
                    self.change_breaker(Breaker::Closed);
                }
            }
            Input::Released { order_id, events } => self.released(order_id, events),
            Input::Tick => {}
        }
        self.finish()
    }

    fn lease_gained(&mut self, published: i64, head: i64, quarantined: Vec<OrderId>) {
        self.forget_window();
        self.lease = true;
        self.published = published;
        self.next = published + 1;
        self.head = head;
        self.quarantined = quarantined.into_iter().collect();
        if let Breaker::Open { attempt } = self.breaker {
            self.change_breaker(Breaker::HalfOpen { attempt, proven: false });
        }
    }

    fn lease_lost(&mut self) {
        self.lease = false;
        self.forget_window();
        if let Breaker::HalfOpen { attempt, .. } = self.breaker {
            // Not a failure of the broker: the same attempt goes on with the lease.
            self.change_breaker(Breaker::Open { attempt });
        }
    }

    /// What the window held is not lost: it is behind the cursor in the table, and the next holder reads it there.
    fn forget_window(&mut self) {
        self.epoch += 1;
        self.reading = false;
        self.window.clear();
        self.parked.clear();
        self.unparked.clear();
        self.unquarantined.clear();
    }

    fn retry(&mut self, attempt: u32) {
        match self.breaker {
            Breaker::Open { .. } if self.lease => {
                self.change_breaker(Breaker::HalfOpen { attempt, proven: false });
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
            if self.window.holds(event.seq) {
                // Released ahead of its turn and on its way already.
                continue;
            }
            if self.quarantined.contains(&event.order_id) {
                self.parked.push(Parked { seq: event.seq, order_id: event.order_id, error: None });
            } else {
                self.window.enqueue(event, false);
            }
        }
    }

    fn reported(&mut self, seq: i64, report: Report) {
        // Not in flight any more: its order was quarantined meanwhile, or the same report came twice.
        if !self.window.land(seq) {
            return;
        }
        match report {
            Report::Delivered => {
                self.prove();
                if self.window.delivered(seq) {
                    self.unparked.push(seq);
                }
            }
            Report::Refused(error) => {
                self.prove();
                self.quarantine(seq, error);
            }
            Report::Unavailable(cause) => {
                self.window.put_back(seq);
                self.open(cause);
            }
        }
    }

    fn prove(&mut self) {
        if let Breaker::HalfOpen { attempt, .. } = self.breaker {
            self.breaker = Breaker::HalfOpen { attempt, proven: true };
        }
    }

    /// Parks an event for its own fault, and with it every later one of its order.
    fn quarantine(&mut self, seq: i64, error: String) {
        let Some((order_id, seqs)) = self.window.evict_order_of(seq) else { return };
        self.quarantined.insert(order_id);
        let mut error = Some(error);
        for seq in seqs {
            self.parked.push(Parked { seq, order_id, error: error.take() });
        }
    }

    fn released(&mut self, order_id: OrderId, events: Vec<Arc<StoredEvent>>) {
        if !self.lease {
            return;
        }
        let was_quarantined = self.quarantined.remove(&order_id);
        if events.is_empty() {
            self.unquarantined.push(order_id);
        }
        // If it was not, they are on their way already: the release is told again until their rows are gone.
        for event in events.into_iter().filter(|_| was_quarantined) {
            self.window.enqueue(event, true);
        }
    }

    fn open(&mut self, cause: String) {
        let attempt = match self.breaker {
            Breaker::Open { .. } => return,
            Breaker::Closed => 1,
            Breaker::HalfOpen { attempt, .. } => attempt.saturating_add(1),
        };
        self.outputs.push(Output::Abandon);
        self.change_breaker(Breaker::Open { attempt });
        self.outputs.push(Output::HandOff { attempt, cause });
    }

    fn change_breaker(&mut self, to: Breaker) {
        if self.breaker != to {
            self.outputs.push(Output::BreakerChanged { from: self.breaker, to });
            self.breaker = to;
        }
    }

    /// What follows from the new state, whatever the input was.
    fn finish(&mut self) -> Vec<Output> {
        if self.lease && !matches!(self.breaker, Breaker::Open { .. }) {
            // Half a window free before reading on: few large reads instead of many small ones.
            if !self.reading && self.next <= self.head && self.window.is_half_empty() {
                self.reading = true;
                let limit = self.window.room().min(READ_MAX);
                self.outputs.push(Output::Read { after: self.next - 1, limit });
            }
        }
        self.finish_without_reading()
    }

    fn finish_without_reading(&mut self) -> Vec<Output> {
        self.progress();
        let caught_up = self.window.is_empty() && self.next > self.head;
        if self.lease && caught_up && matches!(self.breaker, Breaker::HalfOpen { .. }) {
            self.change_breaker(Breaker::Closed);
        }
        self.send_ready();
        std::mem::take(&mut self.outputs)
    }

    fn progress(&mut self) {
        if !self.lease {
            return;
        }
        let first_unfinished = self.window.first_behind(self.published);
        // A released event may lie ahead of what was taken in so far.
        let published = first_unfinished.map_or(self.next, |seq| self.next.min(seq)) - 1;
        let quarantine_changed =
            !self.parked.is_empty() || !self.unparked.is_empty() || !self.unquarantined.is_empty();
        if published > self.published || quarantine_changed {
            self.published = self.published.max(published);
            self.outputs.push(Output::Progress(Progress {
                published: self.published,
                parked: std::mem::take(&mut self.parked),
                unparked: std::mem::take(&mut self.unparked),
                unquarantined: std::mem::take(&mut self.unquarantined),
            }));
        }
    }

    fn send_ready(&mut self) {
        while self.may_send() {
            let Some(event) = self.window.send_next() else { return };
            self.outputs.push(Output::Send(event));
        }
    }

    fn may_send(&self) -> bool {
        self.lease
            && !self.stopping
            && match self.breaker {
                Breaker::Closed | Breaker::HalfOpen { proven: true, .. } => true,
                Breaker::HalfOpen { proven: false, .. } => self.window.in_flight() == 0,
                Breaker::Open { .. } => false,
            }
    }
}
