//! An event as JSON: what the table holds and the message queue carries, byte for byte. `contract/` has an example of each.
//!
//! One flat object, read in a single pass without buffering: rehydrating a long order is mostly this.

use chrono::{DateTime, Utc};
use engine::aggregate::{DecodeError, Recorded};
use kit::value::ShortText;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{EventData, OrderEvent};
use super::value::{Currency, CustomerId, Item, Items, OrderId};

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

/// Writes `event` as it is stored and published.
pub fn encode(event: &Recorded<OrderEvent>) -> Result<String, serde_json::Error> {
    let OrderEvent { customer_id, data } = &event.data;
    let mut wire = Wire {
        event_id: event.event_id,
        event_type: data.event_type().into(),
        order_id: OrderId(event.aggregate_id.0),
        version: event.version,
        customer_id: *customer_id,
        occurred_at: event.occurred_at,
        currency: None,
        items: None,
        total_minor: None,
        payment_reference: None,
        tracking_number: None,
        carrier: None,
        reason: None,
    };
    match data {
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
///
/// # Errors
/// When this version does not know the event's type, or one of its values.
pub fn decode(payload: &str) -> Result<OrderEvent, DecodeError> {
    let wire: Wire<'_> = serde_json::from_str(payload)?;
    let data = match wire.event_type.as_ref() {
        "OrderCreated" => {
            let (Some(currency), Some(lines)) = (wire.currency, wire.items) else {
                return Err("OrderCreated without currency or items".into());
            };
            let items = Items::parse(lines).map_err(|error| format!("items: {error}"))?;
            EventData::Created { currency, items }
        }
        "OrderPaid" => EventData::Paid { payment_reference: wire.payment_reference },
        "OrderShipped" => EventData::Shipped { tracking_number: wire.tracking_number, carrier: wire.carrier },
        "OrderCompleted" => EventData::Completed,
        "OrderCancelled" => EventData::Cancelled { reason: wire.reason },
        other => return Err(format!("unknown event type {other:?}").into()),
    };
    Ok(OrderEvent { customer_id: wire.customer_id, data })
}
