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
//! ```
//!
//! Invariants, after every input:
//! - version n+1 of an order is not sent before version n was delivered (or an operator discarded it);
//! - `published` never passes an event that is neither delivered nor parked, and never moves back;
//! - nothing is sent without the lease, nor while the breaker is open, and only one event until a half-open breaker
//!   has seen a delivery;
//! - at most `window` events are held; the rest stays in the table.

mod rules;
mod window;

use std::sync::Arc;

pub use rules::Machine;

use crate::journal::StoredEvent;
use crate::order::OrderId;

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

impl Breaker {
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// What the broker, or the client library on its behalf, said about one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Delivered,
    /// The broker cannot be reached or cannot take anything now: an outage, which spends no event's chances.
    Unavailable(String),
    /// This very record is refused, and will be however often it is sent.
    Refused(String),
}

#[derive(Debug, Clone)]
pub enum Input {
    /// This instance is the publisher now. `published`: the cursor; `head`: the journal's last position.
    LeaseGained {
        published: i64,
        head: i64,
        quarantined: Vec<OrderId>,
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
        reports: Vec<(i64, Report)>,
    },
    /// The client has lost every broker; what is in flight will not arrive.
    BrokerLost(String),
    /// The time for another attempt has come.
    Retry {
        attempt: u32,
    },
    /// Another instance has moved the cursor: the broker is well.
    OthersPublished,
    /// An operator released this order; these are its parked events, in order.
    Released {
        order_id: OrderId,
        events: Vec<Arc<StoredEvent>>,
    },
    /// Something that was refused for the moment may be tried again (a failed read).
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Give this event to the producer; its report comes back with [`Machine::epoch`].
    Send(Arc<StoredEvent>),
    /// Read at most `limit` events behind position `after`.
    Read {
        after: i64,
        limit: usize,
    },
    /// To be written in one transaction, under the lease.
    Progress(Progress),
    /// Drop whatever the producer still holds.
    Abandon,
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
    /// Everything up to here is delivered or parked.
    pub published: i64,
    pub parked: Vec<Parked>,
    /// Parked events that have been delivered after a release.
    pub unparked: Vec<i64>,
    /// Orders whose last parked event was discarded: they are well without another delivery.
    pub unquarantined: Vec<OrderId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub seq: i64,
    pub order_id: OrderId,
    /// Why the broker refused it; `None` when it only waits behind a refused event of its order.
    pub error: Option<String>,
}
