//! PURE: what an event is worth. No IO, no clock.
//!
//! An award counts unless a cancellation of its order takes it back ([`awards`]). What counts gives points ([`contribution`]), and,
//! for as long as the policy says, a VIP status ([`crate::standing`]). All of it depends on the set of events alone. The ledger
//! computes the same in SQL, in one round trip (`migrations/0008…`); its tests compare both.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::policy::Policy;
use crate::standing::Award;

/// The types of events that the policy values. Others are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Valued {
    Created,
    Completed,
    Cancelled,
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

    /// The points of an award; a cancellation has none of its own.
    pub fn worth(self, policy: &Policy) -> i64 {
        match self {
            Self::Created => policy.created_points,
            Self::Completed => policy.completed_points,
            Self::Cancelled => 0,
        }
    }
}

/// One event of an order, as far as the policy looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderEvent {
    pub customer_id: Uuid,
    pub version: i64,
    pub valued: Valued,
    pub occurred_at: DateTime<Utc>,
}

/// The awards of an order to a customer that count: those without a cancellation above them.
///
/// A cancellation counts for its own customer only: then no input, however broken its producer, takes an account below zero.
pub fn awards(
    policy: &Policy,
    order: &BTreeSet<OrderEvent>,
    customer_id: Uuid,
) -> impl Iterator<Item = Award> {
    let of_customer = move || order.iter().filter(move |event| event.customer_id == customer_id);
    let cancelled_at = of_customer()
        .filter(|event| event.valued == Valued::Cancelled)
        .map(|event| event.version)
        .max()
        .unwrap_or_default();
    of_customer()
        .filter(move |event| event.version > cancelled_at)
        .map(|event| Award { occurred_at: event.occurred_at, points: event.valued.worth(policy) })
}

/// The points that an order gives a customer.
pub fn contribution(policy: &Policy, order: &BTreeSet<OrderEvent>, customer_id: Uuid) -> i64 {
    awards(policy, order, customer_id).map(|award| award.points).sum()
}

/// By how much `more` changes the contribution of an order of which `known` was received: what is booked when `more` arrives.
pub fn change(
    policy: &Policy,
    known: &BTreeSet<OrderEvent>,
    more: &BTreeSet<OrderEvent>,
    customer_id: Uuid,
) -> i64 {
    let together = known.union(more).copied().collect();
    contribution(policy, &together, customer_id) - contribution(policy, known, customer_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::V1;
    use proptest::prelude::*;

    #[test]
    fn names_survive_the_round_trip_and_others_have_no_value() {
        for valued in [Valued::Created, Valued::Completed, Valued::Cancelled] {
            assert_eq!(Valued::parse(valued.event_type()), Some(valued));
        }
        for other in ["OrderPaid", "OrderShipped", "ordercreated", ""] {
            assert_eq!(Valued::parse(other), None, "{other:?}");
        }
    }

    fn order(events: &[(i64, Valued, Uuid)]) -> BTreeSet<OrderEvent> {
        let event = |&(version, valued, customer_id): &_| OrderEvent {
            customer_id,
            version,
            valued,
            occurred_at: DateTime::UNIX_EPOCH,
        };
        events.iter().map(event).collect()
    }

    #[test]
    fn a_cancellation_takes_back_only_what_came_before_it_and_from_whom_it_was_given() {
        use Valued::{Cancelled, Completed, Created};
        let (anna, ben) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let awards = [(1, Created, anna), (2, Completed, ben), (9, Completed, anna)];
        let with = |cancellations: &[(i64, Valued, Uuid)]| order(&[&awards, cancellations].concat());
        assert_eq!(contribution(&V1, &with(&[]), anna), 140);
        assert_eq!(contribution(&V1, &with(&[(5, Cancelled, anna)]), anna), 100);
        assert_eq!(contribution(&V1, &with(&[(5, Cancelled, anna)]), ben), 100);
        assert_eq!(contribution(&V1, &with(&[(5, Cancelled, anna), (3, Cancelled, anna)]), anna), 100);
        assert_eq!(contribution(&V1, &with(&[(10, Cancelled, anna)]), anna), 0);
        assert_eq!(contribution(&V1, &order(&[(2, Cancelled, anna)]), anna), 0);
    }

    /// Any events of one order, also such as no order has: each version once.
    fn any_order() -> impl Strategy<Value = Vec<OrderEvent>> {
        let kinds = prop::sample::select(vec![Valued::Created, Valued::Completed, Valued::Cancelled]);
        prop::collection::btree_map(1i64..12, (kinds, 1u128..3), 0..10).prop_map(|events| {
            let event = |(version, (valued, customer))| OrderEvent {
                customer_id: Uuid::from_u128(customer),
                version,
                valued,
                occurred_at: DateTime::UNIX_EPOCH,
            };
            events.into_iter().map(event).collect()
        })
    }

    proptest! {
        /// What the life cycle says, however it arrives: any permutation, any repetitions, any split into batches.
        #[test]
        fn what_is_booked_depends_on_the_set_of_events_alone(
            (events, deliveries) in any_order().prop_flat_map(|events| {
                let places = prop::collection::vec(any::<prop::sample::Index>(), 0..20);
                let repeated = places.prop_map({
                    let events = events.clone();
                    move |places| match events.is_empty() {
                        true => Vec::new(),
                        false => places.iter().map(|place| *place.get(&events)).collect(),
                    }
                });
                let all = events.clone();
                (Just(events), repeated.prop_flat_map(move |more: Vec<OrderEvent>| Just([all.clone(), more].concat()).prop_shuffle()))
            }),
            sizes in prop::collection::vec(1usize..5, 30),
        ) {
            for customer in [1, 2].map(Uuid::from_u128) {
                let (mut known, mut booked, mut rest) = (BTreeSet::new(), 0, deliveries.as_slice());
                for size in &sizes {
                    let (batch, later) = rest.split_at(rest.len().min(*size));
                    let batch: BTreeSet<OrderEvent> = batch.iter().copied().collect();
                    booked += change(&V1, &known, &batch, customer);
                    prop_assert!(booked >= 0, "an account went below zero on the way");
                    known.extend(batch);
                    rest = later;
                }
                prop_assert!(rest.is_empty());
                prop_assert_eq!(booked, contribution(&V1, &events.iter().copied().collect(), customer));
            }
        }
    }
}
