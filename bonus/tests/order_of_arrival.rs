//! An account is a function of the set of events: on Postgres, by two connections at once, against the rule in `points.rs`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bonus::database;
use bonus::ledger::{self, Credited, LedgerConnection};
use bonus::message::Event;
use bonus::outbox;
use bonus::points::{OrderEvent, Valued, contribution};
use bonus::policy;
use chrono::Utc;
use kit::postgres::Purpose;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use sqlx::{Connection, PgConnection};
use support::{eventually, migrated};
use uuid::Uuid;

fn event(valued: Valued, order_id: Uuid, version: i64, customer_id: Uuid) -> Event {
    Event { event_id: Uuid::now_v7(), order_id, version, customer_id, valued, occurred_at: Utc::now() }
}

/// What was received by each of two consumers, in batches.
type Deliveries = [Vec<Vec<Event>>; 2];

/// Some orders of two customers with any events, each delivered one to three times in any order to either consumer.
fn any_deliveries() -> impl Strategy<Value = (Vec<Event>, Deliveries)> {
    let kinds = || select(vec![Valued::Created, Valued::Completed, Valued::Cancelled]);
    let order = prop::collection::btree_map(1i64..6, (kinds(), any::<Index>()), 1..5);
    let events = prop::collection::vec(order, 1..5).prop_map(|orders| {
        let customers = [Uuid::now_v7(), Uuid::now_v7()];
        let of = |order: BTreeMap<i64, (Valued, Index)>| {
            let order_id = Uuid::now_v7();
            let event = move |(version, (valued, customer)): (i64, (Valued, Index))| {
                event(valued, order_id, version, *customer.get(&customers))
            };
            order.into_iter().map(event).collect::<Vec<_>>()
        };
        orders.into_iter().flat_map(of).collect::<Vec<Event>>()
    });
    events.prop_flat_map(|events| {
        let deliveries: Vec<Event> = [1, 2, 3].iter().flat_map(|_| events.clone()).collect();
        let fewer = (Just(deliveries).prop_shuffle(), events.len()..=events.len() * 3);
        let all = events.clone();
        let deliveries = fewer.prop_map(move |(some, count)| {
            // What is left out by chance comes at the end.
            let some: Vec<Event> = some.into_iter().take(count).collect();
            let missing = all.iter().filter(|event| !some.contains(event)).cloned().collect();
            [some, missing].concat()
        });
        let split = deliveries.prop_flat_map(|deliveries| {
            let places = prop::collection::vec((0usize..2, any::<bool>()), deliveries.len());
            (Just(deliveries), places)
        });
        let batches = split.prop_map(|(deliveries, places)| {
            let mut consumers: Deliveries = Default::default();
            for (event, (consumer, starts_a_batch)) in deliveries.into_iter().zip(places) {
                let batches = &mut consumers[consumer];
                if starts_a_batch || batches.is_empty() {
                    batches.push(Vec::new());
                }
                batches.last_mut().unwrap().push(event);
            }
            consumers
        });
        (Just(events), batches)
    })
}

fn expected(events: &[Event]) -> BTreeMap<Uuid, i64> {
    let mut orders: BTreeMap<Uuid, BTreeSet<OrderEvent>> = BTreeMap::new();
    for Event { order_id, version, customer_id, valued, occurred_at, .. } in events {
        let event = OrderEvent {
            customer_id: *customer_id,
            version: *version,
            valued: *valued,
            occurred_at: *occurred_at,
        };
        orders.entry(*order_id).or_default().insert(event);
    }
    let customers: BTreeSet<Uuid> = events.iter().map(|event| event.customer_id).collect();
    let points =
        |customer: Uuid| orders.values().map(|order| contribution(&policy::V1, order, customer)).sum();
    customers.into_iter().map(|customer| (customer, points(customer))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_order_of_arrival_at_two_consumers_comes_to_the_same_points() {
    let (world, config) = migrated().await;
    let seed = Uuid::new_v4().into_bytes().repeat(2);
    println!("seed: {seed:?}");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Cases::default(), rng);
    let mut all = BTreeMap::new();
    for _ in 0..80 {
        let (events, consumers) = any_deliveries().new_tree(&mut runner).unwrap().current();
        let consume = |batches: Vec<Vec<Event>>| {
            let mut ledger = LedgerConnection::new(
                database::connector(&config.database, Purpose::Requests),
                outbox::appender(),
            );
            tokio::spawn(async move {
                for batch in batches {
                    let credited = ledger.credit(&batch).await.unwrap();
                    assert_eq!(credited.forks, []);
                }
            })
        };
        for consumer in consumers.clone().map(consume) {
            consumer.await.unwrap();
        }
        all.extend(expected(&events));
        assert_eq!(world.points().await, all, "{events:#?} arrived as {consumers:#?}");
    }
    assert!(all.values().any(|points| *points == 0) && all.values().any(|points| *points > 0));
    world.books_balance().await;
}

async fn waits_for_a_lock(observer: &mut PgConnection) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory')")
        .fetch_one(observer)
        .await
        .unwrap()
}

/// Both are uncommitted at the same time, in each order: neither can see the other's row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_award_and_its_cancellation_in_two_transactions_at_once_come_to_nothing() {
    let (world, config) = migrated().await;
    let (mut first, mut observer) = (world.connect().await, world.connect().await);
    let mut all = BTreeMap::new();
    for cancellation_is_first in [false, true] {
        let (order, customer) = (Uuid::now_v7(), Uuid::now_v7());
        let mut events =
            [event(Valued::Created, order, 1, customer), event(Valued::Cancelled, order, 2, customer)];
        if cancellation_is_first {
            events.reverse();
        }
        let [early, late] = events;
        let mut transaction = first.begin().await.unwrap();
        assert_eq!(
            ledger::transact(&mut transaction, &outbox::appender(), &[early], None).await.unwrap().new,
            1
        );
        let mut other = LedgerConnection::new(
            database::connector(&config.database, Purpose::Requests),
            outbox::appender(),
        );
        let late = tokio::spawn(async move { other.credit(&[late]).await.unwrap() });
        eventually("the second one waits, or is done", async || {
            let waits = waits_for_a_lock(&mut observer).await;
            if waits || late.is_finished() { Ok(()) } else { Err(String::new()) }
        })
        .await;
        transaction.commit().await.unwrap();
        let late = late.await.unwrap();
        assert_eq!((late.new, late.cancelled), (1, usize::from(cancellation_is_first)));
        all.insert(customer, 0);
        assert_eq!(world.points().await, all, "cancellation first: {cancellation_is_first}");
    }
    world.books_balance().await;
}

#[tokio::test]
async fn a_fork_is_told_from_a_repetition() {
    let (world, config) = migrated().await;
    let mut ledger =
        LedgerConnection::new(database::connector(&config.database, Purpose::Requests), outbox::appender());
    let (order, customer) = (Uuid::now_v7(), Uuid::now_v7());
    let created = event(Valued::Created, order, 1, customer);
    let (completed, cancelled) =
        (event(Valued::Completed, order, 4, customer), event(Valued::Cancelled, order, 4, customer));
    ledger.credit(&[created.clone(), completed.clone()]).await.unwrap();
    let fork = ledger::Fork { event_id: cancelled.event_id, booked: completed.event_id };
    let credited = ledger.credit(&[created, cancelled.clone(), completed]).await.unwrap();
    assert_eq!(credited, Credited { duplicates: 2, forks: vec![fork], ..Credited::default() });
    // It is one however often it comes, also beside a new event.
    let more = event(Valued::Created, Uuid::now_v7(), 1, customer);
    let credited = ledger.credit(&[cancelled.clone(), more, cancelled]).await.unwrap();
    assert_eq!((credited.new, credited.points, credited.forks), (1, 40, vec![fork, fork]));
    assert_eq!(world.points().await, BTreeMap::from([(customer, 180)]));
}
