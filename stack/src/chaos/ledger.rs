//! PURE: points, as they follow from what was acknowledged; bonus' ledger, row by row, against it.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::facts::{Acknowledged, Booked, Evidence, Kind, Violation};

/// What the ledger has of an event: points of an award, 0 of what takes them back. `None`: nothing.
fn worth(event_type: &str) -> Option<i64> {
    match event_type {
        "OrderCreated" => Some(40),
        "OrderCompleted" => Some(100),
        "OrderCancelled" => Some(0),
        _ => None,
    }
}

/// Every customer's points, from what was acknowledged alone: 40 for an order, 100 more when it is completed, nothing for one
/// that was cancelled.
pub(super) fn expected_points(acknowledged: &[Acknowledged]) -> BTreeMap<Uuid, i64> {
    let mut orders: HashMap<Uuid, (Uuid, i64, bool)> = HashMap::new();
    for command in acknowledged {
        let (_, points, cancelled) = orders.entry(command.order).or_insert((command.customer, 0, false));
        match command.event_type {
            "OrderCreated" => *points += 40,
            "OrderCompleted" => *points += 100,
            "OrderCancelled" => *cancelled = true,
            _ => {}
        }
    }
    let mut customers = BTreeMap::new();
    for (customer, points, cancelled) in orders.into_values() {
        *customers.entry(customer).or_default() += if cancelled { 0 } else { points };
    }
    customers
}

/// One row for each acknowledged command whose event is worth something or takes something back, and no other row.
pub(super) fn ledger(evidence: &Evidence, found: &mut Vec<Violation>) {
    let ids: HashMap<(Uuid, i64), &str> =
        evidence.log.iter().map(|event| ((event.order, event.version), event.event_id.as_str())).collect();
    let mut booked: HashMap<(Uuid, i64), Vec<&Booked>> = HashMap::new();
    for row in &evidence.ledger {
        booked.entry((row.order, row.version)).or_default().push(row);
    }
    for command in &evidence.acknowledged {
        let Some(points) = worth(command.event_type) else { continue };
        let place = (command.order, command.version);
        let event_id = ids.get(&place).copied().unwrap_or_default();
        match booked.remove(&place).unwrap_or_default().as_slice() {
            [] => found.push(Violation::new(Kind::WrongLedger, format!("{command:?} is not in the ledger"))),
            [row] => {
                let same = (row.customer, row.event_type.as_str(), row.points, row.event_id.as_str())
                    == (command.customer, command.event_type, points, event_id);
                if !same {
                    let text = format!("event {event_id} of {command:?} is in the ledger as {row:?}");
                    found.push(Violation::new(Kind::WrongLedger, text));
                }
            }
            several => {
                let text = format!("{command:?} is in the ledger {} times", several.len());
                found.push(Violation::new(Kind::WrongLedger, text));
            }
        }
    }
    for row in booked.into_values().flatten() {
        found.push(Violation::new(Kind::WrongLedger, format!("{row:?} is in the ledger, and nobody's")));
    }
}
