//! Bad requests: each gets its own clear problem, never a 500, and leaves no event behind.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use support::{Orders, Stage, an_order};
use uuid::Uuid;

/// Sends the request and checks that the answer is a problem of this status and kind; returns it.
async fn refused(request: RequestBuilder, status: u16, kind: &str) -> Value {
    let response = request.send().await.unwrap();
    let told = format!("{kind}: {:?}", response.headers());
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{told}");
    let got = response.status().as_u16();
    let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(got, status, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["type"], format!("urn:orders:problem:{kind}"), "{problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty() && problem["title"].is_string(), "{problem}");
    problem
}

fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
}

/// An order with one value changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut order = an_order();
    *order.pointer_mut(pointer).unwrap() = value;
    order
}

fn raw(orders: &Orders, body: impl Into<reqwest::Body>) -> RequestBuilder {
    orders.http.post(orders.url("/api/orders")).header("content-type", "application/json").body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_field_is_named() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let item = &an_order()["items"][0];
    let largest = 9_007_199_254_740_991_i64;
    let mut unknown = an_order();
    unknown["discount"] = json!(5);
    let mut unknown_in_item = an_order();
    unknown_in_item["items"][0]["colour"] = json!("red");
    let mut missing = an_order();
    missing.as_object_mut().unwrap().remove("currency");
    let table = [
        (with("/items/0/quantity", json!(0)), "items[0].quantity"),
        (with("/items/0/quantity", json!(-3)), "items[0].quantity"),
        (with("/items/0/quantity", json!(1_000_001)), "items[0].quantity"),
        (with("/items/0/quantity", json!(1.5)), "items[0].quantity"),
        (with("/items/0/quantity", json!("2")), "items[0].quantity"),
        (with("/items/0/unit_price_minor", json!(-1)), "items[0].unit_price_minor"),
        (with("/items/0/unit_price_minor", json!(u64::MAX)), "items[0].unit_price_minor"),
        (with("/items/0/sku", json!("")), "items[0].sku"),
        (with("/items/0/sku", json!("a b")), "items[0].sku"),
        (with("/currency", json!("EURO")), "currency"),
        (with("/currency", json!("eur")), "currency"),
        (with("/currency", json!("ZZZ")), "currency"),
        (with("/customer_id", json!("nobody")), "customer_id"),
        (with("/customer_id", Value::Null), "customer_id"),
        (with("/items", json!([])), "items"),
        (with("/items", json!(vec![item; 101])), "items"),
        (with("/items", json!({})), "items"),
        (with("/items/0/unit_price_minor", json!(largest)), "items"),
        (
            json!({ "customer_id": Uuid::new_v4(), "currency": "EUR", "items": [item, { "sku": "x", "quantity": 1, "unit_price_minor": largest }] }),
            "items",
        ),
    ];
    for (body, field) in table {
        let problem =
            refused(orders.http.post(orders.url("/api/orders")).json(&body), 422, "invalid-fields").await;
        assert_eq!(fields(&problem), [field], "{problem}");
        assert!(!problem["errors"][0]["message"].as_str().unwrap().is_empty());
    }
    for body in [unknown, unknown_in_item, missing] {
        let problem =
            refused(orders.http.post(orders.url("/api/orders")).json(&body), 422, "invalid-fields").await;
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(["discount", "colour", "currency"].iter().any(|name| message.contains(name)), "{message}");
    }
    let several = json!({ "customer_id": Uuid::new_v4(), "currency": "x", "items": [{ "sku": "", "quantity": 0, "unit_price_minor": -1 }] });
    let problem =
        refused(orders.http.post(orders.url("/api/orders")).json(&several), 422, "invalid-fields").await;
    let mut named = fields(&problem);
    named.sort_unstable();
    assert_eq!(named, ["currency", "items[0].quantity", "items[0].sku", "items[0].unit_price_minor"]);
    assert_eq!(stage.events().await, 0, "nothing refused left an event");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_request_is_told_so() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order = an_order().to_string();
    for body in ["", "{", "nonsense", "{\"customer_id\": }", &format!("{order} {order}")] {
        let (status, kind) = if body.is_empty() { (422, "invalid-fields") } else { (400, "malformed-json") };
        refused(raw(&orders, body.to_owned()), status, kind).await;
    }
    refused(raw(&orders, vec![b'"', 0xff, 0xfe, b'"']), 400, "malformed-json").await;
    refused(raw(&orders, "[".repeat(10_000)), 422, "invalid-fields").await;
    refused(raw(&orders, r#"{"currency":"EUR","currency":"EUR"}"#), 422, "invalid-fields").await;
    refused(raw(&orders, " ".repeat(70_000) + &order), 413, "body-too-large").await;
    let post = || orders.http.post(orders.url("/api/orders"));
    refused(post().header("content-type", "text/plain").body(order.clone()), 415, "unsupported-media-type")
        .await;
    refused(post().body(order.clone()), 415, "unsupported-media-type").await;
    for if_match in ["1", "\"x\"", "\"1\", \"2\"", "W/\"1\""] {
        refused(post().json(&an_order()).header("If-Match", if_match), 400, "invalid-if-match").await;
    }
    for key in [String::new(), "k".repeat(256)] {
        refused(post().json(&an_order()).header("Idempotency-Key", key), 400, "invalid-idempotency-key")
            .await;
    }
    assert_eq!(stage.events().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_places_orders_and_parameters() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let nobody = Uuid::new_v4();
    let get = |path: String| orders.http.get(orders.url(&path));
    let post = |path: String| orders.http.post(orders.url(&path)).json(&json!({}));
    refused(get(format!("/api/orders/{nobody}")), 404, "order-not-found").await;
    refused(get(format!("/api/orders/{nobody}/events")), 404, "order-not-found").await;
    refused(get("/api/orders/42".into()), 400, "malformed-id").await;
    refused(post("/api/orders/42/pay".into()), 400, "malformed-id").await;
    for command in ["pay", "ship", "complete", "cancel"] {
        refused(post(format!("/api/orders/{nobody}/{command}")), 404, "order-not-found").await;
        let keyed = post(format!("/api/orders/{nobody}/{command}")).header("Idempotency-Key", command);
        refused(keyed, 404, "order-not-found").await;
        let unknown = orders.http.post(orders.url(&format!("/api/orders/{nobody}/{command}")));
        refused(unknown.json(&json!({ "because": 1 })), 422, "invalid-fields").await;
    }
    refused(get("/api/nothing".into()), 404, "not-found").await;
    refused(orders.http.delete(orders.url("/api/orders")), 405, "method-not-allowed").await;
    refused(
        orders.http.request(Method::PUT, orders.url(&format!("/api/orders/{nobody}"))),
        405,
        "method-not-allowed",
    )
    .await;
    for query in ["limit=0", "limit=201", "limit=-1", "cursor=abc"] {
        let problem = refused(get(format!("/api/orders?{query}")), 422, "invalid-fields").await;
        assert_eq!(fields(&problem), [query.split('=').next().unwrap()]);
    }
    for query in ["limit=many", "status=lost", "customer_id=42", "colour=red"] {
        refused(get(format!("/api/orders?{query}")), 400, "malformed-query").await;
    }
    refused(post("/api/actors/nobody/crash".into()), 404, "no-such-actor").await;
    refused(post(format!("/api/outbox/quarantine/{nobody}/release")), 404, "not-quarantined").await;
    refused(post(format!("/api/outbox/quarantine/{nobody}/discard")), 404, "not-quarantined").await;
    assert_eq!(stage.events().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_transitions_say_which_rule() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let illegal = async |command: &str, rule: &str| {
        let request =
            orders.http.post(orders.url(&format!("/api/orders/{order_id}/{command}"))).json(&json!({}));
        let problem = refused(request, 409, "illegal-transition").await;
        assert!(problem["detail"].as_str().unwrap().contains(rule), "{problem}");
    };
    illegal("ship", "has not been paid").await;
    illegal("complete", "has not been paid").await;
    orders.command(order_id, "pay").await;
    illegal("pay", "is paid already").await;
    illegal("complete", "has not been shipped").await;
    orders.command(order_id, "ship").await;
    illegal("cancel", "has been shipped already").await;
    orders.command(order_id, "complete").await;
    for command in ["pay", "ship", "complete", "cancel"] {
        illegal(command, "is completed").await;
    }
    let cancelled = orders.create().await;
    orders.command(cancelled, "cancel").await;
    assert_eq!(stage.events().await, 6, "four of the one, two of the other, none of the refusals");
}

/// Bodies that are nearly orders: whatever comes, the answer is a 201 or a 4xx.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_makes_the_service_fail() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,20}".prop_map(Value::from),
        Just(json!("EUR")),
        Just(json!([])),
    ];
    let field = prop_oneof![
        "[a-z_]{1,12}",
        Just("/currency".to_owned()),
        Just("/items".to_owned()),
        Just("/items/0/sku".to_owned()),
        Just("/items/0/quantity".to_owned()),
        Just("/customer_id".to_owned())
    ];
    let mutation = proptest::collection::vec((field, leaf), 1..4);
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let mut body = an_order();
        for (field, value) in mutation.new_tree(&mut runner).unwrap().current() {
            match body.pointer_mut(&field) {
                Some(place) => *place = value,
                None => body[field.trim_start_matches('/')] = value,
            }
        }
        let (status, answer) = orders.post("/api/orders", body.clone()).await;
        assert!(status == 201 || status.is_client_error(), "{status} {answer} to {body}");
    }
}
