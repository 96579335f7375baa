//! What bonus publishes: its journal, and its topic as a consumer sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bonus::message::Event;
use bonus::points::Valued;
use chrono::{DateTime, Utc};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, OwnedMessage};
use serde_json::Value;
use uuid::Uuid;

use super::{World, eventually, kafka};

/// A row of `customer_event`, without what is not compared.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Row {
    pub event_id: Uuid,
    pub customer_id: Uuid,
    pub version: i64,
    pub event_type: String,
    pub occurred_at: DateTime<Utc>,
}

pub async fn journal(world: &World) -> Vec<Row> {
    let rows: Vec<(i64, Row)> = sqlx::query_as::<_, (i64,)>("SELECT seq FROM customer_event ORDER BY seq")
        .fetch_all(&mut world.connect().await)
        .await
        .unwrap()
        .into_iter()
        .map(|(seq,)| seq)
        .zip(
            sqlx::query_as(
                "SELECT event_id, customer_id, version, event_type, occurred_at FROM customer_event ORDER BY seq",
            )
            .fetch_all(&mut world.connect().await)
            .await
            .unwrap(),
        )
        .collect();
    assert!(rows.iter().map(|(seq, _)| *seq).eq(1..=rows.len() as i64), "positions have no gaps: {rows:?}");
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Versions without gaps, and times that never run back, of each customer.
pub fn assert_histories(rows: &[Row]) {
    let mut last: BTreeMap<Uuid, &Row> = BTreeMap::new();
    for row in rows {
        let before = last.insert(row.customer_id, row);
        assert_eq!(row.version, before.map_or(0, |before| before.version) + 1, "{row:?} after {before:?}");
        assert!(
            before.is_none_or(|before| before.occurred_at <= row.occurred_at),
            "{row:?} after {before:?}"
        );
    }
}

pub async fn outbox_empties(world: &World) {
    eventually("the outbox is empty", async || {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_message")
            .fetch_one(&mut world.connect().await)
            .await
            .map_err(|error| error.to_string())?;
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
}

pub async fn journal_has(world: &World, least: usize) {
    eventually("the journal has the events", async || {
        let events: Result<i64, _> = sqlx::query_scalar("SELECT count(*) FROM customer_event")
            .fetch_one(&mut world.connect().await)
            .await;
        let events = usize::try_from(events.unwrap_or_default()).unwrap();
        if events >= least { Ok(()) } else { Err(format!("{events} of {least}")) }
    })
    .await;
}

/// Every message that the topic has now. Its only partition is 0.
pub async fn published(world: &World) -> Vec<OwnedMessage> {
    let (brokers, topic) = (world.brokers.clone(), world.events_topic.clone());
    let end = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        consumer.fetch_watermarks(&topic, 0, Duration::from_secs(20)).unwrap().1
    });
    kafka::read(&world.brokers, &world.events_topic, usize::try_from(end.await.unwrap()).unwrap()).await
}

pub fn value(message: &OwnedMessage) -> Value {
    serde_json::from_slice(message.payload().unwrap()).unwrap()
}

pub fn headers(message: &OwnedMessage) -> BTreeMap<String, String> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    message.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

/// Checks that the topic has every event of the journal and no other, each customer's in order, and returns how many are there twice.
pub async fn assert_published(world: &World) -> usize {
    let rows = journal(world).await;
    assert_histories(&rows);
    let messages = published(world).await;
    let seen = assert_ordered(&messages);
    let expected: BTreeSet<Uuid> = rows.iter().map(|row| row.event_id).collect();
    assert_eq!(seen, expected, "the topic has what the journal has");
    messages.len() - seen.len()
}

/// Checks that each customer's events come in order, from the first, where one is seen for the first time. Returns their ids.
pub fn assert_ordered(messages: &[OwnedMessage]) -> BTreeSet<Uuid> {
    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::new());
    for message in messages {
        let value = value(message);
        let id = |field: &str| -> Uuid { value[field].as_str().unwrap().parse().unwrap() };
        if seen.insert(id("event_id")) {
            let last: &mut i64 = last.entry(id("customer_id")).or_default();
            assert_eq!(value["version"].as_i64(), Some(*last + 1), "out of order: {value}");
            *last += 1;
        }
    }
    seen
}

/// An order that was completed: 140 points.
pub fn completed_order(customer_id: Uuid, occurred_at: DateTime<Utc>) -> Vec<Event> {
    let order_id = Uuid::now_v7();
    [(Valued::Created, 1), (Valued::Completed, 4)]
        .map(|(valued, version)| Event {
            event_id: Uuid::now_v7(),
            order_id,
            version,
            customer_id,
            valued,
            occurred_at,
        })
        .to_vec()
}
