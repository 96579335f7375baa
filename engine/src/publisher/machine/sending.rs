//! After every input: what is read, recorded and sent next, and when the breaker closes.

use super::lane::Lane;
use super::rules::PublicationMachine;
use super::{Breaker, Output, Progress};

/// Most events in one read: enough for a round trip, far below the window.
pub(super) const READ_MAX: usize = 2_000;

impl PublicationMachine {
    /// What follows from the new state, whatever the input was.
    pub(super) fn finish(&mut self) -> Vec<Output> {
        self.make_room();
        self.judge();
        if self.lease && !matches!(self.breaker, Breaker::Open { .. }) {
            // Reads on when half the window is free: few large reads instead of many small ones. While the broker is being tried
            // any room is enough, so that every lane can be tried.
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

    pub(super) fn finish_without_reading(&mut self) -> Vec<Output> {
        self.judge();
        self.begin_due_lanes();
        self.progress();
        self.close_lanes();
        self.close_breaker();
        self.read_rows();
        self.send_ready();
        std::mem::take(&mut self.outputs)
    }

    /// Closes once every event is published or set aside. If a lane is not flowing, an event must have been delivered too: setting
    /// events aside proves nothing.
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
        // A released event may have a position that the journal's reader has not reached yet.
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
            && self.partitions_seen.is_none()
            && !matches!(self.breaker, Breaker::Open { .. })
            && of.is_well()
            && (one || more)
    }
}
