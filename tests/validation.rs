//! Bad requests: each gets its own clear problem, never a 500, and leaves no event behind.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::fmt::Display;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use support::{Orders, Stage, an_order};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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
    let mut missing_in_item = an_order();
    missing_in_item["items"][0].as_object_mut().unwrap().remove("quantity");
    for (body, field) in [
        (unknown, "discount"),
        (unknown_in_item, "items[0].colour"),
        (missing, "currency"),
        (missing_in_item, "items[0].quantity"),
        (with("/items/0", json!(["tea", 2, 150])), "items[0]"),
        (json!([Uuid::new_v4(), "EUR", [item]]), "."),
        (json!("an order"), "."),
    ] {
        let problem =
            refused(orders.http.post(orders.url("/api/orders")).json(&body), 422, "invalid-fields").await;
        assert_eq!(fields(&problem), [field], "{problem}");
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
    let lone_surrogate = order.replace("EUR", "\\ud800");
    let endless = order.replace("150", "1e400");
    for body in [lone_surrogate, endless, order.replace("tea", "\u{0}")] {
        assert_ne!(body, order);
        refused(raw(&orders, body), 400, "malformed-json").await;
    }
    refused(raw(&orders, vec![b'"', 0xff, 0xfe, b'"']), 400, "malformed-json").await;
    refused(raw(&orders, "[".repeat(10_000)), 400, "malformed-json").await;
    let nested = format!(r#"{{"customer_id":{}1{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    refused(raw(&orders, nested), 400, "malformed-json").await;
    let twice = refused(raw(&orders, r#"{"currency":"EUR","currency":"EUR"}"#), 400, "malformed-json").await;
    assert!(twice["detail"].as_str().unwrap().contains("\"currency\" is there twice"), "{twice}");
    let digits = order.replace("150", &"9".repeat(400));
    let huge = refused(raw(&orders, digits), 400, "malformed-json").await;
    assert!(huge["detail"].as_str().unwrap().contains("number out of range"), "{huge}");
    refused(raw(&orders, " ".repeat(70_000) + &order), 413, "body-too-large").await;
    let post = || orders.http.post(orders.url("/api/orders"));
    refused(post().header("content-type", "text/plain").body(order.clone()), 415, "unsupported-media-type")
        .await;
    refused(post().body(order.clone()), 415, "unsupported-media-type").await;
    let chunked = chunked(&orders, 70_000).await;
    assert!(chunked.starts_with("HTTP/1.1 413 ") && chunked.contains("body-too-large"), "{chunked}");
    for if_match in ["1", "\"x\"", "\"1\", \"2\"", "W/\"1\""] {
        refused(post().json(&an_order()).header("If-Match", if_match), 400, "invalid-if-match").await;
    }
    for key in [Vec::new(), vec![b'k'; 256], vec![b'k', 0xff]] {
        refused(post().json(&an_order()).header("Idempotency-Key", key), 400, "invalid-idempotency-key")
            .await;
    }
    assert_eq!(stage.events().await, 0);
}

/// Posts a body whose length nobody announced, and returns the answer.
async fn chunked(orders: &Orders, length: usize) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", orders.service.port())).await.unwrap();
    let request = format!(
        "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n",
        " ".repeat(length)
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_command_leaves_its_order_alone() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let long = "x".repeat(201);
    for (command, field) in
        [("pay", "payment_reference"), ("ship", "tracking_number"), ("ship", "carrier"), ("cancel", "reason")]
    {
        for value in [json!(""), json!("  "), json!(long), json!("a\u{0}b"), json!(7), json!([])] {
            let url = orders.url(&format!("/api/orders/{order_id}/{command}"));
            let problem =
                refused(orders.http.post(url).json(&json!({ field: value })), 422, "invalid-fields").await;
            assert_eq!(fields(&problem), [field], "{command}: {problem}");
        }
    }
    for command in ["pay", "ship", "complete", "cancel"] {
        let post = || orders.http.post(orders.url(&format!("/api/orders/{order_id}/{command}")));
        let json = || post().header("content-type", "application/json");
        refused(json().body("{"), 400, "malformed-json").await;
        refused(json().body("{} {}"), 400, "malformed-json").await;
        refused(json().body("[]"), 422, "invalid-fields").await;
        refused(json().body(format!("{{}}{}", " ".repeat(70_000))), 413, "body-too-large").await;
        refused(post().body("{}"), 415, "unsupported-media-type").await;
        refused(post().header("content-type", "text/plain").body("{}"), 415, "unsupported-media-type").await;
        refused(post().header("If-Match", "1"), 400, "invalid-if-match").await;
        refused(post().header("If-Match", "\"2\""), 412, "version-mismatch").await;
        refused(post().header("Idempotency-Key", "k".repeat(256)), 400, "invalid-idempotency-key").await;
    }
    let (_, order) = orders.get(&format!("/api/orders/{order_id}")).await;
    assert_eq!((&order["status"], &order["version"]), (&json!("created"), &json!(1)));
    assert_eq!(stage.events().await, 1);
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
    for id in ["42", "%ff", "%00"] {
        refused(get(format!("/api/orders/{id}")), 400, "malformed-id").await;
        refused(get(format!("/api/orders/{id}/events")), 400, "malformed-id").await;
    }
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
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "cursor=abc",
        "cursor=1042",
        "cursor=1-0",
        "created_from=0000-12-31T23:59:59Z",
        "created_before=%2B12000-01-01T00:00:00Z",
    ] {
        let problem = refused(get(format!("/api/orders?{query}")), 422, "invalid-fields").await;
        assert_eq!(fields(&problem), [query.split('=').next().unwrap()]);
    }
    for query in [
        "limit=many",
        "status=lost",
        "status=%ff",
        "customer_id=42",
        "colour=red",
        "limit=1&limit=2",
        "created_from=yesterday",
    ] {
        refused(get(format!("/api/orders?{query}")), 400, "malformed-query").await;
    }
    refused(post("/api/actors/nobody/crash".into()), 404, "no-such-actor").await;
    refused(post(format!("/api/outbox/quarantine/{nobody}/release")), 404, "not-quarantined").await;
    let discard = || orders.http.post(orders.url(&format!("/api/outbox/quarantine/{nobody}/discard")));
    refused(discard().json(&json!({ "seq": 1, "reason": "r", "by": "kim" })), 404, "not-quarantined").await;
    let unnamed = refused(discard().json(&json!({})), 422, "invalid-fields").await;
    assert_eq!(fields(&unnamed), ["seq", "reason", "by"], "an event is given up by name only");
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
    let mut created = 0;
    for _ in 0..300 {
        let mut body = an_order();
        for (field, value) in mutation.new_tree(&mut runner).unwrap().current() {
            match body.pointer_mut(&field) {
                Some(place) => *place = value,
                None => body[field.trim_start_matches('/')] = value,
            }
        }
        created += accepted_or_refused(raw(&orders, body.to_string()), &body).await;
    }
    // And bodies that are nearly JSON: bytes overwritten, the end cut off.
    let damage =
        (proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), 1..=400_usize);
    for _ in 0..300 {
        let (bytes, end) = damage.new_tree(&mut runner).unwrap().current();
        let mut body = an_order().to_string().into_bytes();
        for (place, byte) in bytes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        body.truncate(end);
        created += accepted_or_refused(raw(&orders, body.clone()), &String::from_utf8_lossy(&body)).await;
    }
    assert!(created > 0, "some were orders still");
    assert_eq!(stage.events().await, created, "one event each, and none of what was refused");
}

/// How many orders came of it, one or none. None comes with a problem that is the caller's.
async fn accepted_or_refused(request: RequestBuilder, body: &impl Display) -> i64 {
    let response = request.send().await.unwrap();
    let status = response.status();
    if status == 201 {
        return 1;
    }
    assert!(status.is_client_error(), "{status} to {body}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{status} to {body}");
    0
}
