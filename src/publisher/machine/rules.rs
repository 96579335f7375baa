//! The publisher's rules as a pure machine: inputs in, outputs out, no IO, no clock, no randomness.
//!
//! ```text
//!                 first delivery failure                        retry
//!   ┌────────┐ ───────────────────────────> ┌──────┐ ─────────────────────────> ┌───────────┐
//!   │ closed │                              │ open │                            │ half-open │
//!   └────────┘ <──────┐                     └──────┘ <───────────────────────── └───────────┘
//!        ^            │ others published          another delivery failure            │
//!        └────────────┴───────────────────────────────────────────────────────────────┘
//!                                  caught up with the journal's head
//! ```
//!
//! Invariants, after every input:
//! - version n+1 of an order is not sent before version n was delivered (or an operator discarded it);
//! - `published` never passes an event that is neither delivered nor parked, and never moves back;
//! - nothing is sent without the lease, nor while the breaker is open, and only one event until a half-open breaker
//!   has seen a delivery;
//! - at most `window` events are held; the rest stays in the table.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::journal::StoredEvent;
use crate::order::OrderId;

/// Most events asked for in one read: a round trip's worth, far below the window.
const READ_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    Closed,
    /// `attempt`: the number of the retry that will end this state; counts from 1 in each outage.
    Open {
        attempt: u32,
    },
    /// `proven`: the broker has taken an event since the retry began.
    HalfOpen {
        attempt: u32,
        proven: bool,
    },
}

impl Breaker {
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// What the broker, or the client library on its behalf, said about one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Delivered,
    /// The broker cannot be reached or cannot take anything now: an outage, which spends no event's chances.
    Unavailable(String),
    /// This very record is refused, and will be however often it is sent.
    Refused(String),
}

#[derive(Debug, Clone)]
pub enum Input {
    /// This instance is the publisher now. `published`: the cursor; `head`: the journal's last position.
    LeaseGained {
        published: i64,
        head: i64,
        quarantined: Vec<OrderId>,
    },
    LeaseLost,
    /// Events handed over in memory right after their commit.
    Committed(Vec<Arc<StoredEvent>>),
    /// The journal reaches at least this far.
    HeadSeen(i64),
    /// There may be more behind what was taken so far: somebody else appended.
    Woken,
    /// The answer to [`Output::Read`].
    Read(Vec<Arc<StoredEvent>>),
    ReadFailed,
    /// Delivery reports of sends of this epoch, by position.
    Reports {
        epoch: u64,
        reports: Vec<(i64, Report)>,
    },
    /// The client has lost every broker; what is in flight will not arrive.
    BrokerLost(String),
    /// The time for another attempt has come.
    Retry {
        attempt: u32,
    },
    /// Another instance has moved the cursor: the broker is well.
    OthersPublished,
    /// An operator released this order; these are its parked events, in order.
    Released {
        order_id: OrderId,
        events: Vec<Arc<StoredEvent>>,
    },
    /// Something that was refused for the moment may be tried again (a failed read).
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Give this event to the producer; its report comes back with [`Machine::epoch`].
    Send(Arc<StoredEvent>),
    /// Read at most `limit` events behind position `after`.
    Read {
        after: i64,
        limit: usize,
    },
    /// To be written in one transaction, under the lease.
    Progress(Progress),
    /// Drop whatever the producer still holds.
    Abandon,
    /// Arrange for retry number `attempt`, outside this machine.
    HandOff {
        attempt: u32,
        cause: String,
    },
    BreakerChanged {
        from: Breaker,
        to: Breaker,
    },
}

/// What publication has achieved since the last one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is delivered or parked.
    pub published: i64,
    pub parked: Vec<Parked>,
    /// Parked events that have been delivered after a release.
    pub unparked: Vec<i64>,
    /// Orders whose last parked event was discarded: they are well without another delivery.
    pub unquarantined: Vec<OrderId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub seq: i64,
    pub order_id: OrderId,
    /// Why the broker refused it; `None` when it only waits behind a refused event of its order.
    pub error: Option<String>,
}

struct Taken {
    event: Arc<StoredEvent>,
    sent: bool,
    /// Was parked before; its row in the quarantine goes when it is delivered.
    released: bool,
}

pub struct Machine {
    window: usize,
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
    in_flight: usize,
    /// Events taken in and neither delivered nor parked, by position.
    taken: BTreeMap<i64, Taken>,
    /// Each order's taken events in order; only the first may be with the producer.
    gates: HashMap<OrderId, VecDeque<i64>>,
    /// First of their gate and not sent.
    ready: VecDeque<i64>,
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
            window,
            epoch: 0,
            lease: false,
            stopping: false,
            breaker: Breaker::Closed,
            head: 0,
            published: 0,
            next: 1,
            reading: false,
            in_flight: 0,
            taken: BTreeMap::new(),
            gates: HashMap::new(),
            ready: VecDeque::new(),
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
        self.in_flight
    }

    /// Everything up to here is delivered or parked, as far as this machine has seen.
    pub fn published(&self) -> i64 {
        self.published
    }

    pub fn quarantined_orders(&self) -> usize {
        self.quarantined.len()
    }

    /// From now on nothing new is sent; reports of what is in flight are still taken.
    pub fn stop_sending(&mut self) {
        self.stopping = true;
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
                if self.in_flight > 0 {
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
            self.change_breaker(Breaker::Open { attempt });
            self.outputs.push(Output::HandOff { attempt, cause: "the lease was lost during a retry".into() });
        }
    }

    /// What the window held is not lost: it is behind the cursor in the table, and the next holder reads it there.
    fn forget_window(&mut self) {
        self.epoch += 1;
        self.reading = false;
        self.in_flight = 0;
        self.taken.clear();
        self.gates.clear();
        self.ready.clear();
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
            if event.seq > self.next || self.taken.len() >= self.window {
                break;
            }
            self.next += 1;
            if self.taken.contains_key(&event.seq) {
                // Released ahead of its turn and on its way already.
                continue;
            }
            if self.quarantined.contains(&event.order_id) {
                self.parked.push(Parked { seq: event.seq, order_id: event.order_id, error: None });
            } else {
                self.enqueue(event, false);
            }
        }
    }

    fn enqueue(&mut self, event: Arc<StoredEvent>, released: bool) {
        let seq = event.seq;
        let gate = self.gates.entry(event.order_id).or_default();
        gate.push_back(seq);
        if gate.len() == 1 {
            self.ready.push_back(seq);
        }
        self.taken.insert(seq, Taken { event, sent: false, released });
    }

    fn reported(&mut self, seq: i64, report: Report) {
        // Not in flight any more: its order was quarantined meanwhile, or the same report came twice.
        let Some(taken) = self.taken.get_mut(&seq).filter(|taken| taken.sent) else { return };
        taken.sent = false;
        self.in_flight -= 1;
        match report {
            Report::Delivered => {
                self.prove();
                self.delivered(seq);
            }
            Report::Refused(error) => {
                self.prove();
                self.quarantine(seq, error);
            }
            Report::Unavailable(cause) => {
                self.ready.push_back(seq);
                self.open(cause);
            }
        }
    }

    fn prove(&mut self) {
        if let Breaker::HalfOpen { attempt, .. } = self.breaker {
            self.breaker = Breaker::HalfOpen { attempt, proven: true };
        }
    }

    fn delivered(&mut self, seq: i64) {
        let Some(taken) = self.taken.remove(&seq) else { return };
        if taken.released {
            self.unparked.push(seq);
        }
        let order_id = taken.event.order_id;
        let Some(gate) = self.gates.get_mut(&order_id) else { return };
        gate.pop_front();
        match gate.front() {
            Some(&next) => self.ready.push_back(next),
            None => {
                self.gates.remove(&order_id);
            }
        }
    }

    /// Parks an event for its own fault, and with it every later one of its order.
    fn quarantine(&mut self, seq: i64, error: String) {
        let Some(order_id) = self.taken.get(&seq).map(|taken| taken.event.order_id) else { return };
        self.quarantined.insert(order_id);
        let mut error = Some(error);
        for seq in self.gates.remove(&order_id).unwrap_or_default() {
            self.taken.remove(&seq);
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
            self.enqueue(event, true);
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
            if !self.reading && self.next <= self.head && self.taken.len() <= self.window / 2 {
                self.reading = true;
                let limit = (self.window - self.taken.len()).min(READ_MAX);
                self.outputs.push(Output::Read { after: self.next - 1, limit });
            }
        }
        self.finish_without_reading()
    }

    fn finish_without_reading(&mut self) -> Vec<Output> {
        self.progress();
        let caught_up = self.taken.is_empty() && self.next > self.head;
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
        let first_unfinished = self.taken.range(self.published + 1..).next();
        // A released event may lie ahead of what was taken in so far.
        let published = first_unfinished.map_or(self.next, |(seq, _)| self.next.min(*seq)) - 1;
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
            let Some(seq) = self.ready.pop_front() else { return };
            // A quarantine removes events without looking for them in here.
            let Some(taken) = self.taken.get_mut(&seq).filter(|taken| !taken.sent) else { continue };
            taken.sent = true;
            self.in_flight += 1;
            self.outputs.push(Output::Send(Arc::clone(&taken.event)));
        }
    }

    fn may_send(&self) -> bool {
        self.lease
            && !self.stopping
            && match self.breaker {
                Breaker::Closed | Breaker::HalfOpen { proven: true, .. } => true,
                Breaker::HalfOpen { proven: false, .. } => self.in_flight == 0,
                Breaker::Open { .. } => false,
            }
    }
}
