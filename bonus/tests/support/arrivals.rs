//! Any events of some orders, in batches, at any moments; and what the rules say of them.

use std::collections::{BTreeMap, BTreeSet};

use bonus::message::Event;
use bonus::points::{OrderEvent, Valued, awards};
use bonus::policy::Policy;
use bonus::standing::{Award, vip_until};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

pub fn credit_of(valued: Valued, order: (Uuid, i64), customer_id: Uuid, occurred_at: DateTime<Utc>) -> Event {
    let (order_id, version) = order;
    Event { event_id: Uuid::now_v7(), order_id, version, customer_id, valued, occurred_at }
}

/// Some batches, each with the moment at which it arrives, and whether a sweep follows it.
pub type Arrivals = Vec<(Vec<Event>, DateTime<Utc>, bool)>;

/// Moments ten days apart, or a microsecond beside one: close enough together to touch the edges of windows.
fn any_moment(within: i64) -> impl Strategy<Value = DateTime<Utc>> {
    (0..within, -1i64..=1).prop_map(|(tens_of_days, microseconds)| {
        let start: DateTime<Utc> = "2028-01-25T00:00:00Z".parse().unwrap();
        start + TimeDelta::days(10 * tens_of_days) + TimeDelta::microseconds(microseconds)
    })
}

/// By version: what happened, a dice for whose it is, and when.
type AnyOrder = BTreeMap<i64, (Valued, i32, DateTime<Utc>)>;

/// Orders of two customers with any events at any moments, delivered once or twice, in any order, at moments of their own.
pub fn any_arrivals() -> impl Strategy<Value = Arrivals> {
    let kinds = || {
        select(vec![
            Valued::Created,
            Valued::Completed,
            Valued::Completed,
            Valued::Completed,
            Valued::Cancelled,
        ])
    };
    // An event in eight names another customer than its order does: no order is like that, and nothing may go wrong.
    let order = prop::collection::btree_map(1i64..6, (kinds(), 0..8, any_moment(5)), 1..5);
    let events = prop::collection::vec((order, any::<Index>()), 3..10).prop_map(|orders| {
        let customers = [Uuid::now_v7(), Uuid::now_v7()];
        let of = |(order, owner): (AnyOrder, Index)| {
            let (order_id, owner) = (Uuid::now_v7(), *owner.get(&customers));
            let event = move |(version, (valued, dice, occurred_at)): (i64, (Valued, i32, _))| {
                let customer = if dice == 0 { customers[0] } else { owner };
                credit_of(valued, (order_id, version), customer, occurred_at)
            };
            order.into_iter().map(event).collect::<Vec<_>>()
        };
        orders.into_iter().flat_map(of).collect::<Vec<Event>>()
    });
    let deliveries = events.prop_flat_map(|events| {
        let all = [events.clone(), events.clone()].concat();
        (Just(all).prop_shuffle(), prop::collection::vec(any_moment(8), events.len()))
    });
    deliveries.prop_flat_map(|(deliveries, mut moments)| {
        // Clocks go forward.
        moments.sort_unstable();
        let size = deliveries.len().div_ceil(moments.len());
        let batches: Vec<Vec<Event>> = deliveries.chunks(size).map(<[Event]>::to_vec).collect();
        let sweeps = prop::collection::vec(any::<bool>(), batches.len());
        sweeps.prop_map(move |sweeps| {
            let batches = batches.iter().cloned().zip(moments.iter().copied());
            batches.zip(sweeps).map(|((batch, moment), sweep)| (batch, moment, sweep)).collect()
        })
    })
}

/// The points of each customer of `events` by a policy, and until when the customer is VIP.
pub fn by_the_rules(
    policy: &Policy,
    events: &[Event],
    now: DateTime<Utc>,
) -> BTreeMap<Uuid, (i64, Option<DateTime<Utc>>)> {
    let mut orders: BTreeMap<Uuid, BTreeSet<OrderEvent>> = BTreeMap::new();
    for Event { order_id, version, customer_id, valued, occurred_at, .. } in events {
        let (customer_id, version, valued) = (*customer_id, *version, *valued);
        let event = OrderEvent { customer_id, version, valued, occurred_at: *occurred_at };
        orders.entry(*order_id).or_default().insert(event);
    }
    let customers: BTreeSet<Uuid> = events.iter().map(|event| event.customer_id).collect();
    let of = |customer: Uuid| {
        let awards: Vec<Award> = orders.values().flat_map(|order| awards(policy, order, customer)).collect();
        (awards.iter().map(|award| award.points).sum(), vip_until(policy, &awards, now))
    };
    customers.into_iter().map(|customer| (customer, of(customer))).collect()
}
