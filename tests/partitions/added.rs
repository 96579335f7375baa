//! Partitions are added in a partial outage: keys move, and what waits moves with them.

use std::collections::{BTreeSet, HashMap};

use engine::aggregate::AggregateId;
use engine::publisher::machine::lane::lane_of;
use uuid::Uuid;

use crate::support::fragile::blocking;
use crate::support::{Stage, eventually};
use crate::{
    LAST_ELSEWHERE, Site, a_partition_is_stuck, each, logged, pay, start, twelve_published, waiting,
};

const PARTITIONS: u32 = 9;

/// As the client library does: up to sixteen partitions each has a lane of its own.
fn partition_of(order_id: Uuid) -> u32 {
    lane_of(AggregateId(order_id), PARTITIONS)
}

/// Each order's events were written one after the other, in whichever partitions they are.
async fn written_in_order(stage: &Stage) {
    let mut first_written: HashMap<(Uuid, i64), (i64, i32, usize)> = HashMap::new();
    for (place, message) in stage.messages().await.into_iter().enumerate() {
        let written = (message.timestamp_ms, message.partition, place);
        let first = first_written.entry((message.order_id, message.version)).or_insert(written);
        *first = written.min(*first);
    }
    let journal: Vec<(Uuid, i64)> =
        sqlx::query_as("SELECT order_id, version FROM order_event").fetch_all(&stage.database).await.unwrap();
    for (order_id, version) in journal {
        let written = first_written.get(&(order_id, version));
        let (at, partition, place) = *written.unwrap_or_else(|| panic!("{order_id} {version} is missing"));
        if let Some((before, other, place_before)) = first_written.get(&(order_id, version - 1)) {
            let behind = *before <= at && (*other != partition || *place_before < place);
            assert!(behind, "{order_id}: {version} was written before its predecessor");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_added_while_events_wait_for_one() {
    let settings = [("min.insync.replicas", "1"), ("message.timestamp.type", "LogAppendTime")];
    let site = Site::new(LAST_ELSEWHERE, &settings).await;
    let (stage, orders) = (&site.stage, start(&site.stage).await);
    let mut created = twelve_published(stage, &orders).await;
    blocking(|| site.cluster().broker(2)?.kill());
    a_partition_is_stuck(&orders, &mut created).await;
    pay(&orders, &created).await;
    blocking(|| site.cluster().admin()?.add_partitions(&stage.topic, &[&[1], &[1], &[1]]));
    logged(&orders, &["WARN", "Partitions were added"]).await;
    each(&orders, &created, "ship").await;
    // What waited for the old partition and has moved to one that takes it is published without it.
    let stuck: BTreeSet<Uuid> =
        created.iter().copied().filter(|order_id| partition_of(*order_id) == 5).collect();
    eventually("only orders of the stuck partition wait", async || {
        (waiting(stage).await.into_iter().collect::<BTreeSet<_>>() == stuck).then_some(())
    })
    .await;
    blocking(|| site.cluster().broker(2)?.start_again());
    each(&orders, &created, "complete").await;
    stage.outbox_empties().await;
    written_in_order(stage).await;
    orders.breaker_is("closed").await;
}
