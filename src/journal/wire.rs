//! An event as JSON: what the table holds and Kafka carries, byte for byte. `contract/` has an example of each.
//!
//! One flat object, read in a single pass without buffering: rehydrating a long order is mostly this.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::order::{Currency, CustomerId, EventData, Item, Items, OrderEvent, OrderId, ShortText};

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    event_id: Uuid,
    #[serde(borrow)]
    event_type: std::borrow::Cow<'a, str>,
    order_id: OrderId,
    version: i64,
    customer_id: CustomerId,
    occurred_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    items: Option<Vec<Item>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    total_minor: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    payment_reference: Option<ShortText>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    tracking_number: Option<ShortText>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    carrier: Option<ShortText>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<ShortText>,
}

/// A row that does not hold an event this version understands: a newer instance wrote it, or the table was edited.
#[derive(Debug, thiserror::Error)]
#[error("event {event_id} cannot be read: {reason}; a newer version of the service may have written it")]
pub struct UnreadableEvent {
    pub event_id: Uuid,
    pub reason: String,
}

/// Writes `event` as it is stored and published.
pub fn encode(event_id: Uuid, event: &OrderEvent) -> Result<String, serde_json::Error> {
    let mut wire = Wire {
        event_id,
        event_type: event.data.event_type().into(),
        order_id: event.order_id,
        version: event.version,
        customer_id: event.customer_id,
        occurred_at: event.occurred_at,
        currency: None,
        items: None,
        total_minor: None,
        payment_reference: None,
        tracking_number: None,
        carrier: None,
        reason: None,
    };
    match &event.data {
        EventData::Created { currency, items } => {
            wire.currency = Some(*currency);
            wire.items = Some(items.lines().to_vec());
            wire.total_minor = Some(items.total_minor());
        }
        EventData::Paid { payment_reference } => wire.payment_reference = payment_reference.clone(),
        EventData::Shipped { tracking_number, carrier } => {
            wire.tracking_number = tracking_number.clone();
            wire.carrier = carrier.clone();
        }
        EventData::Completed => {}
        EventData::Cancelled { reason } => wire.reason = reason.clone(),
    }
    serde_json::to_string(&wire)
}

/// Reads what [`encode`] wrote, in this version of the service or an earlier one.
pub fn decode(event_id: Uuid, payload: &str) -> Result<OrderEvent, UnreadableEvent> {
    let unreadable = |reason: String| UnreadableEvent { event_id, reason };
    let wire: Wire<'_> = serde_json::from_str(payload).map_err(|error| unreadable(error.to_string()))?;
    let data = match wire.event_type.as_ref() {
        "OrderCreated" => {
            let (Some(currency), Some(lines)) = (wire.currency, wire.items) else {
                return Err(unreadable("OrderCreated without currency or items".into()));
            };
            let items = Items::parse(lines).map_err(|error| unreadable(format!("items: {error}")))?;
            EventData::Created { currency, items }
        }
        "OrderPaid" => EventData::Paid { payment_reference: wire.payment_reference },
        "OrderShipped" => EventData::Shipped { tracking_number: wire.tracking_number, carrier: wire.carrier },
        "OrderCompleted" => EventData::Completed,
        "OrderCancelled" => EventData::Cancelled { reason: wire.reason },
        other => return Err(unreadable(format!("unknown event type {other:?}"))),
    };
    Ok(OrderEvent {
        order_id: wire.order_id,
        version: wire.version,
        customer_id: wire.customer_id,
        occurred_at: wire.occurred_at,
        data,
    })
}
