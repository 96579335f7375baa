//! The events of an order. Past tense; never changed once written.

use chrono::{DateTime, Utc};

use super::value::{Currency, CustomerId, Items, OrderId, ShortText};

/// One event of one order's history. `version` counts from 1 without gaps within the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderEvent {
    pub order_id: OrderId,
    pub version: i64,
    pub customer_id: CustomerId,
    /// Never before the order's previous event, even if the clock stepped back in between.
    pub occurred_at: DateTime<Utc>,
    pub data: EventData,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventData {
    Created { currency: Currency, items: Items },
    Paid { payment_reference: Option<ShortText> },
    Shipped { tracking_number: Option<ShortText>, carrier: Option<ShortText> },
    Completed,
    Cancelled { reason: Option<ShortText> },
}

impl EventData {
    /// The event's name in the journal and on the wire. Part of the contract: never changed.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Created { .. } => "OrderCreated",
            Self::Paid { .. } => "OrderPaid",
            Self::Shipped { .. } => "OrderShipped",
            Self::Completed => "OrderCompleted",
            Self::Cancelled { .. } => "OrderCancelled",
        }
    }
}
