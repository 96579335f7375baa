//! The failure matrix, its row of the clock: the wall clock steps, and what is measured in durations does not notice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};
use support::{Orders, Stage};

/// The library that shifts a process's clock. (libfaketime cannot be used: glibc's C11 threads, which librdkafka waits with,
/// pass it by, so that every wait would be off by the shift.)
fn shift_library(stage: &Stage) -> PathBuf {
    let library = stage.directory.path().join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock.c");
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(compiler.expect("a C compiler is needed: run `make deps`").success());
    library
}

/// A service whose wall clock is as far off as a file says, from one reading to the next.
struct Shifted {
    orders: Orders,
    offset: PathBuf,
}

impl Shifted {
    async fn start(stage: &Stage) -> Self {
        let offset = stage.directory.path().join("clock");
        std::fs::write(&offset, "0\n").unwrap();
        let settings = stage
            .settings("orders")
            .with("LD_PRELOAD", shift_library(stage).to_str().unwrap())
            .with("CLOCK_OFFSET_FILE", offset.to_str().unwrap())
            .with("DELIVERY_TIMEOUT_MS", "1000")
            // An attempt may fail while a thawed broker collects itself; the next is not to be far.
            .with("BACKOFF_CAP_MS", "4000");
        Self { orders: stage.start_with(settings).await, offset }
    }

    /// By so many hours from the true time; that the service sees it is checked by the time it gives an order's event.
    async fn shift(&self, hours: i64) {
        std::fs::write(&self.offset, format!("{}\n", hours * 3600)).unwrap();
        let order_id = self.orders.create().await;
        let (_, events) = self.orders.get(&format!("/api/orders/{order_id}/events")).await;
        let at: DateTime<Utc> = events["events"][0]["occurred_at"].as_str().unwrap().parse().unwrap();
        let off = at - (Utc::now() + TimeDelta::hours(hours));
        assert!(off.abs() < TimeDelta::minutes(1), "the clock was not shifted: {at}");
    }
}

/// A job is due by the wall clock. Set back by an hour, it would be due in an hour.
#[tokio::test(flavor = "multi_thread")]
async fn set_back_while_a_retry_waits() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let shifted = Shifted::start(stage).await;
    let orders = &shifted.orders;
    ten_orders(orders).await;
    // It answers nothing, so that nothing but the clock brings the next attempt.
    blocking(|| kafka.freeze());
    ten_orders(orders).await;
    let attempt = retry_is(orders, "redis", 2).await["attempt"].as_u64().unwrap();
    shifted.shift(-1).await;
    retry_is(orders, "redis", attempt + 2).await;
    ten_orders(orders).await;
    blocking(|| kafka.thaw());
    recovered(stage, orders, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn set_back_and_forth_under_load() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let shifted = Shifted::start(stage).await;
    let orders = &shifted.orders;
    for hours in [0, -3, 5, -1, 0] {
        shifted.shift(hours).await;
        ten_orders(orders).await;
        stage.outbox_empties().await;
        assert_eq!(orders.outbox().await["is_publisher"], true, "the lease does not go by this clock");
    }
    assert_eq!(stage.assert_published_in_order().await, 0);
    blocking(|| kafka.kill());
    ten_orders(orders).await;
    retry_is(orders, "redis", 1).await;
    shifted.shift(2).await;
    ten_orders(orders).await;
    blocking(|| kafka.start_again());
    recovered(stage, orders, Instant::now()).await;
}
