//! The events of an order. Past tense; never changed once written.

use kit::value::ShortText;

use super::value::{Currency, CustomerId, Items};

/// What happened, and to whose order: a consumer needs no other event to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderEvent {
    pub customer_id: CustomerId,
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
