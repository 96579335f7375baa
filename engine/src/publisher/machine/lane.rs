//! A lane: the aggregates whose events go to the same partition of the topic, and its state.

use crate::aggregate::AggregateId;
use crate::transport::partition_of;

/// Most lanes. Each has its own producer, with connections and threads. If a topic has more partitions, several share a lane.
pub const LANES_MAX: u32 = 16;

/// How many lanes there are on a topic with so many partitions; one when that is not known.
pub fn lanes(partitions: u32) -> u32 {
    partitions.clamp(1, LANES_MAX)
}

/// The lane of an aggregate.
pub fn lane_of(aggregate_id: AggregateId, partitions: u32) -> u32 {
    partition_of(aggregate_id, partitions.max(1)) % lanes(partitions)
}

/// Rows that were set aside, read page by page in their order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The last position read.
    pub(super) after: i64,
    /// The read under way: its token, and how many rows were asked for.
    pub(super) asked: Option<(u64, usize)>,
    /// Rows have been added since the last read was asked for.
    pub(super) behind: bool,
}

impl Stream {
    /// The limit of the read that this answers; `None` if it is not the read under way.
    pub(super) fn answered(&mut self, token: u64) -> Option<usize> {
        self.asked.take_if(|(asked, _)| *asked == token).map(|(_, limit)| limit)
    }
}

#[derive(Debug)]
pub(super) enum Mode {
    /// Events go from the journal to the producer.
    Flowing,
    /// Nothing is sent until a retry; events are set aside.
    Aside,
    /// What was set aside is read and sent; new events are set aside behind it.
    Draining(Stream),
}

#[derive(Debug)]
pub(super) struct Suspicion {
    pub(super) cause: String,
    /// How many deliveries there had been when the event that failed was sent.
    pub(super) sent: u64,
    /// The client has reported that every broker is unreachable.
    pub(super) brokers_lost: bool,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) mode: Mode,
    /// An earlier publisher may have set aside events up to this position, some of them ahead of events of the same aggregate that
    /// were in flight. Rows are read only after the journal has been read this far, so that no event is taken twice.
    pub(super) rows_upto: i64,
    /// An event was delivered since the lane last failed. Until then one event is tried at a time.
    pub(super) proven: bool,
    /// Failed while the broker works. `attempt`: the number of its next retry.
    pub(super) opened: bool,
    pub(super) attempt: u32,
    /// How many deliveries there had been when it last failed.
    pub(super) opened_at: u64,
    /// The retry is due as soon as the producer has reported everything in flight.
    pub(super) due: bool,
    /// An event has failed, and it is not decided yet whether the lane alone is at fault.
    pub(super) suspicion: Option<Suspicion>,
    /// The number of its last delivery.
    pub(super) delivered: u64,
}

impl Lane {
    pub(super) fn new(proven: bool) -> Self {
        let mode = Mode::Flowing;
        Self {
            mode,
            rows_upto: 0,
            proven,
            opened: false,
            attempt: 0,
            opened_at: 0,
            due: false,
            suspicion: None,
            delivered: 0,
        }
    }

    pub(super) fn drain(&mut self) {
        self.mode = Mode::Draining(Stream::default());
    }

    pub(super) fn is_flowing(&self) -> bool {
        matches!(self.mode, Mode::Flowing)
    }

    pub(super) fn is_aside(&self) -> bool {
        matches!(self.mode, Mode::Aside)
    }

    /// Its rows are being read, or will be.
    pub(super) fn is_being_read(&self) -> bool {
        self.due || matches!(&self.mode, Mode::Draining(stream) if stream.asked.is_some())
    }

    /// It has not failed, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.suspicion.is_none() && !self.is_aside()
    }
}
