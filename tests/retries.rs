//! The failure matrix, its rows of the retry: what becomes of it when its lease, its Redis or its process fails too.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::time::Instant;

use sqlx::{Connection, PgConnection};
use support::eventually;
use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};

/// A holder that is cut off keeps the lease for a while after the broker is back. That is no failure of the broker, so it must
/// not lengthen the back-off.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_without_the_lease_has_not_failed() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 2).await;
    let mut stranger = PgConnection::connect(&stage.database_url).await.unwrap();
    // The lease of src/publisher/lease/keeper.rs.
    sqlx::query("SELECT pg_advisory_lock(7023100002)").execute(&mut stranger).await.unwrap();
    let without_the_lease = async |count: usize| {
        eventually("attempts go without the lease", async || {
            (orders.log().matches("Another session has the lease").count() >= count).then_some(())
        })
        .await;
    };
    without_the_lease(1).await;
    let before = orders.outbox().await["retry"]["attempt"].as_u64();
    blocking(|| kafka.start_again());
    without_the_lease(4).await;
    assert_eq!(orders.outbox().await["retry"]["attempt"].as_u64(), before);
    stranger.close().await.unwrap();
    recovered(stage, &orders, Instant::now()).await;
}
