//! Where events go: what the publisher asks of a message broker, and what the broker's client reports.
//!
//! The publisher decides what is sent and when. A transport decides how: `kafka` (the feature of that name) or [`redis`].

mod history;
#[cfg(feature = "kafka")]
pub mod kafka;
mod message;
mod partition;
mod partitioner;
pub mod redis;
mod trace;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::journal::{Reader, StoredEvent};

pub use self::history::TopicHistory;
pub use self::partition::{PartitionState, shortage, strength};
pub use self::partitioner::partition_of;

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a client reports. Bounded in fact: there is one report for each event in flight, and the publisher bounds those.
pub type Signals = mpsc::UnboundedSender<Signal>;

/// A message broker, as it is configured.
pub trait Transport: Debug + Send + Sync {
    /// Makes a client with one lane. It connects in the background, so the broker may be down.
    ///
    /// # Errors
    /// When no client can be made, as with invalid settings.
    fn connect(&self, signals: Signals) -> Result<Box<dyn Client>, TransportError>;

    /// How long nothing may be acknowledged before that counts as a failure.
    fn delivery_timeout(&self) -> Duration;

    /// Runs beside the publisher for as long as it lives, for work such as creating the topic. Ends when it is dropped.
    fn run_beside(&self, reader: Reader) -> BoxFuture<()>;

    /// A client that sends copies of published events while the publisher publishes. Makes the topic if it is missing.
    fn copies(&self, signals: Signals) -> BoxFuture<Result<Box<dyn Client>, TransportError>>;

    /// Records that the events up to position `to` were sent again. Returns whether the topic lacked them, having been made anew.
    fn replayed(&self, reader: Reader, to: i64) -> BoxFuture<bool>;

    /// How many replicas must have an event before it is acknowledged; 1 if the broker does not tell. `None`: it did not answer, which
    /// says nothing.
    fn replicas_wanted(&self) -> BoxFuture<Option<i32>>;
}

/// Sends for one life of the publisher. A lane is one partition or a few. A lane that is stuck does not delay another one.
pub trait Client: Send {
    /// Makes lanes until there are `lanes`. Never removes one.
    ///
    /// # Errors
    /// When a lane cannot be made.
    fn ensure_lanes(&mut self, lanes: u32) -> Result<(), TransportError>;

    /// Sends one event; `attempt` is the retry that it belongs to. Its outcome comes as a [`Signal::Report`], also if it is refused
    /// at once. Events of a lane arrive in the order in which they were sent, unless one of them fails.
    fn send(&self, lane: u32, epoch: u64, event: &StoredEvent, attempt: Option<u32>);

    /// Replaces the lane's client if that has failed for good: it would refuse every event, even when the cause is over.
    ///
    /// # Errors
    /// When it cannot be made.
    fn replace_failed(&mut self, lane: u32) -> Result<(), TransportError>;

    /// Drops everything that the lane has in flight. Every dropped event is reported as failed.
    ///
    /// # Errors
    /// When the lane cannot be replaced.
    fn abandon(&mut self, lane: u32) -> Result<(), TransportError>;

    /// The state of each partition, asked over the lane's connections. `None`: the broker does not answer within `patience`.
    fn partitions(&self, lane: u32, patience: Duration) -> BoxFuture<Option<Vec<PartitionState>>>;

    /// Why nothing is acknowledged, if that is known: the broker is there, and refuses the link.
    fn problem(&self) -> Option<String> {
        None
    }

    /// A probe that can be run again and again: does the broker answer within `patience`?
    fn probe(&self, patience: Duration) -> Probe;
}

/// See [`Client::probe`].
pub type Probe = Box<dyn Fn() -> BoxFuture<bool> + Send>;

/// A client or a lane cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// What a client reports.
#[derive(Debug)]
pub enum Signal {
    Report {
        lane: u32,
        epoch: u64,
        seq: i64,
        report: DeliveryReport,
        /// Of the payload.
        bytes: usize,
        /// Since the event was handed over.
        took: Duration,
    },
    /// Every broker that this lane's client knows is unreachable.
    BrokerLost { lane: u32, cause: String },
    /// The broker said that it will read nothing from this lane for so long, since a quota is used up.
    Throttled { lane: u32, time: Duration },
}

/// What the broker, or the client library on its behalf, said about one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryReport {
    Delivered,
    /// The broker cannot be reached or takes nothing now: an outage, which is no event's fault.
    Unavailable(String),
    /// The broker refuses this record, and would refuse it again.
    Refused(String),
}
