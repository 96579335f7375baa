//! The order as the engine sees it.

use chrono::{DateTime, Utc};
use engine::aggregate::{Aggregate, AggregateId, DecodeError, Name, Recorded};

use super::command::Command;
use super::decide::{Rejection, decide};
use super::event::OrderEvent;
use super::state::{Order, evolve};
use super::value::OrderId;
use super::wire;

impl Aggregate for Order {
    const NAME: Name = Name { one: "order", many: "orders" };

    type Command = Command;
    type Event = OrderEvent;
    type Rejection = Rejection;

    fn is_creation(command: &Command) -> bool {
        matches!(command, Command::Create { .. })
    }

    fn decide(&self, command: Command, _: DateTime<Utc>) -> Result<Vec<OrderEvent>, Rejection> {
        decide(self, command)
    }

    fn evolve(self, event: &Recorded<OrderEvent>) -> Self {
        evolve(self, event)
    }

    fn event_type(event: &OrderEvent) -> &'static str {
        event.data.event_type()
    }

    fn encode(event: &Recorded<OrderEvent>) -> Result<String, serde_json::Error> {
        wire::encode(event)
    }

    // The payload says its type itself, and every event so far is of the first schema version.
    fn decode(_: &str, _: u32, payload: &str) -> Result<OrderEvent, DecodeError> {
        wire::decode(payload)
    }
}

impl From<OrderId> for AggregateId {
    fn from(OrderId(id): OrderId) -> Self {
        Self(id)
    }
}
