//! Events that are set aside: deferred with their lane, or parked with their aggregate. They come back page by page, in order.

use std::sync::Arc;

use super::lane::{self, Mode, Stream};
use super::rules::PublicationMachine;
use super::sending::READ_MAX;
use super::window::Origin;
use super::{Breaker, Deferred, Output, Parked, Source};
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;

impl PublicationMachine {
    pub(super) fn lane_of(&self, aggregate_id: AggregateId) -> usize {
        lane::lane_of(aggregate_id, self.partitions) as usize
    }

    /// Takes an event out of publication for now. An event that came from a row keeps the row.
    pub(super) fn set_aside(&mut self, event: &StoredEvent, lane: usize, origin: Origin) {
        let (seq, aggregate_id) = (event.seq, event.aggregate_id);
        let quarantined = self.quarantined.contains(&aggregate_id);
        match origin {
            Origin::Quarantine => {}
            Origin::Deferral if !quarantined => {}
            Origin::Journal if !quarantined => {
                let (lane, partitions) = (lane as u32, self.partitions);
                self.deferred.push(Deferred { seq, aggregate_id, lane, partitions });
            }
            Origin::Journal | Origin::Deferral => {
                // An earlier publisher may have deferred an event that this one has read from the journal.
                self.undeferred.push(seq);
                match self.releases.get_mut(&aggregate_id) {
                    // The release is ahead of the journal: this event was read from its row and delivered.
                    Some(stream) if seq <= stream.after => return,
                    Some(stream) => stream.behind = true,
                    None => {}
                }
                self.parked.push(Parked { seq, aggregate_id, error: None });
            }
        }
    }

    /// Stops sending in this lane. Events in flight are set aside when their failure is reported.
    pub(super) fn stop_lane(&mut self, lane: usize) {
        self.lanes[lane].mode = Mode::Aside;
        // The release of an aggregate is undone here; the next heartbeat reports it again.
        self.quarantined.extend(self.window.released_aggregates(lane));
        let partitions = self.partitions;
        self.releases.retain(|aggregate_id, _| lane::lane_of(*aggregate_id, partitions) as usize != lane);
        for (event, origin) in self.window.evict_lane(lane) {
            self.set_aside(&event, lane, origin);
        }
    }

    /// While the broker is tried, a lane that fills the window is set aside, so that another lane can be tried too. One lane's
    /// failure does not show whether the broker is at fault.
    pub(super) fn make_room(&mut self) {
        let broker_tries = matches!(self.breaker, Breaker::HalfOpen { proven: false, .. });
        if !self.lease || !broker_tries || self.window.has_room() {
            return;
        }
        let in_hand: Vec<usize> = (0..self.lanes.len()).map(|lane| self.window.in_hand_of(lane)).collect();
        let Some(most) = (0..in_hand.len()).max_by_key(|lane| in_hand[*lane]) else { return };
        if in_hand.contains(&0) && self.lanes[most].is_flowing() {
            self.stop_lane(most);
            self.lanes[most].drain();
        }
    }

    /// After a takeover: these lanes have deferred events, each up to this position.
    pub(super) fn find_deferred(&mut self, deferred: &[(u32, i64)]) {
        for (lane, last) in deferred {
            if let Some(of) = self.lanes.get_mut(*lane as usize) {
                of.drain();
                (of.rows_upto, of.proven) = (*last, false);
            }
        }
    }

    pub(super) fn retry_lane(&mut self, lane: u32, attempt: u32) {
        if let Some(of) = self.lanes.get_mut(lane as usize)
            && of.is_aside()
            && of.attempt == attempt
        {
            of.due = true;
        }
    }

    pub(super) fn retry_all_lanes(&mut self) {
        for of in self.lanes.iter_mut().filter(|of| of.is_aside()) {
            of.due = true;
        }
    }

    /// A retry begins when the producer has reported everything that was in flight.
    pub(super) fn begin_due_lanes(&mut self) {
        if !self.lease || matches!(self.breaker, Breaker::Open { .. }) {
            return;
        }
        for (lane, of) in self.lanes.iter_mut().enumerate() {
            if of.due && self.window.in_flight_of(lane) == 0 {
                of.due = false;
                if of.is_aside() {
                    of.drain();
                }
            }
        }
    }

    pub(super) fn close_lanes(&mut self) {
        let broker_tries = matches!(self.breaker, Breaker::HalfOpen { proven: false, .. });
        for (lane, of) in self.lanes.iter_mut().enumerate() {
            let nothing_waits = self.window.in_hand_of(lane) == 0;
            if of.opened && of.is_flowing() && of.suspicion.is_none() && (of.proven || nothing_waits) {
                (of.opened, of.attempt) = (false, 0);
                of.proven |= !broker_tries;
                self.outputs.push(Output::LaneClosed { lane: lane as u32 });
            }
        }
    }

    pub(super) fn released(&mut self, aggregates: &[AggregateId]) {
        if !self.lease || matches!(self.breaker, Breaker::Open { .. }) {
            return;
        }
        for aggregate_id in aggregates {
            let lane = &self.lanes[self.lane_of(*aggregate_id)];
            // An aggregate with events in the window is being sent already. The release is reported again until its rows are gone.
            let begins = self.quarantined.contains(aggregate_id)
                && !self.window.has_aggregate(*aggregate_id)
                && lane.is_flowing()
                && lane.suspicion.is_none();
            if begins {
                self.releases.entry(*aggregate_id).or_default();
            } else if !self.quarantined.contains(aggregate_id) && !self.window.has_aggregate(*aggregate_id) {
                // Its events have all been dealt with; only the aggregate's own row may be left.
                self.unquarantined.push(*aggregate_id);
            }
        }
    }

    /// Asks for the next page of each lane and aggregate that is to be sent again, as far as there is room.
    pub(super) fn read_rows(&mut self) {
        if !self.lease || matches!(self.breaker, Breaker::Open { .. }) {
            return;
        }
        let asked = |stream: &Stream| stream.asked.map_or(0, |(_, limit)| limit);
        let of_lanes = self.lanes.iter().filter_map(|lane| match &lane.mode {
            Mode::Draining(stream) => Some(stream),
            Mode::Flowing | Mode::Aside => None,
        });
        let expected: usize = of_lanes.chain(self.releases.values()).map(asked).sum();
        let mut room = self.window.row_room().saturating_sub(expected);
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let (suspected, one) = (lane.suspicion.is_some(), !lane.proven);
            let rows_upto = lane.rows_upto;
            let Mode::Draining(stream) = &mut lane.mode else { continue };
            let idle = self.window.in_hand_of(number) == 0 && self.next > rows_upto && !suspected;
            // One event of each lane is tried, whatever room there is.
            if idle && stream.asked.is_none() && (room > 0 || one) {
                let limit = if one { 1 } else { room.min(READ_MAX) };
                room = room.saturating_sub(limit);
                self.tokens += 1;
                self.outputs.push(ask(Source::Lane(number as u32), stream, limit, self.tokens));
            }
        }
        for (aggregate_id, stream) in &mut self.releases {
            if stream.asked.is_none() && !self.window.has_aggregate(*aggregate_id) && room > 0 {
                let limit = room.min(READ_MAX);
                room -= limit;
                self.tokens += 1;
                self.outputs.push(ask(Source::Aggregate(*aggregate_id), stream, limit, self.tokens));
            }
        }
    }

    pub(super) fn rows_read(&mut self, of: Source, token: u64, events: Vec<Arc<StoredEvent>>) {
        match of {
            Source::Lane(lane) => self.deferred_read(lane as usize, token, events),
            Source::Aggregate(aggregate_id) => self.parked_read(aggregate_id, token, events),
        }
    }

    fn deferred_read(&mut self, lane: usize, token: u64, events: Vec<Arc<StoredEvent>>) {
        let Some(Mode::Draining(stream)) = self.lanes.get_mut(lane).map(|lane| &mut lane.mode) else {
            return;
        };
        let Some(limit) = stream.answered(token) else { return };
        stream.after = events.last().map_or(stream.after, |last| last.seq);
        let all_read = events.len() < limit;
        for event in events {
            if self.quarantined.contains(&event.aggregate_id) {
                self.set_aside(&event, lane, Origin::Deferral);
            } else {
                self.window.enqueue(event, lane, Origin::Deferral);
            }
        }
        if all_read {
            // Every row was written before this read was asked for; later events of the lane are held.
            self.lanes[lane].mode = Mode::Flowing;
        }
        for event in self.window.take_held(lane) {
            self.admit(event);
        }
    }

    fn parked_read(&mut self, aggregate_id: AggregateId, token: u64, events: Vec<Arc<StoredEvent>>) {
        let lane = self.lane_of(aggregate_id);
        let Some(stream) = self.releases.get_mut(&aggregate_id) else { return };
        let Some(limit) = stream.answered(token) else { return };
        stream.after = events.last().map_or(stream.after, |last| last.seq);
        if events.len() < limit && !stream.behind {
            self.releases.remove(&aggregate_id);
            self.quarantined.remove(&aggregate_id);
            if events.is_empty() {
                // The last event was discarded, or the page before was the last: no delivery will end the quarantine.
                self.unquarantined.push(aggregate_id);
            }
        }
        for event in events {
            if !self.window.holds(event.seq) {
                self.window.enqueue(event, lane, Origin::Quarantine);
            }
        }
    }
}

fn ask(of: Source, stream: &mut Stream, limit: usize, token: u64) -> Output {
    stream.asked = Some((token, limit));
    stream.behind = false;
    Output::ReadRows { of, after: stream.after, limit, token }
}
