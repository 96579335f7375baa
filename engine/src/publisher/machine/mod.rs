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
//!
//! (A half-open breaker that loses the lease is open again, under the same number: that was no failure of the broker.)
//!
//! # Lanes
//! The aggregates of one partition are a [lane](lane). The breaker above is about the broker as a whole; each lane has one of its own,
//! for what a single partition cannot take:
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
//! A lane that fails is suspected first. If another one delivers then, or has delivered since the failed event was sent and
//! has nothing in flight, the lane alone is at fault. If none does, the broker is. While a lane is not flowing its events are set aside
//! in a table, written with the cursor, which passes them. They are read from there and sent before any later event of the lane.
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
mod window;

use std::sync::Arc;

pub use rules::Machine;
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
    /// The cursor moves, and that is all.
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
        reports: Vec<(i64, DeliveryReport)>,
    },
    /// The lane's client has lost every broker; what it has in flight will not arrive.
    BrokerLost {
        lane: u32,
        cause: String,
    },
    /// Nothing that is in flight in this lane has been acknowledged for too long. What the others had delivered up to a while ago, so many
    /// events, says nothing of the present.
    Silent {
        lane: u32,
        cause: String,
        deliveries: u64,
    },
    /// The topic has so many partitions.
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
    /// Another instance has moved the cursor: the broker is well.
    OthersPublished,
    /// An operator has released these aggregates, and their events are not all delivered yet.
    Released(Vec<AggregateId>),
    /// The answer to [`Output::ReadRows`].
    Rows {
        of: Source,
        token: u64,
        events: Vec<Arc<StoredEvent>>,
    },
    /// Something that was refused for the moment may be tried again (a failed read).
    Tick,
}

/// Whose events were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Deferred: their partition took nothing.
    Lane(u32),
    /// Parked: the broker refused one of them.
    Aggregate(AggregateId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Give this event to the lane's producer; its report comes back with [`Machine::epoch`].
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
    /// It takes events again, and nothing of it is set aside any more.
    LaneClosed {
        lane: u32,
    },
    /// The breaker is open because of some lanes, and another one has something to send: its fate would tell more. Bring the retry forward.
    RetryEarly,
    /// Give the lease up, and take it again: the lanes are others now.
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

/// What publication has achieved since the last one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is delivered, parked or deferred.
    pub published: i64,
    pub parked: Vec<Parked>,
    /// Set aside because their lane takes nothing.
    pub deferred: Vec<Deferred>,
    /// Deferred events that have been delivered, or parked.
    pub undeferred: Vec<i64>,
    /// Parked events that have been delivered after a release.
    pub unparked: Vec<i64>,
    /// Orders whose last parked event was discarded: they are well without another delivery.
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
