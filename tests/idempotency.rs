//! `Idempotency-Key`: the same request again gets its first outcome again, on any instance, across any crash.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Orders, Stage, an_order};

/// Status, whether it was a replay, body.
async fn keyed(orders: &Orders, path: &str, key: &str, body: &Value) -> (u16, bool, Value) {
    let request = orders.http.post(orders.url(path)).header("Idempotency-Key", key).json(body);
    let response = request.send().await.unwrap();
    let replayed = response.headers().contains_key("idempotent-replayed");
    (response.status().as_u16(), replayed, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_repeats_its_first_outcome() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let body = an_order();
    let (status, replayed, created) = keyed(&orders, "/api/orders", "create", &body).await;
    assert_eq!((status, replayed), (201, false));
    let path = format!("/api/orders/{}", created["order_id"].as_str().unwrap());
    let mut outcomes = vec![("/api/orders".to_owned(), "create", body.clone(), 201, created)];
    for command in ["pay", "ship", "complete"] {
        let path = format!("{path}/{command}");
        let (status, replayed, order) = keyed(&orders, &path, command, &json!({})).await;
        assert_eq!((status, replayed), (200, false));
        outcomes.push((path, command, json!({}), 200, order));
    }
    // Each as it was then, though the order has moved on since; and after a crash, on another process.
    for round in 0..2 {
        for (path, key, body, status, first) in &outcomes {
            assert_eq!(
                keyed(&orders, path, key, body).await,
                (*status, true, first.clone()),
                "round {round}"
            );
        }
        orders.blocking(|service| service.kill());
        orders.blocking(|service| service.start_again());
    }
    assert_eq!(stage.events().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_outcome_too() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let ship = format!("/api/orders/{order_id}/ship");
    let (status, _, refused) = keyed(&orders, &ship, "too-early", &json!({})).await;
    assert_eq!(status, 409);
    orders.command(order_id, "pay").await;
    // What would be allowed by now is still refused under this key, and allowed under another.
    assert_eq!(keyed(&orders, &ship, "too-early", &json!({})).await, (409, false, refused));
    let conditional =
        orders.http.post(orders.url(&ship)).header("Idempotency-Key", "guarded").header("If-Match", "\"1\"");
    assert_eq!(conditional.json(&json!({})).send().await.unwrap().status(), 412);
    assert_eq!(keyed(&orders, &ship, "guarded", &json!({})).await.0, 412);
    assert_eq!(keyed(&orders, &ship, "in-time", &json!({})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let body = an_order();
    let (_, _, first) = keyed(&orders, "/api/orders", "key", &body).await;
    let (status, _, problem) = keyed(&orders, "/api/orders", "key", &an_order()).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:orders:problem:idempotency-key-reused")));
    let pay = format!("/api/orders/{}/pay", first["order_id"].as_str().unwrap());
    assert_eq!(keyed(&orders, &pay, "key", &json!({})).await.0, 422, "another command is another request");
    // White space and the order of fields make no other request of it.
    let customer = &body["customer_id"];
    let respelt = format!(
        r#"{{ "items": [ {{"unit_price_minor":150, "quantity":2, "sku":"tea"}} ],
              "currency": "EUR", "customer_id": {customer} }}"#
    );
    let request = orders.http.post(orders.url("/api/orders")).header("content-type", "application/json");
    let response = request.header("Idempotency-Key", "key").body(respelt).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.headers().contains_key("idempotent-replayed"));
    assert_eq!(stage.events().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_at_once_on_two_instances_one_order_comes() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    let second = stage.start_with(stage.settings("orders-2")).await;
    for round in 0..5 {
        let (body, key) = (an_order(), format!("round-{round}"));
        let instances = [&first, &second];
        let attempts = (0..20).map(|n| keyed(instances[n % 2], "/api/orders", &key, &body));
        let outcomes = join_all(attempts).await;
        let ids: HashSet<&str> =
            outcomes.iter().map(|(_, _, order)| order["order_id"].as_str().unwrap()).collect();
        assert!(outcomes.iter().all(|(status, _, _)| *status == 201));
        assert_eq!(ids.len(), 1);
        assert_eq!(outcomes.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
        assert_eq!(stage.events().await, round + 1);
    }
}
