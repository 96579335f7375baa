//! The lease is gained or lost, or the number of partitions changes: the window begins anew.

use super::lane::{self, Lane};
use super::rules::PublicationMachine;
use super::{Breaker, Output};
use crate::aggregate::AggregateId;

impl PublicationMachine {
    pub(super) fn lease_gained(&mut self, published: i64, head: i64, quarantined: Vec<AggregateId>) {
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

    pub(super) fn lease_lost(&mut self) {
        self.lease = false;
        self.forget_window();
        if let Breaker::HalfOpen { attempt, .. } = self.breaker {
            // The broker has not failed: the same attempt continues when the lease is regained.
            self.change_breaker(Breaker::Open { attempt });
        }
    }

    /// Nothing is lost: the events are behind the cursor in the journal, or set aside, and the next holder reads them from there.
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

    /// The number of partitions has changed. If events are set aside by the old number, the lease is released and acquired again:
    /// on acquiring it, the rows are divided by the new number. Otherwise nothing is sent until nothing is in flight: an event stays
    /// in the client of the lane in which it was sent, and so does its silence.
    pub(super) fn change_partitions(&mut self) {
        let Some(partitions) = self.partitions_seen else { return };
        if partitions == 0 || partitions == self.partitions {
            self.partitions_seen = None;
            return;
        }
        let flows = |lane: &Lane| lane.is_flowing() && lane.is_well() && !lane.opened;
        // An event that was read from a row keeps the row until it is delivered.
        let rows_are_left = self.window.has_deferred() || !self.lanes.iter().all(flows);
        if self.lease && rows_are_left {
            self.partitions_seen = None;
            return self.outputs.push(Output::Forfeit);
        }
        if self.window.in_flight() > 0 {
            return;
        }
        self.partitions_seen = None;
        self.partitions = partitions;
        let lanes = self.lanes() as usize;
        let proven = self.lanes.iter().all(|lane| lane.proven);
        self.lanes.clear();
        self.lanes.resize_with(lanes, || Lane::new(proven));
        self.window.assign_lanes(lanes, |aggregate_id| lane::lane_of(aggregate_id, partitions) as usize);
    }
}
