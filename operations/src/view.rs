//! Quarantined aggregates and discarded events, as operators see them over HTTP and by the commands.

use chrono::{DateTime, Utc};
use engine::aggregate::Name;
use engine::publisher::discard;
use engine::publisher::outbox;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

/// A view in the words of a service: `order_id` for `aggregate_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worded<T> {
    name: Name,
    pub view: T,
}

impl<T> Worded<T> {
    pub fn new(name: Name, view: impl Into<T>) -> Self {
        Self { name, view: view.into() }
    }

    /// `order_id`
    pub(crate) fn id(&self) -> String {
        format!("{}_id", self.name.one)
    }

    /// `quarantined_orders`
    pub(crate) fn quarantined(&self) -> String {
        format!("quarantined_{}", self.name.many)
    }
}

// The fields' names are those of the schemas, which utoipa derives; a test compares them.

/// The aggregate has events that wait for an operator.
#[derive(Debug, Clone, ToSchema)]
pub struct QuarantinedAggregate {
    pub aggregate_id: Uuid,
    /// Why the broker refused the first of its waiting events.
    pub error: String,
    pub since: DateTime<Utc>,
    /// When an operator released it; its events are then on their way.
    pub released_at: Option<DateTime<Utc>>,
    pub waiting_events: i64,
    /// Position of the first of them, the refused one; `null` when none waits any more.
    pub first_waiting_seq: Option<i64>,
}

impl From<outbox::QuarantinedAggregate> for QuarantinedAggregate {
    fn from(of: outbox::QuarantinedAggregate) -> Self {
        Self {
            aggregate_id: of.aggregate_id.0,
            error: of.error,
            since: of.since,
            released_at: of.released_at,
            waiting_events: of.waiting_events,
            first_waiting_seq: of.first_waiting_seq,
        }
    }
}

impl Serialize for Worded<QuarantinedAggregate> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(&self.id(), &self.view.aggregate_id)?;
        map.serialize_entry("error", &self.view.error)?;
        map.serialize_entry("since", &self.view.since)?;
        map.serialize_entry("released_at", &self.view.released_at)?;
        map.serialize_entry("waiting_events", &self.view.waiting_events)?;
        map.serialize_entry("first_waiting_seq", &self.view.first_waiting_seq)?;
        map.end()
    }
}

/// The record of an event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
pub struct DiscardedEvent {
    pub aggregate_id: Uuid,
    /// Position in the journal.
    #[schema(example = 17)]
    pub seq: i64,
    pub discarded_at: DateTime<Utc>,
    /// As they named themselves.
    pub discarded_by: String,
    pub reason: String,
    /// Why the broker had refused the event.
    pub error: String,
}

impl From<discard::DiscardedEvent> for DiscardedEvent {
    fn from(of: discard::DiscardedEvent) -> Self {
        Self {
            aggregate_id: of.aggregate_id.0,
            seq: of.seq,
            discarded_at: of.discarded_at,
            discarded_by: of.discarded_by,
            reason: of.reason,
            error: of.error,
        }
    }
}

impl Serialize for Worded<DiscardedEvent> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(&self.id(), &self.view.aggregate_id)?;
        map.serialize_entry("seq", &self.view.seq)?;
        map.serialize_entry("discarded_at", &self.view.discarded_at)?;
        map.serialize_entry("discarded_by", &self.view.discarded_by)?;
        map.serialize_entry("reason", &self.view.reason)?;
        map.serialize_entry("error", &self.view.error)?;
        map.end()
    }
}
