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
//! A half-open breaker that loses the lease opens again with the same attempt number, since the broker has not failed.
//!
//! # Lanes
//! The aggregates of one partition are a [lane](lane). The breaker above is for the broker as a whole. Each lane has one of its
//! own, for a partition that fails while others work:
//!
//! ```text
//!             it fails, others deliver                     retry
//!   ┌─────────┐ ────────────────────────> ┌───────┐ ─────────────────────> ┌──────────┐
//!   │ flowing │                           │ aside │                        │ draining │
//!   └─────────┘ <──────┐                  └───────┘ <───────────────────── └──────────┘
//!                      │                              it fails again            │
//!                      └────────────────────────────────────────────────────────┘
//!                                  all that was set aside has been read
//! ```
//!
//! A lane whose delivery fails is a suspect first. The lane alone is at fault if another lane delivers after that, or has delivered
//! since the failed event was sent and has nothing in flight. Otherwise the broker is at fault.
//!
//! While a lane is not flowing, its events are set aside in a table. They are written in the transaction that moves the cursor past
//! them. Later they are read from the table and sent, before any newer event of the lane.
//!
//! Invariants, after every input:
//! - version n+1 of an aggregate is not sent before version n was delivered (or an operator discarded it);
//! - `published` never passes an event that is neither delivered nor set aside (parked or deferred), and never moves back;
//! - nothing is sent without the lease, nor while the breaker is open, nor in a lane that is aside; and only one event a lane until
//!   a delivery has shown that the lane takes events again;
//! - at most `window` events are held, released and deferred ones included; the rest stays in the tables.

mod aside;
pub mod lane;
mod rules;
mod scope;
mod sending;
mod tenure;
mod window;

use std::sync::Arc;

pub use rules::PublicationMachine;
pub use window::message_bytes;

use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::transport::DeliveryReport;

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

impl Progress {
    /// Only the cursor moves.
    pub fn is_plain(&self) -> bool {
        self.parked.is_empty()
            && self.unparked.is_empty()
            && self.unquarantined.is_empty()
            && self.deferred.is_empty()
            && self.undeferred.is_empty()
    }
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

#[derive(Debug, Clone)]
pub enum Input {
    /// This instance is the publisher now. `published`: the cursor; `head`: the journal's last position.
    LeaseGained {
        published: i64,
        head: i64,
        quarantined: Vec<AggregateId>,
        /// Partitions of the topic, by which `deferred` is divided into lanes; 0 when that is not known.
        partitions: u32,
        /// Lanes of which events are set aside, each with the last of their positions.
        deferred: Vec<(u32, i64)>,
    },
    LeaseLost,
    /// Events passed on in memory, right after their commit.
    Committed(Vec<Arc<StoredEvent>>),
    /// The journal reaches at least this far.
    HeadSeen(i64),
    /// Another instance has appended: the journal may be longer than this machine knows.
    JournalNotified,
    /// The answer to [`Output::Read`].
    Read(Vec<Arc<StoredEvent>>),
    ReadFailed,
    /// Delivery reports of sends of this epoch, by position.
    Reports {
        epoch: u64,
        reports: Vec<(i64, DeliveryReport)>,
    },
    /// The lane's client has lost every broker; what it has in flight will not arrive.
    BrokerLost {
        lane: u32,
        cause: String,
    },
    /// Nothing in flight in this lane was acknowledged for too long. `deliveries` is the count of deliveries some time ago: one
    /// that it includes is too old to show that another lane works now.
    Silent {
        lane: u32,
        cause: String,
        deliveries: u64,
    },
    /// How many partitions the topic has.
    Partitions(u32),
    /// The time for another attempt has come.
    Retry {
        attempt: u32,
    },
    /// The time for another attempt of this lane alone has come.
    RetryLane {
        lane: u32,
        attempt: u32,
    },
    /// Another instance has moved the cursor, so the broker works.
    OthersPublished,
    /// An operator has released these aggregates, and their events are not all delivered yet.
    Released(Vec<AggregateId>),
    /// The answer to [`Output::ReadRows`].
    Rows {
        of: Source,
        token: u64,
        events: Vec<Arc<StoredEvent>>,
    },
    /// A read that failed may be tried again.
    Tick,
}

/// Which events that were set aside are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Deferred: their partition took nothing.
    Lane(u32),
    /// Parked: the broker refused one of them.
    Aggregate(AggregateId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Give this event to the lane's producer; its report comes back with [`PublicationMachine::epoch`].
    Send {
        lane: u32,
        event: Arc<StoredEvent>,
    },
    /// Read at most `limit` events behind position `after`.
    Read {
        after: i64,
        limit: usize,
    },
    /// Read at most `limit` events that were set aside, behind position `after`, once all [`Output::Progress`] up to here is written.
    ReadRows {
        of: Source,
        after: i64,
        limit: usize,
        token: u64,
    },
    /// To be written in one transaction, under the lease.
    Progress(Progress),
    /// Drop whatever the lane's producer still holds.
    Abandon {
        lane: u32,
    },
    /// The lane has failed, alone: arrange for [`Input::RetryLane`].
    LaneOpened {
        lane: u32,
        attempt: u32,
        cause: String,
    },
    /// The lane works again, and none of its events is set aside any more.
    LaneClosed {
        lane: u32,
    },
    /// The breaker opened because of some lanes, and now another lane has an event to send. Bring the retry forward: its outcome
    /// shows whether the broker is at fault or those lanes alone.
    RetryEarly,
    /// Release the lease and acquire it again: the number of partitions has changed, and with it the lanes.
    Forfeit,
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

/// What has changed since the last progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is delivered, parked or deferred.
    pub published: i64,
    pub parked: Vec<Parked>,
    /// Set aside because their lane has failed.
    pub deferred: Vec<Deferred>,
    /// Deferred events that have been delivered, or parked.
    pub undeferred: Vec<i64>,
    /// Parked events that have been delivered after a release.
    pub unparked: Vec<i64>,
    /// Aggregates whose last parked event was discarded. They leave the quarantine without another delivery.
    pub unquarantined: Vec<AggregateId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub seq: i64,
    pub aggregate_id: AggregateId,
    /// Why the broker refused it; `None` when it only waits behind a refused event of its aggregate.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    pub seq: i64,
    pub aggregate_id: AggregateId,
    pub lane: u32,
    /// Of how many partitions.
    pub partitions: u32,
}
