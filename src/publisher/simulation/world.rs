//! The model of what is around the instances: a journal, a broker that fails and forgets to answer, a Redis that forgets, a lease
//! that is taken away at the worst moment; and the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::DateTime;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::super::machine::{Breaker, Input, Output, Progress, Report};
use super::instance::{Instance, WINDOW};
use crate::journal::StoredEvent;
use crate::order::OrderId;

pub(super) const INSTANCES: usize = 3;
const ORDERS: usize = 5;

pub(super) struct Flight {
    pub(super) instance: usize,
    pub(super) epoch: u64,
    event: Arc<StoredEvent>,
}

/// The pending job in Redis.
pub(super) struct Job {
    pub(super) attempt: u32,
    pub(super) runner: Option<usize>,
}

pub(super) struct World {
    random: SmallRng,
    journal: Vec<Arc<StoredEvent>>,
    /// Each order's positions, by version.
    orders: [Vec<i64>; ORDERS],
    /// Positions the broker refuses for their own sake.
    poisoned: BTreeSet<i64>,
    /// Whether the topic holds the event of a position.
    delivered: Vec<bool>,
    /// The highest version of each order in the topic.
    highest: [i64; ORDERS],
    pub(super) published: i64,
    parked: BTreeMap<i64, OrderId>,
    quarantined: BTreeSet<OrderId>,
    /// Given up by the operator.
    discarded: BTreeSet<i64>,
    holder: Option<usize>,
    broker_up: bool,
    pub(super) redis_up: bool,
    pub(super) job: Option<Job>,
    pub(super) flights: Vec<Flight>,
    pub(super) instances: Vec<Instance>,
}

fn order(order_id: OrderId) -> usize {
    order_id.0.as_u128() as usize
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            journal: Vec::new(),
            orders: Default::default(),
            poisoned: BTreeSet::new(),
            delivered: Vec::new(),
            highest: [0; ORDERS],
            published: 0,
            parked: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            discarded: BTreeSet::new(),
            holder: None,
            broker_up: true,
            redis_up: true,
            job: None,
            flights: Vec::new(),
            instances: (0..INSTANCES).map(|_| Instance::new()).collect(),
        }
    }

    pub(super) fn by_chance(&mut self, of: u32, outcomes: u32) -> bool {
        self.random.random_ratio(of, outcomes)
    }

    pub(super) fn head(&self) -> i64 {
        self.journal.len() as i64
    }

    fn append(&mut self) {
        let appender = self.random.random_range(0..INSTANCES);
        let mut batch = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let order = self.random.random_range(0..ORDERS);
            let event = Arc::new(StoredEvent {
                seq: self.head() + 1,
                event_id: Uuid::from_u128(self.head() as u128),
                order_id: OrderId(Uuid::from_u128(order as u128)),
                version: self.orders[order].len() as i64 + 1,
                event_type: String::new(),
                payload: String::new(),
                metadata: String::new(),
                occurred_at: DateTime::UNIX_EPOCH,
                committed_at: None,
            });
            if self.by_chance(1, 40) {
                self.poisoned.insert(event.seq);
            }
            self.orders[order].push(event.seq);
            self.delivered.push(false);
            self.journal.push(Arc::clone(&event));
            batch.push(event);
        }
        // The hand-over in memory may be lost, and so may the word to another process.
        match (self.random.random_range(0..4), self.holder) {
            (0, _) => {}
            (1, Some(holder)) if holder != appender => self.feed(holder, Input::Woken),
            _ => self.feed(appender, Input::Committed(batch)),
        }
    }

    pub(super) fn feed(&mut self, instance: usize, input: Input) {
        let outputs = self.instances[instance].machine.handle(input);
        for output in outputs {
            match output {
                Output::Send(event) => self.send(instance, event),
                Output::Read { after, limit } => self.instances[instance].reads.push((after, limit)),
                Output::Progress(progress) if self.holder == Some(instance) => self.record(progress),
                // The session that would have written it is gone.
                Output::Progress(_) => {}
                Output::Abandon => self.abandon(instance),
                Output::HandOff { attempt, .. } => self.hand_off(instance, attempt),
                Output::BreakerChanged { to: Breaker::Closed, .. } => self.breaker_closed(instance),
                Output::BreakerChanged { .. } => {}
            }
        }
        assert!(
            self.instances[instance].machine.in_flight() <= WINDOW + self.parked.len(),
            "too much in flight"
        );
    }

    fn send(&mut self, instance: usize, event: Arc<StoredEvent>) {
        let of = &self.instances[instance];
        assert!(of.machine.holds_lease(), "sent without the lease");
        match of.machine.breaker() {
            Breaker::Closed | Breaker::HalfOpen { proven: true, .. } => {}
            Breaker::HalfOpen { .. } => {
                assert_eq!(of.machine.in_flight(), 1, "more than one event to try with")
            }
            Breaker::Open { .. } => panic!("sent with an open breaker"),
        }
        // The actor asks its clock before it sends; a deposed holder's clock has run out.
        if !of.deposed {
            self.flights.push(Flight { instance, epoch: of.machine.epoch(), event });
        }
    }

    fn abandon(&mut self, instance: usize) {
        for flight in std::mem::take(&mut self.flights) {
            if flight.instance == instance && self.by_chance(1, 2) {
                let purged = (flight.epoch, flight.event.seq, Report::Unavailable(String::new()));
                self.instances[instance].reports.push(purged);
            } else {
                self.flights.push(flight);
            }
        }
    }

    fn record(&mut self, progress: Progress) {
        assert!(progress.published >= self.published, "the cursor moved back");
        assert!(progress.published <= self.head(), "the cursor is ahead of the journal");
        for parked in progress.parked {
            self.parked.insert(parked.seq, parked.order_id);
            self.quarantined.insert(parked.order_id);
        }
        for seq in progress.unparked {
            let gone = self.is_delivered(seq) || self.discarded.contains(&seq);
            assert!(gone, "{seq} left the quarantine undelivered");
            if let Some(order_id) = self.parked.remove(&seq)
                && !self.parked.values().any(|other| *other == order_id)
            {
                self.quarantined.remove(&order_id);
            }
        }
        for order_id in progress.unquarantined {
            self.quarantined.remove(&order_id);
        }
        for seq in self.published + 1..=progress.published {
            assert!(self.is_accounted_for(seq), "the cursor passed {seq} undelivered");
        }
        self.published = progress.published;
    }

    /// The database takes the lease away; the holder learns it later.
    pub(super) fn depose(&mut self, instance: usize) {
        if self.holder == Some(instance) {
            self.holder = None;
            self.instances[instance].deposed = true;
        }
    }

    fn grant(&mut self) {
        let instance = self.random.random_range(0..INSTANCES);
        let in_line = self.instances[instance].wants_lease && !self.instances[instance].deposed;
        if self.holder.is_none() && in_line {
            self.holder = Some(instance);
            let quarantined = self.quarantined.iter().copied().collect();
            let (published, head) = (self.published, self.head());
            self.feed(instance, Input::LeaseGained { published, head, quarantined });
        }
    }

    fn answer_read(&mut self, instance: usize, fails: bool) {
        if self.instances[instance].reads.is_empty() {
            return;
        }
        let (after, limit) = self.instances[instance].reads.remove(0);
        let input = if fails {
            Input::ReadFailed
        } else {
            Input::Read(self.journal.iter().skip(after as usize).take(limit).cloned().collect())
        };
        self.feed(instance, input);
    }

    /// One message reaches the broker, or does not; its report may say otherwise.
    fn land(&mut self, answer_may_be_lost: bool) {
        if self.flights.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.flights.len());
        let Flight { instance, epoch, event } = self.flights.swap_remove(at);
        let report = if !self.broker_up {
            Report::Unavailable(String::new())
        } else if self.poisoned.contains(&event.seq) {
            Report::Refused(String::new())
        } else {
            self.arrive(&event);
            let lost = answer_may_be_lost && self.by_chance(1, 10);
            if lost { Report::Unavailable(String::new()) } else { Report::Delivered }
        };
        self.instances[instance].reports.push((epoch, event.seq, report));
    }

    /// The broker has written an event: the first time in its order's order, whatever comes again later.
    fn arrive(&mut self, event: &StoredEvent) {
        let (order, version, at) = (order(event.order_id), event.version, event.seq as usize - 1);
        // One that was given up may still arrive late from an earlier try.
        if self.delivered[at] || self.discarded.contains(&event.seq) {
            return;
        }
        self.delivered[at] = true;
        let highest = std::mem::replace(&mut self.highest[order], version);
        assert!(version > highest, "order {order}: version {version} first seen behind {highest}");
        for seq in &self.orders[order][highest as usize..version as usize - 1] {
            assert!(
                self.discarded.contains(seq),
                "order {order}: version {version} first seen before {seq}'s"
            );
        }
    }

    fn hear_reports(&mut self, instance: usize) {
        let heard = std::mem::take(&mut self.instances[instance].reports);
        if heard.is_empty() {
            return;
        }
        let mut by_epoch: BTreeMap<u64, Vec<(i64, Report)>> = BTreeMap::new();
        for (epoch, seq, report) in heard {
            by_epoch.entry(epoch).or_default().push((seq, report));
        }
        for (epoch, reports) in by_epoch {
            self.feed(instance, Input::Reports { epoch, reports });
        }
    }

    fn parked_events(&self, order_id: OrderId) -> Vec<Arc<StoredEvent>> {
        let parked = self.parked.iter().filter(|(_, of)| **of == order_id);
        parked.map(|(seq, _)| Arc::clone(&self.journal[*seq as usize - 1])).collect()
    }

    /// An operator gives up the first parked event of an order, as [`super::super::outbox`] does.
    fn discard(&mut self) {
        let (Some((&seq, &order_id)), Some(holder)) = (self.parked.iter().next(), self.holder) else {
            return;
        };
        self.parked.remove(&seq);
        self.discarded.insert(seq);
        let events = self.parked_events(order_id);
        self.feed(holder, Input::Released { order_id, events });
    }

    /// An operator mends an order's poison and releases it.
    fn release(&mut self) {
        let (Some(&order_id), Some(holder)) = (self.quarantined.iter().next(), self.holder) else { return };
        if self.instances[holder].machine.breaker() == Breaker::Closed {
            for seq in &self.orders[order(order_id)] {
                self.poisoned.remove(seq);
            }
            let events = self.parked_events(order_id);
            self.feed(holder, Input::Released { order_id, events });
        }
    }

    pub(super) fn step(&mut self) {
        let instance = self.random.random_range(0..INSTANCES);
        match self.random.random_range(0..100) {
            0..18 => self.append(),
            18..40 => self.land(true),
            40..58 => self.hear_reports(instance),
            58..68 => {
                let fails = self.by_chance(1, 8);
                self.answer_read(instance, fails);
            }
            68..75 => self.grant(),
            75..78 => self.depose(instance),
            78..82 => self.notice_deposition(instance),
            82..84 => self.broker_up = !self.broker_up,
            84 => self.redis_up = !self.redis_up,
            85 => self.job = None,
            86 => self.crash(instance),
            87 => self.feed(instance, Input::BrokerLost(String::new())),
            88..90 => self.answer_hand_off(instance),
            90..92 => self.run_job(instance),
            92 => self.lose_patience(instance),
            93 => self.ring_timer(instance),
            94 => self.miss_the_job(instance),
            95 => self.watch_others(instance),
            96 => self.release(),
            97 => self.discard(),
            _ => {
                let head = self.head();
                self.feed(instance, Input::HeadSeen(head));
            }
        }
    }

    /// Nothing fails any more, though Redis may stay away; everything due comes. True when all is published and nobody waits.
    pub(super) fn heal(&mut self) -> bool {
        self.broker_up = true;
        self.grant();
        self.land(false);
        for instance in 0..INSTANCES {
            self.notice_deposition(instance);
            self.hear_reports(instance);
            self.answer_read(instance, false);
            self.answer_hand_off(instance);
            self.run_job(instance);
            self.lose_patience(instance);
            self.ring_timer(instance);
            self.miss_the_job(instance);
            self.watch_others(instance);
            let head = self.head();
            self.feed(instance, Input::HeadSeen(head));
        }
        self.release();
        let all_closed = self.instances.iter().all(|of| of.machine.breaker() == Breaker::Closed);
        let quiet = self.parked.is_empty() && self.quarantined.is_empty() && all_closed;
        quiet && self.published == self.head() && (self.job.is_none() || !self.redis_up)
    }

    pub(super) fn state(&self) -> String {
        let breakers: Vec<Breaker> = self.instances.iter().map(|of| of.machine.breaker()).collect();
        format!(
            "published {} of {}, holder {:?}, {breakers:?}, parked {:?}",
            self.published,
            self.head(),
            self.holder,
            self.parked
        )
    }

    fn is_delivered(&self, seq: i64) -> bool {
        self.delivered[seq as usize - 1]
    }

    fn is_accounted_for(&self, seq: i64) -> bool {
        self.is_delivered(seq) || self.parked.contains_key(&seq) || self.discarded.contains(&seq)
    }

    /// An event that is neither in the topic nor given up.
    pub(super) fn missing(&self) -> Option<i64> {
        (1..=self.head()).find(|seq| !self.is_delivered(*seq) && !self.discarded.contains(seq))
    }
}
