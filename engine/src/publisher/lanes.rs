//! The machine's lanes as the actor sees them: their timers, their partitions' state, log and metrics.
//!
//! A lane that fails alone is retried from memory, by the same back-off as an outage. The lease is kept, since all other lanes
//! continue. A change of its partition (a leader, another number of replicas in sync) brings the retry forward.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use actix::prelude::*;
use chrono::{DateTime, Utc};
use tracing::{error, info, warn};

use super::Publisher;
use super::flow::Flow;
use super::machine::{Breaker, Input};
use super::partitions;
use crate::journal::StoredEvent;
use crate::metric;
use crate::transport::PartitionState;

/// If two looks are further apart than this, the process or the machine was stopped. Then a lane's silence means nothing.
const STOPPED: Duration = Duration::from_secs(1);

/// A lane that waits for its retry, or is being tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckLane {
    pub lane: u32,
    pub partitions: Vec<u32>,
    pub since: DateTime<Utc>,
    /// Why its last attempt failed.
    pub cause: String,
    pub attempt: u32,
    pub next_attempt_at: DateTime<Utc>,
}

struct StuckState {
    shown: StuckLane,
    timer: Option<SpawnHandle>,
    /// The state of its partitions when it was last tried.
    seen: Option<Vec<PartitionState>>,
}

pub(super) struct Lanes {
    stuck: BTreeMap<u32, StuckState>,
    /// For each lane: when a report last came, nothing was in flight, or the end of a throttling, which may be ahead.
    reported_at: Vec<Instant>,
    looked_at: Instant,
    /// The count of deliveries at recent looks, the oldest first.
    deliveries: VecDeque<(Instant, u64)>,
    pub(super) flow: Flow,
}

impl Lanes {
    pub(super) fn new(delivery_timeout: Duration) -> Self {
        Self {
            stuck: BTreeMap::new(),
            reported_at: Vec::new(),
            looked_at: Instant::now(),
            deliveries: VecDeque::new(),
            flow: Flow::new(delivery_timeout),
        }
    }

    pub(super) fn stuck(&self) -> Vec<StuckLane> {
        self.stuck.values().map(|stuck| stuck.shown.clone()).collect()
    }

    pub(super) fn are_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    pub(super) fn is_stuck(&self, lane: u32) -> bool {
        self.stuck.contains_key(&lane)
    }

    pub(super) fn report_seen(&mut self, lane: u32) {
        let reported_at = self.reported_at(lane);
        *reported_at = Instant::now().max(*reported_at);
    }

    /// The broker reads nothing from the lane for `time`, and said so. This silence is no failure: it counts from its end. The
    /// client library gives up what waits for several timeouts.
    pub(super) fn throttled(&mut self, lane: u32, time: Duration) {
        let reported_at = self.reported_at(lane);
        *reported_at = (*reported_at).max(Instant::now() + time);
    }

    fn reported_at(&mut self, lane: u32) -> &mut Instant {
        let lane = lane as usize;
        if self.reported_at.len() <= lane {
            self.reported_at.resize(lane + 1, Instant::now());
        }
        &mut self.reported_at[lane]
    }
}

impl Publisher {
    pub(super) fn send(&mut self, lane: u32, event: &StoredEvent) {
        if let Some(client) = &mut self.client {
            if let Err(cause) = client.replace_failed(lane) {
                // The old producer reports the event as failed, and the machine asks for a new one.
                error!(%cause, "A lane of the broker's client could not be made");
            }
            let attempt = match self.machine.breaker() {
                Breaker::HalfOpen { attempt, .. } => Some(attempt),
                Breaker::Closed | Breaker::Open { .. } => None,
            };
            client.send(lane, self.machine.epoch(), event, attempt);
        }
    }

    /// How often lanes are checked for silence.
    pub(super) fn look_interval(&self) -> Duration {
        (self.settings.transport.delivery_timeout() / 10).clamp(Duration::from_millis(20), partitions::PAUSE)
    }

    /// Finds lanes that are silent: something is in flight, and no report came within the delivery timeout. Then the partition
    /// takes nothing, or the client library's own timers are stuck, as they are after the wall clock was set back. A broker that is
    /// only slow reports something.
    pub(super) fn watch_lanes(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let stopped = now.duration_since(std::mem::replace(&mut self.lanes.looked_at, now)) > STOPPED;
        let timeout = self.settings.transport.delivery_timeout();
        // From half a timeout ago: deliveries since then show that the broker works now.
        let looks = &mut self.lanes.deliveries;
        looks.push_back((now, self.machine.deliveries()));
        while looks.len() > 1 && looks[1].0 + timeout / 2 <= now {
            looks.pop_front();
        }
        let deliveries = looks.front().map_or(0, |(_, deliveries)| *deliveries);
        let mut uneasy = false;
        for lane in 0..self.machine.lanes() {
            let reported_at = self.lanes.reported_at.get(lane as usize).copied();
            let silent_for = reported_at.map_or(Duration::ZERO, |at| now.duration_since(at));
            if self.machine.in_flight_of(lane) == 0 || reported_at.is_none() || stopped {
                self.lanes.report_seen(lane);
            } else if silent_for >= timeout {
                self.lanes.report_seen(lane);
                self.lanes.flow.failed();
                let cause = format!("nothing was acknowledged for {} ms", timeout.as_millis());
                let cause = self.explained(lane, cause);
                self.feed(Input::Silent { lane, cause, deliveries }, ctx);
            } else {
                // Asks for the partitions' state in time, so that the cause is known when the timeout is over.
                uneasy |= silent_for >= timeout / 2;
            }
        }
        self.ask_for_partitions(uneasy, ctx);
    }

    pub(super) fn stuck_partitions_seen(&mut self, states: &[PartitionState], ctx: &mut Context<Self>) {
        let mut due = Vec::new();
        for (number, stuck) in &mut self.lanes.stuck {
            let of = |state: &&PartitionState| {
                stuck
                    .shown
                    .partitions
                    .iter()
                    .any(|partition| i64::from(*partition) == i64::from(state.partition))
            };
            let now: Vec<PartitionState> = states.iter().filter(of).cloned().collect();
            let before = stuck.seen.replace(now.clone());
            if before.is_some_and(|before| before != now) {
                due.push((*number, stuck.shown.attempt, stuck.timer.take(), now));
            }
        }
        for (lane, attempt, timer, states) in due {
            info!(lane, attempt, ?states, "A stuck partition has changed; its retry is brought forward");
            if let Some(timer) = timer {
                ctx.cancel_future(timer);
            }
            self.feed(Input::RetryLane { lane, attempt }, ctx);
        }
    }

    pub(super) fn lane_opened(&mut self, lane: u32, attempt: u32, cause: String, ctx: &mut Context<Self>) {
        let delay = self.settings.backoff.delay(attempt, &mut rand::rng());
        let before = self.lanes.stuck.remove(&lane);
        if let Some(timer) = before.as_ref().and_then(|stuck| stuck.timer) {
            ctx.cancel_future(timer);
        }
        let shown = StuckLane {
            lane,
            partitions: self.partitions_of(lane),
            since: before.as_ref().map_or_else(Utc::now, |stuck| stuck.shown.since),
            cause,
            attempt,
            next_attempt_at: Utc::now() + delay,
        };
        let next_in_ms = delay.as_millis();
        let StuckLane { partitions, cause, .. } = &shown;
        if before.is_none() {
            warn!(
                ?partitions,
                cause,
                next_in_ms,
                "Partition stuck: its aggregates' events wait, in order; all others are published"
            );
        } else {
            info!(?partitions, attempt, cause, next_in_ms, "The partition is still stuck");
        }
        let retry = Input::RetryLane { lane, attempt };
        let timer = Some(ctx.run_later(delay, move |publisher, ctx| publisher.feed(retry, ctx)));
        let seen = before.and_then(|stuck| stuck.seen);
        self.lanes.stuck.insert(lane, StuckState { shown, timer, seen });
        metric::stuck_partitions(self.stuck_partitions());
    }

    pub(super) fn lane_closed(&mut self, lane: u32, ctx: &mut Context<Self>) {
        let Some(stuck) = self.lanes.stuck.remove(&lane) else { return };
        if let Some(timer) = stuck.timer {
            ctx.cancel_future(timer);
        }
        let stuck_ms = (Utc::now() - stuck.shown.since).num_milliseconds();
        info!(partitions = ?stuck.shown.partitions, stuck_ms, "Partition well again: its waiting events are published, or being sent");
        metric::stuck_partitions(self.stuck_partitions());
    }

    /// When the lease ends: the next holder finds out for itself.
    pub(super) fn forget_lanes(&mut self, ctx: &mut Context<Self>) {
        self.lanes.deliveries.clear();
        for (_, stuck) in std::mem::take(&mut self.lanes.stuck) {
            if let Some(timer) = stuck.timer {
                ctx.cancel_future(timer);
            }
        }
        metric::stuck_partitions(0);
    }

    fn stuck_partitions(&self) -> usize {
        self.lanes.stuck.values().map(|stuck| stuck.shown.partitions.len()).sum()
    }
}
