//! Every rule of the life cycle, in the order in which refusals take precedence.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::event::{EventData, OrderEvent};
use super::state::{Order, Placed, Status};

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

/// What happens when `command` meets `order` at `now`. One event today; a rule may need several tomorrow,
/// and the journal writes all or none.
pub fn decide(order: &Order, command: Command, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, Rejection> {
    match (order, command) {
        (Order::Unplaced, Command::Create { order_id, customer_id, currency, items }) => {
            Ok(vec![OrderEvent {
                order_id,
                version: 1,
                customer_id,
                occurred_at: now,
                data: EventData::Created { currency, items },
            }])
        }
        (Order::Unplaced, _) => Err(Rejection::NotPlaced),
        (Order::Placed(placed), command) => Ok(vec![next_event(placed, command, now)?]),
    }
}

fn next_event(placed: &Placed, command: Command, now: DateTime<Utc>) -> Result<OrderEvent, Rejection> {
    use Status::{Cancelled, Completed, Created, Paid, Shipped};
    let data = match (placed.status, command) {
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
    };
    Ok(OrderEvent {
        order_id: placed.order_id,
        version: placed.version + 1,
        customer_id: placed.customer_id,
        // The clock may have stepped back since the last event; an order's history never does.
        occurred_at: now.max(placed.updated_at),
        data,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::value::{Currency, CustomerId, Item, Items, OrderId, Quantity, Sku, UnitPrice};
    use super::super::{evolve, fold};
    use super::*;

    const PAY: Command = Command::Pay { payment_reference: None };
    const SHIP: Command = Command::Ship { tracking_number: None, carrier: None };
    const CANCEL: Command = Command::Cancel { reason: None };

    fn create() -> Command {
        Command::Create {
            order_id: OrderId(Uuid::from_u128(1)),
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
            let events = decide(&order, command, DateTime::UNIX_EPOCH).unwrap();
            events.iter().fold(order, evolve)
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
                let reached = decide(&order, command, DateTime::UNIX_EPOCH).map(|events| {
                    match events.iter().fold(order, evolve) {
                        Order::Placed(placed) => placed.status,
                        Order::Unplaced => panic!("an order vanished"),
                    }
                });
                assert_eq!(reached, expected, "{name} in {status}");
            }
            let again = decide(&order_in(status), create(), DateTime::UNIX_EPOCH);
            assert_eq!(again, Err(AlreadyPlaced), "create in {status}");
        }
        for command in [PAY, SHIP, Command::Complete, CANCEL] {
            assert_eq!(decide(&Order::Unplaced, command, DateTime::UNIX_EPOCH), Err(NotPlaced));
        }
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![Just(create()), Just(PAY), Just(SHIP), Just(Command::Complete), Just(CANCEL),]
    }

    proptest! {
        /// Whatever is asked, and however the clock jumps: versions count up by one, time never runs back
        /// within the order, the path is one the life cycle allows, and folding gives the state decided on.
        #[test]
        fn no_sequence_of_commands_leaves_the_life_cycle(
            commands in proptest::collection::vec((any_command(), -100_i64..100), 0..40)
        ) {
            let mut order = Order::default();
            let mut history: Vec<OrderEvent> = Vec::new();
            for (command, second) in commands {
                let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
                let Ok(events) = decide(&order, command, now) else { continue };
                prop_assert!(!events.is_empty());
                order = events.iter().fold(order, evolve);
                history.extend(events);
            }
            let versions: Vec<i64> = history.iter().map(|event| event.version).collect();
            prop_assert_eq!(versions, (1..=history.len() as i64).collect::<Vec<_>>());
            prop_assert!(history.is_sorted_by_key(|event| event.occurred_at));
            let path: Vec<&str> = history.iter().map(|event| event.data.event_type()).collect();
            let full = ["OrderCreated", "OrderPaid", "OrderShipped", "OrderCompleted"];
            let legal = match path.split_last() {
                Some((&"OrderCancelled", before)) => before.len() <= 2 && !before.is_empty() && full.starts_with(before),
                _ => full.starts_with(&path),
            };
            prop_assert!(legal, "{:?}", path);
            prop_assert_eq!(fold(&history), order);
        }
    }
}
