//! What anybody who may write to the topic can send: each message is credited, ignored or a dead letter, as the contract says, and the
//! consumer goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use support::kafka::{self, committed_and_end, header, produce};
use support::process::Bonus;
use support::{World, event, eventually};
use uuid::Uuid;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// Its customer has the points of an order.
    Credited,
    Ignored,
    /// With these words in the reason.
    Letter(&'static str),
}

struct Hostile {
    name: &'static str,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, Vec<u8>)>,
    outcome: Outcome,
}

/// An order of `customer`, with something in it that is not as it should be.
fn order(customer: Uuid, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = event("OrderCreated", Uuid::now_v7(), 1, customer).value;
    change(&mut value);
    value.to_string().into_bytes()
}

/// The same, as text: for what no JSON value can hold.
fn order_text(customer: Uuid, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(order(customer, |_| {})).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

fn nested(levels: usize) -> String {
    format!("{{\"note\":{}{},", "[".repeat(levels), "]".repeat(levels))
}

/// With what a terminal obeys, and what a log takes for a new line.
fn escapes(bytes: usize) -> String {
    "\u{1b}[2J\u{7}\r\n\u{202e}\u{0}x".repeat(bytes / 29)
}

/// `Value`s and keys that are strange, on events of `customer`.
fn values(customer: Uuid) -> Vec<(&'static str, Option<Vec<u8>>, Outcome)> {
    use Outcome::{Credited, Ignored, Letter};
    let order = |change: fn(&mut Value)| Some(order(customer, change));
    let text = |from: &str, to: &str| Some(order_text(customer, from, to));
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let version = "\"version\":1";
    vec![
        ("a tombstone", None, Letter("no value")),
        ("an empty value", bytes(""), Letter("not a JSON object")),
        ("JSON that ends too soon", bytes("{\"event_type\""), Letter("EOF")),
        ("no JSON", bytes("hello"), Letter("not a JSON object")),
        ("a JSON array", bytes("[1, 2, 3]"), Letter("not a JSON object")),
        ("a JSON string", bytes("\"OrderCreated\""), Letter("not a JSON object")),
        ("an empty object", bytes("{}"), Letter("missing field")),
        ("bytes that are no text", Some(vec![0xff, 0, 1]), Letter("not a JSON object")),
        ("a mark of byte order", text("{", "\u{feff}{"), Letter("not a JSON object")),
        ("two objects", text("{", "{}{"), Letter("missing field")),
        ("a field twice", text("{", "{\"version\":1,"), Letter("duplicate field")),
        ("half a surrogate pair", text("OrderCreated", "\\ud800"), Letter("hex escape")),
        ("nested deeply", text("{", &nested(100_000)), Credited),
        ("not a number", text(version, "\"version\":NaN"), Letter("expected value")),
        ("infinity", text(version, "\"version\":1e400"), Letter("number out of range")),
        ("a fraction", text(version, "\"version\":1.5"), Letter("invalid type")),
        ("an enormous version", text(version, "\"version\":9223372036854775808"), Letter("invalid value")),
        ("version nought", text(version, "\"version\":0"), Letter("version must be 1 or more")),
        ("a version below nought", text(version, "\"version\":-7"), Letter("version must be 1 or more")),
        ("a number of 100,000 digits", text("{", &format!("{{\"n\":{},", "9".repeat(100_000))), Credited),
        (
            "a date before history",
            order(|e| e["occurred_at"] = json!("-0001-01-01T00:00:00Z")),
            Letter("years 1 to 9999"),
        ),
        (
            "a date that is none",
            order(|e| e["occurred_at"] = json!("2026-02-30T00:00:00Z")),
            Letter("out of range"),
        ),
        ("no customer", order(|e| e["customer_id"] = Value::Null), Letter("invalid type")),
        ("an object as an id", order(|e| e["order_id"] = json!({ "$ne": 1 })), Letter("invalid type")),
        (
            "SQL as an id",
            order(|e| e["order_id"] = json!("'; DROP TABLE ledger; --")),
            Letter("UUID parsing failed"),
        ),
        ("an unknown type", order(|e| e["event_type"] = json!("OrderExploded")), Ignored),
        (
            "an unknown type and nothing else",
            bytes("{\"event_type\":\"OrderExploded\",\"version\":[]}"),
            Ignored,
        ),
        ("escapes in an unknown field", order(|e| e["note"] = json!(escapes(900_000))), Credited),
        ("escapes as a type", order(|e| e["event_type"] = json!(escapes(500_000))), Ignored),
        (
            "escapes as an id",
            order(|e| e["order_id"] = json!(escapes(500_000))),
            Letter("UUID parsing failed"),
        ),
    ]
}

fn hostile(customer: Uuid) -> Vec<Hostile> {
    let plain = || Some(order(customer, |_| {}));
    let key = || Some(Uuid::now_v7().to_string().into_bytes());
    let of = |name, key, value, headers| Hostile { name, key, value, headers, outcome: Outcome::Credited };
    let around = [
        of("no key", None, plain(), vec![]),
        of("the key of another order", key(), plain(), vec![]),
        of("a key that is no text", Some(vec![0xff, 0xfe]), plain(), vec![]),
        of("a key of 100,000 bytes", Some(vec![b'k'; 100_000]), plain(), vec![]),
        of("no headers", key(), plain(), vec![]),
        of("a header twice", key(), plain(), vec![("ce_type", b"A".to_vec()), ("ce_type", b"B".to_vec())]),
        of("a header that is no text", key(), plain(), vec![("ce_type", vec![0xff, 0xfe])]),
        of("a huge header", key(), plain(), vec![("traceparent", vec![b'0'; 500_000])]),
        of("a trace that is none", key(), plain(), vec![("traceparent", escapes(100).into_bytes())]),
    ];
    let inside = values(customer).into_iter().map(|(name, value, outcome)| Hostile {
        name,
        key: Some(name.as_bytes().to_vec()),
        value,
        headers: vec![("name", name.as_bytes().to_vec())],
        outcome,
    });
    around.into_iter().chain(inside).collect()
}

async fn send(producer: &FutureProducer, topic: &str, hostile: &Hostile) {
    let headers = hostile.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
    record.key = hostile.key.as_deref();
    record.payload = hostile.value.as_deref();
    let sent = producer.send(record, Duration::from_secs(30)).await;
    sent.unwrap_or_else(|(error, _)| panic!("{}: {error}", hostile.name));
}

#[tokio::test]
async fn every_hostile_message_is_credited_ignored_or_a_dead_letter_and_the_consumer_goes_on() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let producer = kafka::producer(&world.brokers);
    let mut expected = BTreeMap::new();
    let mut letters = BTreeMap::new();
    let mut sent = 0;
    // A customer for each: so it is seen which of them is not as it should be.
    for place in 0..hostile(Uuid::nil()).len() {
        let customer = Uuid::now_v7();
        let hostile = hostile(customer).swap_remove(place);
        send(&producer, &world.topic, &hostile).await;
        sent += 1;
        match hostile.outcome {
            Outcome::Credited => drop(expected.insert(customer, 40)),
            Outcome::Ignored => {}
            Outcome::Letter(words) => drop(letters.insert(hostile.name, words)),
        }
    }
    let honest = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, honest)]).await;
    expected.insert(honest, 40);
    world.points_become(&expected).await;

    let found = kafka::read(&world.brokers, &format!("{}.dlq", world.topic), letters.len()).await;
    for letter in &found {
        let reason = header(letter, "dead_letter_reason").unwrap();
        let name = header(letter, "name").unwrap();
        let words = letters.remove(name.as_str()).unwrap_or_else(|| panic!("{name}: {reason}"));
        assert!(reason.contains(words) && reason.len() < 2_000, "{name}: {reason}");
    }
    assert_eq!(letters, BTreeMap::new(), "these are no dead letters");
    eventually("the offsets pass all of them", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end && end == sent + 1 { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(bonus.get("/readyz").await.1["consumer_restarts"], 0, "the consumer was restarted");
    world.books_balance().await;
}

/// What is small on its way and large when it is read.
#[tokio::test]
async fn a_compressed_bomb_is_a_dead_letter_without_its_value() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("message.max.bytes", "100000000")
        .set("compression.type", "gzip")
        .create()
        .unwrap();
    // The broker takes 1 MB of a batch: this is 50 KB of it.
    let value = vec![b' '; 50_000_000];
    let record = FutureRecord::<str, [u8]>::to(&world.topic).key("bomb").payload(&value);
    producer.send(record, Duration::from_secs(30)).await.unwrap();
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    let letters = kafka::read(&world.brokers, &format!("{}.dlq", world.topic), 1).await;
    // So large that only its place is kept.
    assert_eq!((letters[0].payload(), letters[0].key()), (None, None));
    assert!(header(&letters[0], "dead_letter_offset").is_some());
    assert_eq!(header(&letters[0], "dead_letter_value_bytes"), Some(value.len().to_string()));
    assert!(header(&letters[0], "dead_letter_reason").unwrap().contains("not a JSON object"));
    assert_eq!(bonus.get("/readyz").await.1["consumer_restarts"], 0, "the consumer was restarted");
}
