//! What the demo has commanded, and what must follow from it: every event, every point.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Points of policy version 1.
const FOR_CREATED: i64 = 40;
const FOR_COMPLETED: i64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Pay,
    Ship,
    Complete,
    Cancel,
}

impl Command {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Ship => "ship",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
        }
    }
}

#[derive(Debug, Clone)]
struct Known {
    customer: Uuid,
    /// Its version, and so the number of its events.
    version: i64,
    points: i64,
    valued_events: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Book(BTreeMap<Uuid, Known>);

impl Book {
    pub(crate) fn created(&mut self, order: Uuid, customer: Uuid) {
        self.0.insert(order, Known { customer, version: 1, points: FOR_CREATED, valued_events: 1 });
    }

    pub(crate) fn carried_out(&mut self, order: Uuid, command: Command) {
        let Some(known) = self.0.get_mut(&order) else { return };
        known.version += 1;
        match command {
            Command::Pay | Command::Ship => {}
            Command::Complete => {
                known.points += FOR_COMPLETED;
                known.valued_events += 1;
            }
            // Takes back what the order gave.
            Command::Cancel => {
                known.points = 0;
                known.valued_events += 1;
            }
        }
    }

    pub(crate) fn customer(&self, order: Uuid) -> Option<Uuid> {
        self.0.get(&order).map(|known| known.customer)
    }

    pub(crate) fn points(&self) -> BTreeMap<Uuid, i64> {
        let mut points = BTreeMap::new();
        for known in self.0.values() {
            *points.entry(known.customer).or_default() += known.points;
        }
        points
    }

    pub(crate) fn events(&self) -> i64 {
        self.0.values().map(|known| known.version).sum()
    }

    /// Rows that the bonus service's ledger must have: no event more, none twice.
    pub(crate) fn ledger_rows(&self) -> i64 {
        self.0.values().map(|known| known.valued_events).sum()
    }

    /// The version of every order.
    pub(crate) fn versions(&self) -> BTreeMap<Uuid, i64> {
        self.0.iter().map(|(order, known)| (*order, known.version)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_the_policy() {
        let mut book = Book::default();
        let (customer, kept, cancelled) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        book.created(kept, customer);
        book.created(cancelled, customer);
        for command in [Command::Pay, Command::Ship, Command::Complete] {
            book.carried_out(kept, command);
        }
        book.carried_out(cancelled, Command::Cancel);
        assert_eq!(book.points(), BTreeMap::from([(customer, 140)]));
        assert_eq!((book.events(), book.ledger_rows()), (6, 4));
    }
}
