//! The model of everything around the instances: a journal, a broker that fails or does not answer, a Redis that loses data, a
//! lease that is lost at any moment; and the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::super::lease::tenure;
use super::super::machine::lane::lane_of;
use super::super::machine::{Breaker, Input, Progress, Source};
use super::super::retry;
use super::instance::Instance;
use super::redis::Redis;
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::transport::DeliveryReport;

const INSTANCES: usize = 3;
const AGGREGATES: usize = 6;
/// Partitions of the topic at first; later some may be added.
const PARTITIONS: u32 = 3;
const PARTITIONS_MAX: u32 = 5;

pub(super) struct Flight {
    pub(super) instance: usize,
    pub(super) epoch: u64,
    pub(super) lane: u32,
    event: Arc<StoredEvent>,
}

pub(super) struct World {
    random: SmallRng,
    journal: Vec<Arc<StoredEvent>>,
    /// Each aggregate's positions, by version.
    aggregates: [Vec<i64>; AGGREGATES],
    /// Positions that the broker refuses.
    poisoned: BTreeSet<i64>,
    /// Whether the topic holds the event of a position.
    delivered: Vec<bool>,
    /// The highest version of each aggregate in the topic.
    highest: [i64; AGGREGATES],
    pub(super) published: i64,
    parked: BTreeMap<i64, AggregateId>,
    /// The rows of deferred events: aggregate and lane.
    pub(super) deferred: BTreeMap<i64, (AggregateId, u32)>,
    /// The number of partitions that the lanes in those rows are for.
    deferred_by: u32,
    partitions: u32,
    /// Partitions that take nothing.
    pub(super) partitions_down: BTreeSet<u32>,
    quarantined: BTreeSet<AggregateId>,
    /// Discarded by the operator.
    discarded: BTreeSet<i64>,
    holder: Option<usize>,
    /// Progress is written some time after it was recorded, and not at once.
    pub(super) writes_late: bool,
    broker_up: bool,
    pub(super) redis: Redis,
    /// For dates alone: nothing waits for one.
    pub(super) now: DateTime<Utc>,
    pub(super) flights: Vec<Flight>,
    pub(super) instances: Vec<Instance>,
}

fn number(aggregate_id: AggregateId) -> usize {
    aggregate_id.0.as_u128() as usize
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        // At times there is one instance alone, which must do everything itself.
        let instances = if (seed / 100).is_multiple_of(4) { 1 } else { INSTANCES };
        Self {
            random: SmallRng::seed_from_u64(seed),
            journal: Vec::new(),
            aggregates: Default::default(),
            poisoned: BTreeSet::new(),
            delivered: Vec::new(),
            highest: [0; AGGREGATES],
            published: 0,
            parked: BTreeMap::new(),
            deferred: BTreeMap::new(),
            deferred_by: 0,
            partitions: PARTITIONS,
            partitions_down: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            discarded: BTreeSet::new(),
            holder: None,
            writes_late: matches!(seed % 7, 0 | 4 | 6),
            broker_up: true,
            redis: Redis::default(),
            now: DateTime::UNIX_EPOCH,
            flights: Vec::new(),
            instances: (0..instances).map(|_| Instance::new()).collect(),
        }
    }

    pub(super) fn by_chance(&mut self, of: u32, outcomes: u32) -> bool {
        self.random.random_ratio(of, outcomes)
    }

    pub(super) fn head(&self) -> i64 {
        self.journal.len() as i64
    }

    fn is_reachable(&self, aggregate_id: AggregateId) -> bool {
        // Fewer partitions than lanes may be: the lane is the partition.
        self.broker_up && !self.partitions_down.contains(&lane_of(aggregate_id, self.partitions))
    }

    pub(super) fn append(&mut self) {
        let appender = self.random.random_range(0..self.instances.len());
        let mut batch = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let order = self.random.random_range(0..AGGREGATES);
            let event = Arc::new(StoredEvent {
                seq: self.head() + 1,
                event_id: Uuid::from_u128(self.head() as u128),
                aggregate_id: AggregateId(Uuid::from_u128(order as u128)),
                version: self.aggregates[order].len() as i64 + 1,
                event_type: String::new(),
                payload: String::new(),
                metadata: String::new(),
                occurred_at: DateTime::UNIX_EPOCH,
                committed_at: None,
            });
            if self.by_chance(1, 40) {
                self.poisoned.insert(event.seq);
            }
            self.aggregates[order].push(event.seq);
            self.delivered.push(false);
            self.journal.push(Arc::clone(&event));
            batch.push(event);
        }
        // The message in memory may be lost, and so may the notification of another process.
        match (self.random.random_range(0..4), self.holder) {
            (0, _) => {}
            (1, Some(holder)) if holder != appender => self.feed(holder, Input::JournalNotified),
            _ => self.feed(appender, Input::Committed(batch)),
        }
    }

    pub(super) fn send(&mut self, instance: usize, lane: u32, event: Arc<StoredEvent>) {
        let of = &self.instances[instance];
        assert!(of.machine.holds_lease(), "sent without the lease");
        assert!(!of.lane_timers.contains_key(&lane), "sent in a lane that waits for its retry");
        match of.machine.breaker() {
            Breaker::Closed | Breaker::HalfOpen { proven: true, .. } => {}
            Breaker::HalfOpen { .. } => {
                assert_eq!(of.machine.in_flight_of(lane), 1, "more than one event to try with")
            }
            Breaker::Open { .. } => panic!("sent with an open breaker"),
        }
        self.flights.push(Flight { instance, epoch: of.machine.epoch(), lane, event });
    }

    pub(super) fn abandon(&mut self, instance: usize, lane: u32) {
        for flight in std::mem::take(&mut self.flights) {
            if flight.instance == instance && flight.lane == lane && self.by_chance(1, 2) {
                let purged = (flight.epoch, flight.event.seq, DeliveryReport::Unavailable(String::new()));
                self.instances[instance].reports.push(purged);
            } else {
                self.flights.push(flight);
            }
        }
    }

    pub(super) fn record(&mut self, progress: Progress) {
        assert!(progress.published >= self.published, "the cursor moved back");
        assert!(progress.published <= self.head(), "the cursor is ahead of the journal");
        let quarantine_changed = !(progress.parked.is_empty()
            && progress.unparked.is_empty()
            && progress.unquarantined.is_empty());
        for parked in progress.parked {
            self.parked.insert(parked.seq, parked.aggregate_id);
            self.quarantined.insert(parked.aggregate_id);
        }
        for seq in progress.unparked {
            let gone = self.is_delivered(seq) || self.discarded.contains(&seq);
            assert!(gone, "{seq} left the quarantine undelivered");
            self.parked.remove(&seq);
        }
        if quarantine_changed {
            let parked = &self.parked;
            self.quarantined.retain(|aggregate_id| parked.values().any(|other| other == aggregate_id));
        }
        for deferred in progress.deferred {
            let mixed = !self.deferred.is_empty() && deferred.partitions != self.deferred_by;
            assert!(!mixed, "lanes of {} and of {} partitions", deferred.partitions, self.deferred_by);
            self.deferred_by = deferred.partitions;
            self.deferred.insert(deferred.seq, (deferred.aggregate_id, deferred.lane));
        }
        for seq in progress.undeferred {
            assert!(self.is_delivered(seq) || self.parked.contains_key(&seq), "{seq} is lost");
            self.deferred.remove(&seq);
        }
        for seq in self.published + 1..=progress.published {
            assert!(self.is_accounted_for(seq), "the cursor passed {seq} undelivered");
        }
        self.published = progress.published;
    }

    pub(super) fn holds(&self, instance: usize) -> bool {
        self.holder == Some(instance)
    }

    /// The database ends the lease; the holder learns it later.
    pub(super) fn depose(&mut self, instance: usize) {
        if self.holder == Some(instance) {
            self.holder = None;
            self.instances[instance].deposed = true;
            // Progress that was not written is lost.
            self.forget_tenure(instance);
        }
    }

    fn grant(&mut self) {
        let instance = self.random.random_range(0..self.instances.len());
        let in_line = self.instances[instance].wants_lease && !self.instances[instance].deposed;
        if self.holder.is_none() && in_line {
            self.holder = Some(instance);
            let quarantined = self.quarantined.iter().copied().collect();
            let (published, head) = (self.published, self.head());
            let partitions = self.divide_deferred(instance);
            let mut last: BTreeMap<u32, i64> = BTreeMap::new();
            for (seq, (_, lane)) in &self.deferred {
                last.insert(*lane, *seq);
            }
            let deferred = last.into_iter().collect();
            self.retry(instance, retry::Input::LeaseGained);
            self.feed(instance, Input::LeaseGained { published, head, quarantined, partitions, deferred });
        }
    }

    /// By the partitions that the new holder knows of, or else by those that they are divided by.
    fn divide_deferred(&mut self, instance: usize) -> u32 {
        let partitions = match self.instances[instance].partitions {
            0 => self.deferred_by,
            known => known,
        };
        for (aggregate_id, lane) in self.deferred.values_mut() {
            *lane = lane_of(*aggregate_id, partitions);
        }
        self.deferred_by = partitions;
        partitions
    }

    fn see_partitions(&mut self, instance: usize) {
        self.instances[instance].partitions = self.partitions;
        self.feed(instance, Input::Partitions(self.partitions));
    }

    /// What the holder's session reads, when it is asked to.
    pub(super) fn rows(&self, of: Source, after: i64, limit: usize) -> Vec<Arc<StoredEvent>> {
        let seqs: Vec<i64> = match of {
            Source::Lane(lane) => {
                self.deferred.iter().filter(|(_, (_, of))| *of == lane).map(|(seq, _)| *seq).collect()
            }
            Source::Aggregate(aggregate_id) => {
                self.parked.iter().filter(|(_, of)| **of == aggregate_id).map(|(seq, _)| *seq).collect()
            }
        };
        let page = seqs.into_iter().filter(|seq| *seq > after).take(limit);
        page.map(|seq| Arc::clone(&self.journal[seq as usize - 1])).collect()
    }

    fn answer_rows(&mut self, instance: usize) {
        if !self.instances[instance].rows.is_empty() {
            let (of, token, events) = self.instances[instance].rows.remove(0);
            self.feed(instance, Input::Rows { of, token, events });
        }
    }

    /// False when there is none to answer.
    fn answer_read(&mut self, instance: usize, fails: bool) -> bool {
        if self.instances[instance].reads.is_empty() {
            return false;
        }
        let (after, limit) = self.instances[instance].reads.remove(0);
        let input = if fails {
            Input::ReadFailed
        } else {
            Input::Read(self.journal.iter().skip(after as usize).take(limit).cloned().collect())
        };
        self.feed(instance, input);
        true
    }

    /// One message reaches the broker, or does not; its report may say otherwise.
    fn land(&mut self, answer_may_be_lost: bool) {
        if self.flights.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.flights.len());
        let Flight { instance, epoch, event, .. } = self.flights.swap_remove(at);
        let report = if !self.is_reachable(event.aggregate_id) {
            DeliveryReport::Unavailable(String::new())
        } else if self.poisoned.contains(&event.seq) {
            DeliveryReport::Refused(String::new())
        } else {
            self.arrive(&event);
            let lost = answer_may_be_lost && self.by_chance(1, 10);
            if lost { DeliveryReport::Unavailable(String::new()) } else { DeliveryReport::Delivered }
        };
        self.instances[instance].reports.push((epoch, event.seq, report));
    }

    /// The broker has written an event: the first time in its aggregate's order, whatever comes again later.
    fn arrive(&mut self, event: &StoredEvent) {
        let (order, version, at) = (number(event.aggregate_id), event.version, event.seq as usize - 1);
        // One that was given up may still arrive late from an earlier try.
        if self.delivered[at] || self.discarded.contains(&event.seq) {
            return;
        }
        self.delivered[at] = true;
        let highest = std::mem::replace(&mut self.highest[order], version);
        assert!(version > highest, "order {order}: version {version} first seen behind {highest}");
        for seq in &self.aggregates[order][highest as usize..version as usize - 1] {
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
        let mut by_epoch: BTreeMap<u64, Vec<(i64, DeliveryReport)>> = BTreeMap::new();
        for (epoch, seq, report) in heard {
            by_epoch.entry(epoch).or_default().push((seq, report));
        }
        for (epoch, reports) in by_epoch {
            self.feed(instance, Input::Reports { epoch, reports });
        }
    }

    /// An operator gives up the first parked event of an aggregate, as [`super::super::discard`] does.
    fn discard(&mut self) {
        let (Some((&seq, &aggregate_id)), Some(holder)) = (self.parked.iter().next(), self.holder) else {
            return;
        };
        // Whoever takes the lease next would read it from the journal again.
        if seq > self.published {
            return;
        }
        self.parked.remove(&seq);
        self.discarded.insert(seq);
        self.feed(holder, Input::Released(vec![aggregate_id]));
    }

    /// An operator mends an aggregate's poison and releases it.
    fn release(&mut self) {
        let chosen = self.random.random_range(0..AGGREGATES);
        let (Some(&aggregate_id), Some(holder)) = (self.quarantined.iter().nth(chosen), self.holder) else {
            return;
        };
        if !self.instances[holder].is_open() {
            for seq in &self.aggregates[number(aggregate_id)] {
                self.poisoned.remove(seq);
            }
            self.feed(holder, Input::Released(vec![aggregate_id]));
        }
    }

    /// Some partition takes nothing any more, or takes events again.
    fn toggle_partition(&mut self) {
        let partition = self.random.random_range(0..self.partitions);
        if !self.partitions_down.remove(&partition) {
            self.partitions_down.insert(partition);
        }
    }

    fn fall_silent(&mut self, instance: usize) {
        let (lane, cause) = (self.random.random_range(0..self.partitions), String::new());
        match self.random.random_range(0..8) {
            0..4 => self.feed(instance, Input::Silent { lane, cause, deliveries: 0 }),
            4..7 => self.feed(instance, Input::BrokerLost { lane, cause }),
            _ => self.partitions = (self.partitions + 1).min(PARTITIONS_MAX),
        }
    }

    pub(super) fn step(&mut self) {
        self.now += TimeDelta::seconds(1);
        let instance = self.random.random_range(0..self.instances.len());
        match self.random.random_range(0..100) {
            0..18 => self.append(),
            18..40 => self.land(true),
            40..58 => self.hear_reports(instance),
            58..68 => {
                let fails = self.by_chance(1, 8);
                self.answer_read(instance, fails);
                self.answer_rows(instance);
            }
            68..74 => self.grant(),
            74..76 => self.depose(instance),
            76..78 => self.notice_deposition(instance),
            78 => self.see_partitions(instance),
            79..81 => self.toggle_partition(),
            81 => self.ring_lane_timers(instance),
            82..84 => self.broker_up = !self.broker_up,
            84 => self.toggle_redis(),
            85 => self.redis.job = None,
            86 => self.crash(instance),
            87 => self.fall_silent(instance),
            88..90 => drop(self.answer_call(instance)),
            90..92 => self.run_job(instance),
            92 => self.end_wait(instance),
            93 => self.ring_timer(instance),
            94 => self.watch_job(instance),
            95 => self.watch_others(instance),
            96 => self.release(),
            97 => self.discard(),
            98 => self.see_the_broker(instance),
            _ => {
                let head = self.head();
                self.feed(instance, Input::HeadSeen(head));
            }
        }
        // (The other schedules stay as they were when some of them got a name.)
        if self.writes_late && self.by_chance(1, 4) {
            self.hold(instance, tenure::Input::WriteDue);
        }
        self.instances.iter().for_each(Instance::check);
    }

    /// Nothing fails any more, though Redis may stay away, and so may partitions; everything due comes.
    fn go_on(&mut self) {
        self.now += TimeDelta::seconds(1);
        self.broker_up = true;
        self.grant();
        self.land(false);
        for instance in 0..self.instances.len() {
            self.notice_deposition(instance);
            // The journal is read within milliseconds; that a partition takes nothing is known after seconds.
            while self.answer_read(instance, false) {}
            self.hear_reports(instance);
            self.answer_rows(instance);
            self.hold(instance, tenure::Input::WriteDue);
            self.see_partitions(instance);
            self.ring_lane_timers(instance);
            while self.answer_call(instance) {}
            self.run_job(instance);
            self.end_wait(instance);
            self.ring_timer(instance);
            self.watch_job(instance);
            self.watch_others(instance);
            let head = self.head();
            self.feed(instance, Input::HeadSeen(head));
        }
        self.release();
        self.instances.iter().for_each(Instance::check);
    }

    /// One partition stays away. True when nothing of the others waits.
    pub(super) fn heal_but_one(&mut self) -> bool {
        self.go_on();
        let waits = |seq: &i64| {
            let reachable = self.is_reachable(self.journal[*seq as usize - 1].aggregate_id);
            // An operator's release may find the breaker open again and again, while the partition alone has something to send.
            let gone =
                self.is_delivered(*seq) || self.discarded.contains(seq) || self.parked.contains_key(seq);
            reachable && !gone
        };
        !(1..=self.head()).any(|seq| waits(&seq))
    }

    /// True when all is published and nobody waits.
    pub(super) fn heal(&mut self) -> bool {
        self.partitions_down.clear();
        self.go_on();
        let all_closed = self.instances.iter().all(|of| of.machine.breaker() == Breaker::Closed);
        let nothing_aside = self.parked.is_empty() && self.deferred.is_empty();
        let quiet = nothing_aside && self.quarantined.is_empty() && all_closed;
        quiet && self.published == self.head() && (self.redis.job.is_none() || self.redis.down)
    }

    pub(super) fn state(&self) -> String {
        let breakers: Vec<Breaker> = self.instances.iter().map(|of| of.machine.breaker()).collect();
        format!(
            "published {} of {}, holder {:?}, {breakers:?}, parked {:?}, deferred {:?}, partitions {}, {:?} down",
            self.published,
            self.head(),
            self.holder,
            self.parked,
            self.deferred,
            self.partitions,
            self.partitions_down
        )
    }

    fn is_delivered(&self, seq: i64) -> bool {
        self.delivered[seq as usize - 1]
    }

    fn is_accounted_for(&self, seq: i64) -> bool {
        self.is_delivered(seq)
            || self.parked.contains_key(&seq)
            || self.deferred.contains_key(&seq)
            || self.discarded.contains(&seq)
    }

    /// An event that is neither in the topic nor given up.
    pub(super) fn missing(&self) -> Option<i64> {
        (1..=self.head()).find(|seq| !self.is_delivered(*seq) && !self.discarded.contains(seq))
    }
}
