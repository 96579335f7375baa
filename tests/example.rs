//! The example: another aggregate on the same engine, on real servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "its main is not run here")]
#[path = "../examples/stock/main.rs"]
mod stock;
mod support;

use clap::Parser;
use serde_json::{Value, json};
use support::{Stage, read_messages};
use tokio::runtime::Runtime;

#[test]
fn an_aggregate_that_is_no_order_is_decided_stored_and_published() {
    let runtime = Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new());
    let arguments = stock::Arguments::parse_from([
        "stock",
        "--database-url",
        &stage.database_url,
        "--topic",
        &stage.topic,
        "--kafka-brokers",
        &stage.servers.kafka,
        "--redis-url",
        &stage.servers.redis,
    ]);
    assert_eq!(stock::play(&arguments).unwrap(), 6);

    let stored: Vec<(i64, String, Value)> = runtime.block_on(async {
        let events = "SELECT version, event_type, payload FROM stock_event ORDER BY seq";
        sqlx::query_as(events).fetch_all(&stage.database).await.unwrap()
    });
    let expected = [
        (1, "StockListed", json!({ "version": 1, "event": "listed", "name": "teapot" })),
        (2, "StockReceived", json!({ "version": 2, "event": "received", "pieces": 10 })),
        (3, "StockPicked", json!({ "version": 3, "event": "picked", "pieces": 4 })),
    ];
    assert_eq!(stored, expected.clone().map(|(version, kind, data)| (version, kind.to_owned(), data)));
    let sent = read_messages(&stage.servers.kafka, &stage.topic);
    assert_eq!(
        sent.iter().map(|message| &message.value).collect::<Vec<_>>(),
        expected.each_ref().map(|(.., data)| data)
    );
    for message in &sent {
        let header = |name: &str| message.headers.iter().find(|(key, _)| key == name).unwrap().1.as_str();
        assert_eq!((header("ce_source"), header("ce_subject")), ("/stock", message.key.as_str()));
    }
}
