//! The contract on the producer's side: golden events, and a real message with its headers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engine::aggregate::{Aggregate, Recorded};
use orders::order::{Order, wire};
use serde_json::{Value, json};
use support::{Stage, an_order};
use uuid::Uuid;

#[test]
fn every_golden_event_is_read_and_written_as_it_stands() {
    let mut types = BTreeSet::new();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("contract")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((event_type, _)) = name.split_once(".v1") else { continue };
        if !event_type.starts_with("Order") {
            // The bonus service's.
            continue;
        }
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let id = |field: &str| -> Uuid { golden[field].as_str().unwrap().parse().unwrap() };
        let data = wire::decode(&golden.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Order::event_type(&data), event_type, "{name}");
        let event = Recorded {
            event_id: id("event_id"),
            aggregate_id: id("order_id").into(),
            version: golden["version"].as_i64().unwrap(),
            occurred_at: golden["occurred_at"].as_str().unwrap().parse().unwrap(),
            data,
        };
        let written: Value = serde_json::from_str(&wire::encode(&event).unwrap()).unwrap();
        assert_eq!(written, golden, "{name}");
        types.insert(event_type.to_owned());
    }
    let all = ["OrderCancelled", "OrderCompleted", "OrderCreated", "OrderPaid", "OrderShipped"];
    assert_eq!(types.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn an_event_of_the_future_is_refused_by_name() {
    let event = r#"{"event_id":"0197f3a2-6c1e-7d41-8a00-000000000001","event_type":"OrderGilded","order_id":"0197f3a2-6c1e-7d40-9b52-3f0a8c7e1d01",
        "version":2,"customer_id":"5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10","occurred_at":"2026-01-05T09:30:00Z"}"#;
    let error = wire::decode(event).unwrap_err();
    assert!(error.to_string().contains("OrderGilded"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_key_value_and_headers() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request =
        orders.http.post(orders.url("/api/orders")).header("traceparent", traceparent).json(&an_order());
    assert_eq!(request.send().await.unwrap().status(), 201);
    stage.outbox_empties().await;
    let messages = stage.messages().await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    let order_id = message.order_id.to_string();
    assert_eq!(message.key, order_id);
    let (_, history) = orders.get(&format!("/api/orders/{order_id}/events")).await;
    let event = &history["events"][0];
    assert_eq!(message.value, event["data"], "the same bytes in the journal and on the wire");
    let headers: BTreeMap<&str, &str> =
        message.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let time = headers["ce_time"];
    let expected = BTreeMap::from([
        ("ce_specversion", "1.0"),
        ("ce_id", event["event_id"].as_str().unwrap()),
        ("ce_source", "/orders"),
        ("ce_type", "OrderCreated"),
        ("ce_subject", order_id.as_str()),
        ("ce_time", time),
        ("ce_sequence", "1"),
        ("content-type", "application/json"),
        ("traceparent", traceparent),
    ]);
    assert_eq!(headers, expected);
    let instant = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap();
    assert_eq!(instant(time), instant(event["occurred_at"].as_str().unwrap()));
    assert_eq!(event["metadata"]["traceparent"], traceparent);
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Every event type as it is published, beside its golden file: the same fields, no more and no fewer.
#[tokio::test(flavor = "multi_thread")]
async fn every_published_event_has_the_fields_of_its_golden_file() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let completed = orders.create().await;
    for (command, body) in [
        ("pay", json!({ "payment_reference": "pi_1" })),
        ("ship", json!({ "tracking_number": "JD01", "carrier": "DHL" })),
        ("complete", json!({})),
    ] {
        assert_eq!(orders.post(&format!("/api/orders/{completed}/{command}"), body).await.0, 200);
    }
    let cancelled = orders.create().await;
    let reason = json!({ "reason": "changed my mind" });
    assert_eq!(orders.post(&format!("/api/orders/{cancelled}/cancel"), reason).await.0, 200);
    stage.outbox_empties().await;
    let mut types = BTreeMap::new();
    for message in stage.messages().await {
        let header = |name: &str| message.headers.iter().find(|(key, _)| key == name).unwrap().1.as_str();
        let event_type = message.value["event_type"].as_str().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("contract/{event_type}.v1.json"));
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
        assert_eq!(keys(&message.value), keys(&golden), "{event_type}");
        assert_eq!((header("ce_type"), header("ce_sequence")), (event_type, &*message.version.to_string()));
        assert_eq!((header("ce_subject"), &message.key), (&*message.key, &message.order_id.to_string()));
        assert_eq!(header("ce_id"), message.value["event_id"].as_str().unwrap());
        *types.entry(event_type.to_owned()).or_insert(0) += 1;
    }
    let expected = [
        ("OrderCancelled", 1),
        ("OrderCompleted", 1),
        ("OrderCreated", 2),
        ("OrderPaid", 1),
        ("OrderShipped", 1),
    ];
    assert_eq!(types, expected.map(|(name, count)| (name.to_owned(), count)).into());
}
