//! An event that Redis refuses for its own sake, through the whole service: from the journal to the operator and back.

use engine::aggregate::AggregateId;
use engine::transport::partition_of;
use serde_json::{Value, json};
use uuid::Uuid;

use super::streams::{PARTITIONS, Streams};
use super::support::fragile::ten_orders;
use super::support::{Orders, eventually};

/// Below it, Redis refuses to set the largest value that it takes.
const SMALLEST_BULK: &str = "1mb";

/// The creation of an order, larger than Redis takes, behind everything in the journal. No command makes one: it is a copy of another
/// creation, with a field that this version does not know. To be called while no instance runs.
async fn large_creation(streams: &Streams) -> Uuid {
    sqlx::query_scalar(
        "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT n.seq, n.event_id, n.order_id, 1, e.event_type, (e.payload::jsonb || jsonb_build_object(
                    'event_id', n.event_id, 'order_id', n.order_id, 'note', repeat('x', 1100000)))::text::json,
                e.metadata, e.occurred_at
           FROM (SELECT max(seq) + 1 AS seq, gen_random_uuid() AS event_id, gen_random_uuid() AS order_id
                   FROM order_event) n,
                order_event e
          WHERE e.seq = 1
      RETURNING order_id",
    )
    .fetch_one(&streams.stage.database)
    .await
    .unwrap()
}

/// An order whose first event Redis refuses, paid as well, among others that are published.
async fn quarantine_one(streams: &Streams) -> (Orders, Uuid) {
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    streams.configure("proto-max-bulk-len", SMALLEST_BULK).await;
    orders.blocking(|service| service.stop());
    let large = large_creation(streams).await;
    orders.blocking(|service| service.start_again());
    orders.command(large, "pay").await;
    ten_orders(&orders).await;
    eventually("the large order is set aside, alone", async || {
        let outbox = orders.outbox().await;
        (outbox["quarantined_events"] == 2 && outbox["pending"] == 2).then_some(())
    })
    .await;
    assert_eq!(orders.outbox().await["breaker"], "closed", "one bad event is no outage");
    (orders, large)
}

async fn the_only_one(orders: &Orders) -> Value {
    let (status, listed) = orders.get("/api/outbox/quarantine").await;
    assert_eq!((status.as_u16(), listed.as_array().unwrap().len()), (200, 1), "{listed}");
    listed[0].clone()
}

/// The versions of this order in its stream.
async fn published(streams: &Streams, order_id: Uuid) -> Vec<i64> {
    let entries = streams.entries().await.into_iter();
    entries.filter(|entry| entry.order_id == order_id).map(|entry| entry.version).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_redis_refuses_is_quarantined_listed_released_and_published_in_order() {
    let streams = Streams::new().await;
    let (orders, large) = quarantine_one(&streams).await;
    let listed = the_only_one(&orders).await;
    assert_eq!((&listed["order_id"], &listed["waiting_events"]), (&json!(large), &json!(2)), "{listed}");
    assert!(listed["error"].as_str().unwrap().contains("proto-max-bulk-len"), "{listed}");
    assert_eq!(published(&streams, large).await, Vec::<i64>::new());
    // Its stream goes on.
    let partition = partition_of(AggregateId(large), PARTITIONS);
    let mut neighbour = orders.create().await;
    while partition_of(AggregateId(neighbour), PARTITIONS) != partition {
        neighbour = orders.create().await;
    }
    eventually("another order of the stream is published", async || {
        (published(&streams, neighbour).await == [1]).then_some(())
    })
    .await;

    streams.configure("proto-max-bulk-len", "512mb").await;
    // A later event of the order joins those that wait.
    orders.command(large, "ship").await;
    let (status, _) = orders.post(&format!("/api/outbox/quarantine/{large}/release"), json!({})).await;
    assert_eq!(status, 202);
    streams.stage.outbox_empties().await;
    assert_eq!(published(&streams, large).await, [1, 2, 3]);
    streams.assert_published_in_order().await;
    eventually("the quarantine is empty", async || {
        (orders.outbox().await["quarantined_orders"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_redis_refuses_can_be_given_up_and_the_rest_follows() {
    let streams = Streams::new().await;
    let (orders, large) = quarantine_one(&streams).await;
    let seq = the_only_one(&orders).await["first_waiting_seq"].clone();
    let body = json!({ "seq": seq, "reason": "too large for any stream", "by": "kim" });
    let (status, record) = orders.post(&format!("/api/outbox/quarantine/{large}/discard"), body).await;
    assert_eq!((status.as_u16(), &record["seq"]), (202, &seq), "{record}");
    streams.stage.outbox_empties().await;
    assert_eq!(published(&streams, large).await, [2], "the first was given up, the second follows");
    // What was given up is not sent when the streams are filled again.
    redis::cmd("FLUSHALL").exec_async(&mut streams.connection().await).await.unwrap();
    eventually("the streams are filled again", async || {
        let entries = streams.entries().await.len() as i64;
        (entries == streams.stage.events().await - 1).then_some(())
    })
    .await;
    assert_eq!(published(&streams, large).await, [2]);
}
