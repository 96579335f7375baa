//! PURE: what an event is worth. No IO, no clock.
//!
//! Policy version 1: `OrderCreated` gives 40 points, `OrderCompleted` 100, `OrderCancelled` takes back what that order
//! gave. Grades go by lifetime points, which are the sum of the ledger: points that were taken back never counted.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Stored with every ledger row, so that a later policy does not reinterpret an earlier credit.
pub const POLICY_VERSION: i16 = 1;

const CREATED_POINTS: i64 = 40;
const COMPLETED_POINTS: i64 = 100;

/// The events that the policy values. Others are read and left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Valued {
    Created,
    Completed,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Award(i64),
    TakeBack,
}

impl Valued {
    pub fn parse(event_type: &str) -> Option<Self> {
        match event_type {
            "OrderCreated" => Some(Self::Created),
            "OrderCompleted" => Some(Self::Completed),
            "OrderCancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    pub fn event_type(self) -> &'static str {
        match self {
            Self::Created => "OrderCreated",
            Self::Completed => "OrderCompleted",
            Self::Cancelled => "OrderCancelled",
        }
    }

    pub fn effect(self) -> Effect {
        match self {
            Self::Created => Effect::Award(CREATED_POINTS),
            Self::Completed => Effect::Award(COMPLETED_POINTS),
            Self::Cancelled => Effect::TakeBack,
        }
    }
}

/// One ledger row of an order, as far as the policy looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booked {
    pub customer_id: Uuid,
    pub version: i64,
    pub points: i64,
}

/// The points that a cancellation at `version` books: the negative of what the order had given this customer before it,
/// and never more than what is left of it.
///
/// Only this customer's rows count, only earlier versions, and only what no other cancellation has taken: then no input,
/// however broken its producer, takes an account below zero.
pub fn take_back(order: &[Booked], customer_id: Uuid, version: i64) -> i64 {
    let of_customer = || order.iter().filter(|booked| booked.customer_id == customer_id);
    let given: i64 =
        of_customer().filter(|booked| booked.version < version).map(|booked| booked.points).sum();
    let left: i64 = of_customer().map(|booked| booked.points).sum();
    -given.min(left).max(0)
}

/// Standing by lifetime points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub enum Grade {
    Bronze,
    Silver,
    Gold,
    Platinum,
}

impl Grade {
    pub fn of(lifetime_points: i64) -> Self {
        match lifetime_points {
            1_000.. => Self::Platinum,
            300.. => Self::Gold,
            100.. => Self::Silver,
            _ => Self::Bronze,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grades_change_exactly_at_their_bounds() {
        for (points, grade) in [
            (0, Grade::Bronze),
            (99, Grade::Bronze),
            (100, Grade::Silver),
            (299, Grade::Silver),
            (300, Grade::Gold),
            (999, Grade::Gold),
            (1_000, Grade::Platinum),
            (i64::MAX, Grade::Platinum),
        ] {
            assert_eq!(Grade::of(points), grade, "{points} points");
        }
    }

    #[test]
    fn names_survive_the_round_trip_and_others_have_no_value() {
        for valued in [Valued::Created, Valued::Completed, Valued::Cancelled] {
            assert_eq!(Valued::parse(valued.event_type()), Some(valued));
        }
        for other in ["OrderPaid", "OrderShipped", "ordercreated", ""] {
            assert_eq!(Valued::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_cancellation_takes_back_only_what_came_before_it_and_from_whom_it_was_given() {
        let (anna, ben) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let order = [
            Booked { customer_id: anna, version: 1, points: 40 },
            Booked { customer_id: ben, version: 2, points: 100 },
            Booked { customer_id: anna, version: 9, points: 100 },
        ];
        assert_eq!(take_back(&order, anna, 5), -40);
        assert_eq!(take_back(&order, ben, 5), -100);
        assert_eq!(take_back(&order, anna, 1), 0);
        assert_eq!(take_back(&[], anna, 5), 0);
    }

    /// Found by `no_history_goes_below_zero`: the later cancellation arrives first.
    #[test]
    fn two_cancellations_in_the_wrong_order_take_back_once() {
        let history = [(1, Valued::Created), (5, Valued::Cancelled), (2, Valued::Cancelled)];
        assert_eq!(book(&history, &[0, 1, 2]), 0);
    }

    /// Books a history as the ledger does: each version once, whatever is delivered again.
    fn book(history: &[(i64, Valued)], deliveries: &[usize]) -> i64 {
        let customer_id = Uuid::from_u128(7);
        let mut order: Vec<Booked> = Vec::new();
        for (version, valued) in deliveries.iter().filter_map(|&index| history.get(index)) {
            if order.iter().any(|booked| booked.version == *version) {
                continue;
            }
            let points = match valued.effect() {
                Effect::Award(points) => points,
                Effect::TakeBack => take_back(&order, customer_id, *version),
            };
            order.push(Booked { customer_id, version: *version, points });
        }
        order.iter().map(|booked| booked.points).sum()
    }

    proptest! {
        /// Deliveries that repeat any earlier stretch come to what the life cycle alone says.
        #[test]
        fn repeated_deliveries_come_to_the_models_sum(
            completed in any::<bool>(),
            cancelled in any::<bool>(),
            rewinds in prop::collection::vec((0usize..4, 0usize..4), 0..12),
        ) {
            let mut history = vec![(1, Valued::Created)];
            if completed { history.push((4, Valued::Completed)); }
            if cancelled { history.push((5, Valued::Cancelled)); }
            // First occurrences in order, with stretches already seen delivered again in between.
            let mut deliveries: Vec<usize> = Vec::new();
            for (next, _) in history.iter().enumerate() {
                deliveries.push(next);
                for (from, length) in &rewinds {
                    deliveries.extend((*from..from + length).filter(|index| *index <= next));
                }
            }
            let model = match (completed, cancelled) {
                (_, true) => 0,
                (true, false) => 140,
                (false, false) => 40,
            };
            prop_assert_eq!(book(&history, &deliveries), model);
        }

        /// Any nonsense of versions and types leaves nobody below zero.
        #[test]
        fn no_history_goes_below_zero(kinds in prop::collection::vec((1i64..9, 0usize..3), 0..30)) {
            let all = [Valued::Created, Valued::Completed, Valued::Cancelled];
            let history: Vec<_> = kinds.into_iter().map(|(version, kind)| (version, all[kind])).collect();
            let deliveries: Vec<usize> = (0..history.len()).collect();
            prop_assert!(book(&history, &deliveries) >= 0);
        }
    }
}
