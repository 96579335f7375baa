//! Events become points, once.

mod support;

use std::collections::BTreeMap;

use support::kafka::{committed_and_end, produce};
use support::process::Bonus;
use support::{World, event, eventually, histories};
use uuid::Uuid;

#[tokio::test]
async fn the_same_message_three_times_is_credited_once() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, order) = (Uuid::now_v7(), Uuid::now_v7());
    let created = event("OrderCreated", order, 1, customer);
    // Twice in one go, so that they can meet in one batch, and once more later.
    produce(&world, &[created.clone(), created.clone()]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    produce(&world, &[created]).await;
    eventually("both repetitions are counted as absorbed", async || {
        let absorbed = bonus.metric("bonus_duplicates_absorbed_total").await;
        if absorbed == 2.0 { Ok(()) } else { Err(format!("{absorbed}")) }
    })
    .await;
    assert_eq!(world.points().await, BTreeMap::from([(customer, 40)]));
    assert_eq!(bonus.metric("bonus_events_credited_total").await, 1.0);
    world.books_balance().await;
}

#[tokio::test]
async fn a_cancellation_takes_back_exactly_what_its_order_gave() {
    let world = World::new().await;
    let _bonus = Bonus::start_ready(&world).await;
    let (anna, ben) = (Uuid::now_v7(), Uuid::now_v7());
    let (kept, cancelled_later, cancelled_at_once) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    produce(
        &world,
        &[
            event("OrderCreated", kept, 1, anna),
            event("OrderCreated", cancelled_later, 1, anna),
            event("OrderCreated", cancelled_at_once, 1, ben),
            event("OrderCancelled", cancelled_at_once, 2, ben),
        ],
    )
    .await;
    world.points_become(&BTreeMap::from([(anna, 80), (ben, 0)])).await;
    // In a batch of its own, delivered twice, and an order that bonus has never seen.
    let cancellation = event("OrderCancelled", cancelled_later, 2, anna);
    let unknown = event("OrderCancelled", Uuid::now_v7(), 2, ben);
    produce(&world, &[cancellation.clone(), cancellation, unknown]).await;
    let last = event("OrderCompleted", kept, 4, anna);
    produce(&world, &[last]).await;
    world.points_become(&BTreeMap::from([(anna, 140), (ben, 0)])).await;
    world.books_balance().await;
}

/// As after a replay of a topic that was lost, or when partitions are added: an order's events come in any order.
#[tokio::test]
async fn an_award_that_arrives_after_its_cancellation_counts_nothing() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (order, customer, other) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    produce(&world, &[event("OrderCancelled", order, 2, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 0)])).await;
    produce(&world, &[event("OrderCreated", order, 1, customer)]).await;
    // Same order, so the same partition: read after it.
    produce(&world, &[event("OrderCreated", order, 3, other)]).await;
    world.points_become(&BTreeMap::from([(customer, 0), (other, 40)])).await;
    let (_, ledger) = bonus.get(&format!("/api/bonuses/{customer}/ledger")).await;
    let points: Vec<_> = ledger["entries"].as_array().unwrap().iter().map(|entry| &entry["points"]).collect();
    assert_eq!(points, [40, -40], "newest first");
    world.books_balance().await;
}

/// Found by `make chaos`: of two deliveries in one batch, the one with nothing left to take back was booked.
#[tokio::test]
async fn cancellations_delivered_twice_in_one_batch_take_back_once() {
    let world = World::new().await;
    // Ids in no order: events that are in order already are sorted without exchanging equal ones.
    let orders: Vec<(Uuid, Uuid)> = (0..400).map(|_| (Uuid::new_v4(), Uuid::now_v7())).collect();
    let all = |event_type: &str, version| -> Vec<_> {
        orders.iter().map(|(order, customer)| event(event_type, *order, version, *customer)).collect()
    };
    let (created, cancelled) = (all("OrderCreated", 1), all("OrderCancelled", 2));
    // All there before anybody reads, so that one batch holds many.
    produce(&world, &[created, cancelled.clone(), cancelled].concat()).await;
    let _bonus = Bonus::start_ready(&world).await;
    let nothing = orders.iter().map(|(_, customer)| (*customer, 0)).collect();
    world.points_become(&nothing).await;
    world.books_balance().await;
}

#[tokio::test]
async fn events_without_value_and_of_unknown_types_are_counted_and_left_alone() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, order) = (Uuid::now_v7(), Uuid::now_v7());
    produce(
        &world,
        &[
            event("OrderPaid", order, 2, customer),
            event("OrderShipped", order, 3, customer),
            event("OrderReturned", order, 9, customer),
        ],
    )
    .await;
    eventually("all three are counted and committed", async || {
        let ignored = bonus.metric("bonus_events_ignored_total").await;
        let (committed, end) = committed_and_end(&world);
        if ignored == 3.0 && committed == end {
            Ok(())
        } else {
            Err(format!("{ignored}, {committed} of {end}"))
        }
    })
    .await;
    assert_eq!(world.points().await, BTreeMap::new());
    assert_eq!(bonus.metric("bonus_dead_letters_total").await, 0.0);
}

#[tokio::test]
async fn a_new_group_reads_everything_again_and_credits_nothing() {
    let mut world = World::new().await;
    let (events, expected) = histories(500, 20);
    let valued = events
        .iter()
        .filter(|e| !["OrderPaid", "OrderShipped"].contains(&e.value["event_type"].as_str().unwrap()));
    let valued = valued.count();
    produce(&world, &events).await;
    let first = Bonus::start(&world).await;
    world.points_become(&expected).await;
    first.kill();
    world.group = format!("{}-again", world.group);
    let second = Bonus::start(&world).await;
    eventually("the second group has absorbed everything", async || {
        let absorbed = second.metric("bonus_duplicates_absorbed_total").await;
        if absorbed == f64::from(u32::try_from(valued).unwrap()) {
            Ok(())
        } else {
            Err(format!("{absorbed} of {valued}"))
        }
    })
    .await;
    assert_eq!(world.points().await, expected);
    assert_eq!(second.metric("bonus_events_credited_total").await, 0.0);
    world.books_balance().await;
}

#[tokio::test]
async fn a_lone_message_is_credited_at_once_and_logged_in_one_line() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    let line = bonus.logged("Bonus received").await;
    assert_eq!(
        (&line["messages"], &line["new"], &line["points"]),
        (&1.into(), &1.into(), &40.into()),
        "{line}"
    );
    assert_eq!(world.points().await, BTreeMap::from([(customer, 40)]));
}
