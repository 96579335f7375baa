//! Quarantined orders and discarded events, as operators see them over HTTP and by the commands.

use chrono::{DateTime, Utc};
use engine::publisher::discard;
use engine::publisher::outbox::QuarantinedAggregate;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// An order whose events wait for an operator.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuarantinedOrder {
    pub order_id: Uuid,
    /// Why the broker refused the first of its waiting events.
    pub error: String,
    pub since: DateTime<Utc>,
    /// When an operator released it; its events are then on their way.
    pub released_at: Option<DateTime<Utc>>,
    pub waiting_events: i64,
    /// Position of the first of them, the refused one; `null` when none waits any more.
    pub first_waiting_seq: Option<i64>,
}

impl From<QuarantinedAggregate> for QuarantinedOrder {
    fn from(of: QuarantinedAggregate) -> Self {
        Self {
            order_id: of.aggregate_id.0,
            error: of.error,
            since: of.since,
            released_at: of.released_at,
            waiting_events: of.waiting_events,
            first_waiting_seq: of.first_waiting_seq,
        }
    }
}

/// The record of an event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DiscardedEvent {
    pub order_id: Uuid,
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
            order_id: of.aggregate_id.0,
            seq: of.seq,
            discarded_at: of.discarded_at,
            discarded_by: of.discarded_by,
            reason: of.reason,
            error: of.error,
        }
    }
}
