//! Where events go: what the publisher asks of a message broker, and what the broker's client tells it.
//!
//! The publisher decides what is sent and when, a transport how. [`kafka`] is one.

pub mod kafka;
mod partition;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::journal::{Reader, StoredEvent};

pub use self::partition::{PartitionState, shortage, strength};

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a client puts what it has to say. Unbounded in type only: one report an event in flight, and the publisher bounds those.
pub type Signals = mpsc::UnboundedSender<Signal>;

/// A way to a message broker, as it is configured.
pub trait Transport: Debug + Send + Sync {
    /// Makes a client with one lane. Does not connect: that happens in the background, and the broker may well be down.
    ///
    /// # Errors
    /// When no client can be made at all, as with settings that are none.
    fn connect(&self, signals: Signals) -> Result<Box<dyn Client>, TransportError>;

    /// How long nothing may be acknowledged before that counts as failure.
    fn delivery_timeout(&self) -> Duration;

    /// What has to be done beside sending for as long as a publisher lives, such as to make the topic. Ends when it is dropped.
    fn attend(&self, reader: Reader) -> BoxFuture<()>;

    /// How many replicas must have an event before it counts as taken; 1 where the broker does not say.
    fn replicas_wanted(&self) -> BoxFuture<i32>;
}

/// What one life of the publisher sends with. A lane is one partition or a few; what is stuck in one does not hold another up.
pub trait Client: Send {
    /// From now on there are so many lanes; none is taken away.
    ///
    /// # Errors
    /// When a lane cannot be made.
    fn have_lanes(&mut self, lanes: u32) -> Result<(), TransportError>;

    /// Hands one event over, as part of retry `attempt` perhaps. What becomes of it is told by a [`Signal::Report`], also if it is
    /// refused at once. Events of a lane that are sent one after the other arrive in that order, unless one of them fails.
    fn send(&self, lane: u32, epoch: u64, event: &StoredEvent, attempt: Option<u32>);

    /// Makes the lane anew if it has failed for good: it would refuse every event, though what it failed of may be over.
    ///
    /// # Errors
    /// When it cannot be made.
    fn renew(&mut self, lane: u32) -> Result<(), TransportError>;

    /// Drops whatever the lane still holds. Every dropped event is reported as failed.
    ///
    /// # Errors
    /// When the lane cannot be made anew.
    fn abandon(&mut self, lane: u32) -> Result<(), TransportError>;

    /// What the broker says of each partition, asked over the lane's connections. `None`: it does not answer within `patience`.
    fn partitions(&self, lane: u32, patience: Duration) -> BoxFuture<Option<Vec<PartitionState>>>;

    /// A question that can be put again and again: does the broker answer within `patience`?
    fn probe(&self, patience: Duration) -> Probe;
}

/// See [`Client::probe`].
pub type Probe = Box<dyn Fn() -> BoxFuture<bool> + Send>;

/// No client, or no lane of it, can be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// What a client has to say.
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
}

/// What the broker, or the client library on its behalf, said about one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryReport {
    Delivered,
    /// The broker cannot be reached or cannot take anything now: an outage, which spends no event's chances.
    Unavailable(String),
    /// This very record is refused, and will be however often it is sent.
    Refused(String),
}
