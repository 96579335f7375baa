//! An order as the sum of its events. `evolve` is total: it cannot refuse what has already happened.

use std::fmt;

use chrono::{DateTime, Utc};
use engine::aggregate::Recorded;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::{EventData, OrderEvent};
use super::value::{Currency, CustomerId, Items, OrderId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Created,
    Paid,
    Shipped,
    Completed,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Created, Self::Paid, Self::Shipped, Self::Completed, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An order before and after its first event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Unplaced,
    Placed(Placed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub status: Status,
    pub currency: Currency,
    pub items: Items,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Order {
    /// The version of the last event applied; 0 before the first.
    pub fn version(&self) -> i64 {
        match self {
            Self::Unplaced => 0,
            Self::Placed(placed) => placed.version,
        }
    }
}

/// The order after `event`. The match names every event, so a new one does not compile until it is given a meaning.
pub fn evolve(order: Order, event: &Recorded<OrderEvent>) -> Order {
    let next_status = match &event.data.data {
        EventData::Created { currency, items } => {
            return Order::Placed(Placed {
                order_id: OrderId(event.aggregate_id.0),
                customer_id: event.data.customer_id,
                status: Status::Created,
                currency: *currency,
                items: items.clone(),
                version: event.version,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
            });
        }
        EventData::Paid { .. } => Status::Paid,
        EventData::Shipped { .. } => Status::Shipped,
        EventData::Completed => Status::Completed,
        EventData::Cancelled { .. } => Status::Cancelled,
    };
    match order {
        Order::Unplaced => Order::Unplaced,
        Order::Placed(placed) => Order::Placed(Placed {
            status: next_status,
            version: event.version,
            updated_at: event.occurred_at,
            ..placed
        }),
    }
}
