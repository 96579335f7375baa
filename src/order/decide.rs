//! Every rule of the life cycle, in the order in which refusals take precedence.

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::event::{EventData, OrderEvent};
use super::state::{Order, Status};

/// A rule said no. Nothing was written; asking again changes nothing until the order changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("there is no such order")]
    NotPlaced,
    #[error("the order exists already")]
    AlreadyPlaced,
    #[error("the order has not been paid yet")]
    NotPaid,
    #[error("the order has not been shipped yet")]
    NotShipped,
    #[error("the order is paid already")]
    AlreadyPaid,
    #[error("the order has been shipped already")]
    AlreadyShipped,
    #[error("the order is completed")]
    AlreadyCompleted,
    #[error("the order was cancelled")]
    AlreadyCancelled,
}

/// What happens when `command` meets `order`. One event today; a rule may need several tomorrow, and the journal writes all or none.
///
/// # Errors
/// The rule that says no.
pub fn decide(order: &Order, command: Command) -> Result<Vec<OrderEvent>, Rejection> {
    match (order, command) {
        (Order::Unplaced, Command::Create { customer_id, currency, items }) => {
            Ok(vec![OrderEvent { customer_id, data: EventData::Created { currency, items } }])
        }
        (Order::Unplaced, _) => Err(Rejection::NotPlaced),
        (Order::Placed(placed), command) => {
            let data = next_event(placed.status, command)?;
            Ok(vec![OrderEvent { customer_id: placed.customer_id, data }])
        }
    }
}

fn next_event(status: Status, command: Command) -> Result<EventData, Rejection> {
    use Status::{Cancelled, Completed, Created, Paid, Shipped};
    Ok(match (status, command) {
        (_, Command::Create { .. }) => return Err(Rejection::AlreadyPlaced),
        (Cancelled, _) => return Err(Rejection::AlreadyCancelled),
        (Completed, _) => return Err(Rejection::AlreadyCompleted),

        (Created, Command::Pay { payment_reference }) => EventData::Paid { payment_reference },
        (Paid, Command::Pay { .. }) => return Err(Rejection::AlreadyPaid),
        (Shipped, Command::Pay { .. } | Command::Ship { .. } | Command::Cancel { .. }) => {
            return Err(Rejection::AlreadyShipped);
        }

        (Paid, Command::Ship { tracking_number, carrier }) => EventData::Shipped { tracking_number, carrier },
        (Created, Command::Ship { .. } | Command::Complete) => return Err(Rejection::NotPaid),

        (Shipped, Command::Complete) => EventData::Completed,
        (Paid, Command::Complete) => return Err(Rejection::NotShipped),

        (Created | Paid, Command::Cancel { reason }) => EventData::Cancelled { reason },
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use engine::aggregate::{AggregateId, Recorded};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::evolve;
    use super::super::value::{Currency, CustomerId, Item, Items, Quantity, Sku, UnitPrice};
    use super::*;

    const PAY: Command = Command::Pay { payment_reference: None };
    const SHIP: Command = Command::Ship { tracking_number: None, carrier: None };
    const CANCEL: Command = Command::Cancel { reason: None };

    fn create() -> Command {
        Command::Create {
            customer_id: CustomerId(Uuid::from_u128(2)),
            currency: Currency::parse("EUR").unwrap(),
            items: Items::parse(vec![Item {
                sku: Sku::parse("tea").unwrap(),
                quantity: Quantity::parse(2).unwrap(),
                unit_price_minor: UnitPrice::parse(150).unwrap(),
            }])
            .unwrap(),
        }
    }

    fn order_in(status: Status) -> Order {
        let history = match status {
            Status::Created => vec![create()],
            Status::Paid => vec![create(), PAY],
            Status::Shipped => vec![create(), PAY, SHIP],
            Status::Completed => vec![create(), PAY, SHIP, Command::Complete],
            Status::Cancelled => vec![create(), CANCEL],
        };
        history.into_iter().fold(Order::default(), |order, command| {
            let events = decide(&order, command).unwrap();
            after(order, events)
        })
    }

    /// The order after events that took place one behind the other.
    fn after(order: Order, events: Vec<OrderEvent>) -> Order {
        events.into_iter().fold(order, |order, data| {
            let (event_id, aggregate_id) = (Uuid::nil(), AggregateId(Uuid::from_u128(1)));
            let (version, occurred_at) = (order.version() + 1, DateTime::UNIX_EPOCH);
            evolve(order, &Recorded { event_id, aggregate_id, version, occurred_at, data })
        })
    }

    #[test]
    fn every_command_in_every_status() {
        use Rejection::*;
        use Status::*;
        let table = [
            (Created, [Ok(Paid), Err(NotPaid), Err(NotPaid), Ok(Cancelled)]),
            (Paid, [Err(AlreadyPaid), Ok(Shipped), Err(NotShipped), Ok(Cancelled)]),
            (Shipped, [Err(AlreadyShipped), Err(AlreadyShipped), Ok(Completed), Err(AlreadyShipped)]),
            (Completed, [Err(AlreadyCompleted); 4]),
            (Cancelled, [Err(AlreadyCancelled); 4]),
        ];
        for (status, expected) in table {
            for (command, expected) in [PAY, SHIP, Command::Complete, CANCEL].into_iter().zip(expected) {
                let name = command.name();
                let order = order_in(status);
                let reached = decide(&order, command).map(|events| match after(order, events) {
                    Order::Placed(placed) => placed.status,
                    Order::Unplaced => panic!("an order vanished"),
                });
                assert_eq!(reached, expected, "{name} in {status}");
            }
            let again = decide(&order_in(status), create());
            assert_eq!(again, Err(AlreadyPlaced), "create in {status}");
        }
        for command in [PAY, SHIP, Command::Complete, CANCEL] {
            assert_eq!(decide(&Order::Unplaced, command), Err(NotPlaced));
        }
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![Just(create()), Just(PAY), Just(SHIP), Just(Command::Complete), Just(CANCEL),]
    }

    proptest! {
        /// Whatever is asked: the path is one that the life cycle allows, and all of it is the same customer's.
        #[test]
        fn no_sequence_of_commands_leaves_the_life_cycle(
            commands in proptest::collection::vec(any_command(), 0..40)
        ) {
            let mut order = Order::default();
            let mut history: Vec<OrderEvent> = Vec::new();
            for command in commands {
                let Ok(events) = decide(&order, command) else { continue };
                prop_assert!(!events.is_empty());
                order = after(order, events.clone());
                history.extend(events);
            }
            prop_assert_eq!(order.version(), history.len() as i64);
            let customer = CustomerId(Uuid::from_u128(2));
            prop_assert!(history.iter().all(|event| event.customer_id == customer));
            let path: Vec<&str> = history.iter().map(|event| event.data.event_type()).collect();
            let full = ["OrderCreated", "OrderPaid", "OrderShipped", "OrderCompleted"];
            let legal = match path.split_last() {
                Some((&"OrderCancelled", before)) => before.len() <= 2 && !before.is_empty() && full.starts_with(before),
                _ => full.starts_with(&path),
            };
            prop_assert!(legal, "{:?}", path);
        }
    }
}
