//! Grades and VIP, and what customers gain and lose, as they happen.

use serde_json::json;
use uuid::Uuid;

use super::page::{Device, Page};
use super::support::{Orders, Stage};
use super::with_bonus;

/// Points of a created order, and what silver and VIP take.
const ORDER: usize = 40;
const SILVER: usize = 100;
const VIP: usize = 200;

async fn create(orders: &Orders, customer: Uuid) -> Uuid {
    let item = json!({ "sku": "tea", "quantity": 1, "unit_price_minor": 450 });
    let order = json!({ "customer_id": customer, "currency": "EUR", "items": [item] });
    let (status, order) = orders.post("/api/orders", order).await;
    assert_eq!(status, 201, "{order}");
    order["order_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn grades_and_vip_are_shown_as_customers_gain_and_lose_them() {
    let stage = Stage::new().await;
    let (orders, _bonus) = with_bonus(&stage).await;
    let page = Page::open(&orders, stage.directory.path(), Device::Desk).await;
    page.reads("#vip", "0").await;
    page.reads("#no-changes", "Nobody has gained or lost a grade or VIP yet.").await;
    create(&orders, Uuid::new_v4()).await;
    page.reads("#bronze", "1").await;

    let customer = Uuid::new_v4();
    let mut created = Vec::new();
    while created.len() * ORDER < SILVER {
        created.push(create(&orders, customer).await);
    }
    page.reads("#silver", "1").await;
    page.reads("#vip", "0").await;
    let newest = "#changes li:nth-child(1)";
    page.shows(newest, |text| text.contains("attained silver")).await;
    let who = page.text(newest).await.unwrap();
    assert!(who.contains(&customer.to_string()[28..]), "{who}");
    while created.len() * ORDER < VIP {
        created.push(create(&orders, customer).await);
    }
    page.reads("#vip", "1").await;
    page.shows(newest, |text| text.contains("became VIP")).await;

    orders.command(created.pop().unwrap(), "cancel").await;
    page.reads("#vip", "0").await;
    page.shows(newest, |text| text.contains("is no longer VIP")).await;
    while created.len() * ORDER >= SILVER {
        orders.command(created.pop().unwrap(), "cancel").await;
    }
    page.reads("#silver", "0").await;
    page.reads("#bronze", "2").await;
    page.shows(newest, |text| text.contains("lost silver")).await;
    assert_eq!(page.all("#changes li").await.len(), 4);
    assert_eq!(page.complaints().await, Vec::<String>::new());
}
