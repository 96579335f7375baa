//! What a failure is about: one lane, or the broker as a whole.

use std::sync::Arc;

use super::lane::{Lane, Mode, Suspicion};
use super::rules::PublicationMachine;
use super::{Breaker, Output};
use crate::journal::StoredEvent;

impl PublicationMachine {
    /// Nothing that the lane has in flight is reported. Which deliveries of other lanes show that the broker works? If the lane's
    /// client has lost every broker, those from now on. Otherwise those after the first `deliveries` and after the oldest event in
    /// flight was sent.
    pub(super) fn lane_fell_silent(&mut self, lane: u32, cause: String, deliveries: u64, brokers_lost: bool) {
        let lane = lane as usize;
        if lane >= self.lanes.len() {
            return;
        }
        if let Some(oldest) = self.window.oldest_sent(lane) {
            self.failed(lane, cause, oldest.max(deliveries), brokers_lost);
        }
    }

    /// An event of this lane has failed. `sent`: how many deliveries there had been when it was sent.
    pub(super) fn failed(&mut self, lane: usize, cause: String, sent: u64, brokers_lost: bool) {
        let broker_tries = matches!(self.breaker, Breaker::HalfOpen { proven: false, .. });
        let of = &mut self.lanes[lane];
        if matches!(self.breaker, Breaker::Open { .. }) || !of.is_well() {
            return;
        }
        if of.opened && !of.proven && !broker_tries {
            // This was the retry of a lane that is known to be at fault alone. But if other lanes have failed too and none has
            // delivered since, the earlier deliveries may be older than an outage of the broker.
            let in_company = (0..self.lanes.len()).any(|other| other != lane && self.lanes[other].opened);
            if in_company && self.lanes[lane].opened_at == self.deliveries {
                self.suspects.push(lane);
                return self.open(cause, false);
            }
            return self.open_lane(lane, cause);
        }
        of.suspicion = Some(Suspicion { cause, sent, brokers_lost });
        self.suspects.push(lane);
    }

    /// The broker has answered for an event of this lane: it was delivered, or refused for its content.
    pub(super) fn prove(&mut self, lane: usize) {
        self.deliveries += 1;
        if let Breaker::HalfOpen { attempt, .. } = self.breaker {
            self.breaker = Breaker::HalfOpen { attempt, proven: true };
        }
        let of = &mut self.lanes[lane];
        of.delivered = self.deliveries;
        // A late report of an event that was in flight when the lane failed proves nothing.
        of.proven |= !matches!(self.breaker, Breaker::Open { .. }) && !of.is_aside();
        for suspect in std::mem::take(&mut self.suspects) {
            if let Some(suspicion) = self.lanes[suspect].suspicion.take() {
                self.open_lane(suspect, suspicion.cause);
            }
        }
    }

    /// Decides whether the suspects alone are at fault. Waits while another lane has events in flight, whose reports will show it.
    /// If none has, the deliveries since the failed send decide.
    pub(super) fn judge(&mut self) {
        let Some(first) = self.suspects.first().copied() else { return };
        let others = (0..self.lanes.len()).filter(|lane| self.lanes[*lane].is_well());
        let (mut in_hand, mut delivered) = (0, 0);
        for lane in others {
            in_hand += self.window.in_hand_of(lane);
            delivered = delivered.max(self.lanes[lane].delivered);
        }
        // The events being read may be of a lane that has not been tried yet.
        let broker_tries = matches!(self.breaker, Breaker::HalfOpen { proven: false, .. });
        let more_to_read = self.reading || self.next <= self.head() && self.window.has_room();
        let more_comes = broker_tries && more_to_read || self.lanes.iter().any(Lane::is_being_read);
        if in_hand > 0 || more_comes {
            return;
        }
        let suspicions = || self.suspects.iter().filter_map(|lane| self.lanes[*lane].suspicion.as_ref());
        let alone = suspicions().any(|suspicion| delivered > suspicion.sent);
        let brokers_lost = suspicions().any(|suspicion| suspicion.brokers_lost);
        if alone {
            for suspect in std::mem::take(&mut self.suspects) {
                if let Some(suspicion) = self.lanes[suspect].suspicion.take() {
                    self.open_lane(suspect, suspicion.cause);
                }
            }
        } else if let Some(suspicion) = self.lanes[first].suspicion.take() {
            self.open(suspicion.cause, brokers_lost);
        }
    }

    /// Sets a lane aside until its retry. If no other lane may work, the broker is at fault instead.
    fn open_lane(&mut self, lane: usize, cause: String) {
        let others = |of: usize| of != lane && self.lanes[of].is_well();
        if !(0..self.lanes.len()).any(others) {
            self.suspects.push(lane);
            return self.open(cause, false);
        }
        let of = &mut self.lanes[lane];
        (of.opened, of.proven, of.due) = (true, false, false);
        of.opened_at = self.deliveries;
        of.attempt = of.attempt.saturating_add(1);
        let attempt = of.attempt;
        self.stop_lane(lane);
        let lane = lane as u32;
        self.outputs.push(Output::Abandon { lane });
        self.outputs.push(Output::LaneOpened { lane, attempt, cause });
    }

    fn open(&mut self, cause: String, brokers_lost: bool) {
        let attempt = match self.breaker {
            Breaker::Open { .. } => return,
            Breaker::Closed => 1,
            Breaker::HalfOpen { attempt, .. } => attempt.saturating_add(1),
        };
        self.failing = std::mem::take(&mut self.suspects).into_iter().collect();
        for lane in 0..self.lanes.len() {
            let of = &mut self.lanes[lane];
            if brokers_lost || of.is_aside() {
                self.failing.insert(lane);
            }
            of.suspicion = None;
            of.proven = false;
            if matches!(of.mode, Mode::Draining(_)) {
                self.stop_lane(lane);
            }
            self.outputs.push(Output::Abandon { lane: lane as u32 });
        }
        self.change_breaker(Breaker::Open { attempt });
        self.outputs.push(Output::HandOff { attempt, cause });
    }

    /// The breaker opened because of some lanes while the others had nothing to send. Now one of the others has an event.
    pub(super) fn look_for_an_untried_lane(&mut self, events: &[Arc<StoredEvent>]) {
        if matches!(self.breaker, Breaker::Open { .. })
            && events.iter().any(|event| !self.failing.contains(&self.lane_of(event.aggregate_id)))
        {
            self.outputs.push(Output::RetryEarly);
        }
    }

    pub(super) fn forget_lanes(&mut self) {
        let proven = matches!(self.breaker, Breaker::Closed);
        let lanes = self.lanes() as usize;
        self.suspects.clear();
        self.lanes.clear();
        self.lanes.resize_with(lanes, || Lane::new(proven));
        self.window.clear(lanes);
        self.deliveries = 0;
    }
}
