//! PURE: bonus' ledger, row by row, against what was acknowledged.

use std::collections::HashMap;

use uuid::Uuid;

use super::facts::{Booked, Evidence, Kind, Violation};

/// What the ledger has of an event: points of an award, 0 of what takes them back. `None`: nothing.
fn worth(event_type: &str) -> Option<i64> {
    match event_type {
        "OrderCreated" => Some(40),
        "OrderCompleted" => Some(100),
        "OrderCancelled" => Some(0),
        _ => None,
    }
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
