//! The way to the streams: a link that is slow, and rights that are taken away.

use std::time::Duration;

use serde_json::json;
use stack::servers::port::Port;
use stack::servers::{Link, Throttle};

use super::streams::{Streams, ask, logged};
use super::support::fragile::{retry_is, ten_orders};

/// In bytes a second. What is in flight at a time, half a megabyte a partition, takes less than the time after which silence is a failure.
const SLOW: u32 = 1_000_000;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// They take longer than that, with a kilobyte each.
const EVENTS: i32 = 8_000;

#[tokio::test(flavor = "multi_thread")]
async fn streams_behind_a_slow_link_are_slow_and_not_down() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    orders.blocking(|service| service.stop());
    streams.stage.fill_journal(EVENTS).await;
    let link = Link::open(Port::free().unwrap(), streams.redis.port()).await.unwrap();
    link.throttle(Throttle { bytes_per_second: Some(SLOW), delay: Duration::from_millis(50) });
    let settings = streams
        .settings("orders-2")
        .with("REDIS_URL", format!("redis://127.0.0.1:{}", link.port()))
        .with("DELIVERY_TIMEOUT_MS", DELIVERY_TIMEOUT.as_millis().to_string());
    let slow = streams.stage.start_with(settings).await;
    let begun = std::time::Instant::now();
    streams.stage.outbox_empties().await;
    assert!(begun.elapsed() > DELIVERY_TIMEOUT, "the link was not slow: {:?}", begun.elapsed());
    assert_eq!(streams.assert_published_in_order().await, 0, "nothing is sent twice");
    assert!(!slow.log().contains("Breaker open"), "it was no outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_on_the_streams_that_are_taken_away_and_given_back() {
    let streams = Streams::new().await;
    let orders = streams.start().await;
    ten_orders(&orders).await;
    streams.stage.outbox_empties().await;
    let mut connection = streams.connection().await;
    let _: () = ask(&mut connection, &["ACL", "SETUSER", "default", "-xadd"]).await;
    ten_orders(&orders).await;
    orders.breaker_is("open").await;
    logged(
        &orders,
        &[
            "Publish attempt failed",
            "check the user in REDIS_URL, its password there or in the file, and the user's rights",
        ],
    )
    .await;
    assert_eq!(streams.stage.waiting().await, 20);
    let (_, quarantine) = orders.get("/api/outbox/quarantine").await;
    assert_eq!(quarantine, json!([]), "it is no event's fault");
    retry_is(&orders, "redis", 2).await;
    let _: () = ask(&mut connection, &["ACL", "SETUSER", "default", "+xadd"]).await;
    streams.stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    streams.assert_published_in_order().await;
}
