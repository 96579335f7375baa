//! The list of orders: pages, filters, and a projection that can be rebuilt.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use serde_json::{Value, json};
use support::{Orders, Stage, an_order};
use uuid::Uuid;

fn ids(page: &Value) -> Vec<Uuid> {
    page["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["order_id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_newest_first_without_gaps_while_orders_come_in() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let mut created = Vec::new();
    for _ in 0..25 {
        created.push(orders.create().await);
    }
    created.reverse();
    orders.list_caught_up().await;
    let (mut seen, mut query) = (Vec::new(), "limit=10".to_owned());
    loop {
        let page = orders.listed(&query).await;
        seen.extend(ids(&page));
        // New orders in between belong before the first page, never into a later one.
        orders.create().await;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=10&cursor={cursor}");
    }
    assert_eq!(seen, created);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_customer_and_by_status() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let customer = Uuid::new_v4();
    let mut own = Vec::new();
    for _ in 0..3 {
        let mut order = an_order();
        order["customer_id"] = json!(customer);
        let (_, order) = orders.post("/api/orders", order).await;
        own.push(order["order_id"].as_str().unwrap().parse::<Uuid>().unwrap());
        orders.create().await;
    }
    orders.command(own[1], "pay").await;
    orders.list_caught_up().await;
    assert_eq!(ids(&orders.listed(&format!("customer_id={customer}")).await), [own[2], own[1], own[0]]);
    let page = orders.listed(&format!("customer_id={customer}&status=paid")).await;
    assert_eq!(ids(&page), [own[1]]);
    let (_, order) = orders.get(&format!("/api/orders/{}", own[1])).await;
    assert_eq!(page["orders"][0], order, "an order looks the same in the list");
    assert_eq!(ids(&orders.listed("status=paid").await), [own[1]]);
    assert!(ids(&orders.listed("status=cancelled").await).is_empty());
}

/// Every page of a query, of two orders each.
async fn pages(orders: &Orders, query: &str) -> Vec<Uuid> {
    let (mut seen, mut next) = (Vec::new(), format!("limit=2&{query}"));
    loop {
        let page = orders.listed(&next).await;
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { return seen };
        next = format!("limit=2&{query}&cursor={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_time_of_creation_alone_and_with_the_other_filters() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let (mut created, mut times) = (Vec::new(), Vec::new());
    let customer = Uuid::new_v4();
    for _ in 0..7 {
        let mut order = an_order();
        order["customer_id"] = json!(customer);
        let (_, order) = orders.post("/api/orders", order).await;
        created.push(order["order_id"].as_str().unwrap().parse::<Uuid>().unwrap());
        times.push(order["created_at"].as_str().unwrap().to_owned());
    }
    orders.command(created[3], "pay").await;
    orders.list_caught_up().await;
    // The first moment is part of the range, the last one is not.
    let range = format!("created_from={}&created_before={}", times[1], times[6]);
    let within = [created[5], created[4], created[3], created[2], created[1]];
    assert_eq!(pages(&orders, &range).await, within);
    assert_eq!(pages(&orders, &format!("{range}&customer_id={customer}")).await, within);
    assert_eq!(pages(&orders, &format!("{range}&status=paid")).await, [created[3]]);
    assert!(pages(&orders, &format!("{range}&customer_id={}", Uuid::new_v4())).await.is_empty());
    assert_eq!(pages(&orders, &format!("created_from={}", times[6])).await, [created[6]]);
    assert_eq!(pages(&orders, &format!("created_before={}", times[1])).await, [created[0]]);
    let empty = format!("created_from={}&created_before={}", times[6], times[1]);
    assert!(pages(&orders, &empty).await.is_empty());

    // Of the same microsecond: the position decides, across pages too.
    let same = "UPDATE order_summary SET created_at = '2026-01-01T00:00:00Z'";
    sqlx::query(same).execute(&stage.database).await.unwrap();
    created.reverse();
    assert_eq!(pages(&orders, "created_from=2026-01-01T00:00:00Z").await, created);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_rebuilt_from_the_journal() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    for _ in 0..10 {
        let order_id = orders.create().await;
        orders.command(order_id, "pay").await;
        orders.command(order_id, "cancel").await;
    }
    orders.list_caught_up().await;
    let before = orders.listed("").await;
    assert_eq!(ids(&before).len(), 10);
    orders.blocking(|service| service.kill());
    sqlx::query("TRUNCATE order_summary").execute(&stage.database).await.unwrap();
    sqlx::query("UPDATE projection_cursor SET projected_seq = 0").execute(&stage.database).await.unwrap();
    orders.blocking(|service| service.start_again());
    orders.list_caught_up().await;
    assert_eq!(orders.listed("").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_says_by_how_much_and_catches_up_across_a_crash() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let first = orders.create().await;
    orders.list_caught_up().await;
    // Whoever holds the cursor's row projects; while this test does, nobody else can.
    let mut held = stage.database.begin().await.unwrap();
    sqlx::query("SELECT FROM projection_cursor FOR UPDATE").execute(&mut *held).await.unwrap();
    let mut newer = Vec::new();
    for _ in 0..7 {
        newer.push(orders.create().await);
    }
    orders.command(first, "pay").await;
    let page = orders.listed("").await;
    assert_eq!((&page["lag_events"], ids(&page)), (&json!(8), vec![first]), "{page}");
    assert_eq!(page["orders"][0]["status"], "created", "{page}");
    let (_, order) = orders.get(&format!("/api/orders/{first}")).await;
    assert_eq!(order["status"], "paid", "a single order never lags");
    orders.blocking(|service| service.kill());
    held.rollback().await.unwrap();
    orders.blocking(|service| service.start_again());
    orders.list_caught_up().await;
    let page = orders.listed("").await;
    newer.reverse();
    newer.push(first);
    assert_eq!(ids(&page), newer);
    assert_eq!(page["orders"][7], order);
}
