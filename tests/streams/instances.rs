//! Two instances, one of which publishes to the streams: it is stopped, frozen, or killed in a partial outage.

use engine::aggregate::AggregateId;
use engine::transport::partition_of;
use redis::AsyncCommands;
use serde_json::json;

use super::streams::{PARTITIONS, Streams, logged};
use super::support::fragile::ten_orders;
use super::support::{Orders, eventually};

async fn publishes(orders: &Orders) {
    eventually("it publishes", async || (orders.outbox().await["is_publisher"] == true).then_some(())).await;
}

/// The first one publishes.
async fn two_instances(streams: &Streams) -> (Orders, Orders) {
    let first = streams.start().await;
    publishes(&first).await;
    (first, streams.stage.start_with(streams.settings("orders-2")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_publisher_hands_the_streams_over_and_nothing_is_missing() {
    let streams = Streams::new().await;
    let (first, second) = two_instances(&streams).await;
    ten_orders(&first).await;
    first.blocking(|service| service.stop());
    publishes(&second).await;
    ten_orders(&second).await;
    streams.stage.outbox_empties().await;
    println!("{} sent twice", streams.assert_published_in_order().await);
}

/// The streams themselves refuse what it sends after its successor has taken them over.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_publisher_of_the_streams_is_replaced_and_appends_nothing_when_it_thaws() {
    let streams = Streams::new().await;
    let (first, second) = two_instances(&streams).await;
    ten_orders(&first).await;
    streams.stage.outbox_empties().await;
    let tenure = streams.field(":position", "tenure").await;
    first.blocking(|service| service.freeze());
    publishes(&second).await;
    ten_orders(&second).await;
    streams.stage.outbox_empties().await;
    assert_ne!(streams.field(":position", "tenure").await, tenure);
    first.blocking(|service| service.thaw());
    eventually("the thawed instance notices", async || {
        (first.outbox().await["is_publisher"] == false).then_some(())
    })
    .await;
    // It still serves commands, and the other one publishes them.
    ten_orders(&first).await;
    streams.stage.outbox_empties().await;
    streams.assert_published_in_order().await;
    assert_eq!(second.outbox().await["is_publisher"], true);
}

/// What it had set aside is found by the next one. Whatever was delivered is confirmed before the stream is stuck and before the kill: a
/// tenure that has to send something again waits for the stream that it belongs to.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_killed_beside_a_stuck_stream_is_replaced() {
    let streams = Streams::new().await;
    let (first, second) = two_instances(&streams).await;
    ten_orders(&first).await;
    streams.stage.outbox_empties().await;
    streams.confirmed().await;
    let mut connection = streams.connection().await;
    let (stream, aside) = (streams.stream(1), streams.stream(9));
    let _: () = connection.rename(&stream, &aside).await.unwrap();
    let _: () = connection.set(&stream, "in the way").await.unwrap();
    let (mut held, mut flowing) = (0, 0);
    while held < 5 || flowing < 5 {
        let is_held = partition_of(AggregateId(first.create().await), PARTITIONS) == 1;
        held += i64::from(is_held);
        flowing += i64::from(!is_held);
    }
    eventually("the events of one stream wait, and no others", async || {
        let deferred = "SELECT count(*) FROM deferred_event";
        let deferred: i64 = sqlx::query_scalar(deferred).fetch_one(&streams.stage.database).await.unwrap();
        (deferred == held && streams.stage.waiting().await == held).then_some(())
    })
    .await;
    streams.confirmed().await;
    first.blocking(|service| service.kill());
    // By its log: with nothing else to send it takes the stream for an outage at once, and gives the lease back between its attempts.
    logged(&second, &["Lease gained"]).await;
    let mut other = second.create().await;
    while partition_of(AggregateId(other), PARTITIONS) == 1 {
        held += 1;
        other = second.create().await;
    }
    eventually("an order of another stream is published", async || {
        (streams.stage.waiting().await == held).then_some(())
    })
    .await;
    let _: () = connection.rename(&aside, &stream).await.unwrap();
    streams.stage.outbox_empties().await;
    streams.assert_published_in_order().await;
    eventually("nothing is stuck any more", async || {
        (second.outbox().await["stuck_partitions"] == json!([])).then_some(())
    })
    .await;
}
