//! The publisher dies in a partial outage.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::fragile::blocking;
use crate::{
    LAST_ELSEWHERE, PUBLISHED_WITHIN, Site, a_partition_is_stuck, each, only_deferred_events_wait, pay,
    start, start_named, twelve_published, waiting,
};

/// After the death of the lease's holder.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// What it had set aside is found by the next one, which has no new event of that partition to learn from that it takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_killed_beside_a_stuck_partition_is_replaced() {
    let site = Site::new(LAST_ELSEWHERE, &[("min.insync.replicas", "1")]).await;
    let (stage, first) = (&site.stage, start(&site.stage).await);
    let mut created = twelve_published(stage, &first).await;
    let second = start_named(stage, "orders-2").await;
    blocking(|| site.cluster().broker(2)?.kill());
    a_partition_is_stuck(&first, &mut created).await;
    pay(&first, &created).await;
    only_deferred_events_wait(&first).await;
    let held = waiting(stage).await;

    first.blocking(|service| service.kill());
    let killed = Instant::now();
    eventually("the other one publishes", async || {
        (second.outbox().await["is_publisher"] == true).then_some(())
    })
    .await;
    let took = killed.elapsed();
    assert!(took < TAKEN_OVER_WITHIN, "takeover took {took:?}");
    // With nothing else to send it takes this for an outage, and tries less and less often.
    eventually("its third attempt is due", async || {
        (second.outbox().await["retry"]["attempt"].as_u64() >= Some(3)).then_some(())
    })
    .await;
    let flowing: Vec<_> = created.iter().filter(|order_id| !held.contains(order_id)).collect();
    let mut took_each = Vec::new();
    for order_id in &flowing {
        let begun = Instant::now();
        second.command(**order_id, "ship").await;
        eventually("its event is published", async || {
            (!waiting(stage).await.contains(order_id)).then_some(())
        })
        .await;
        took_each.push(begun.elapsed());
    }
    // The first one brings the retry forward, and shows that the broker is well. The machine may be loaded: the middle one counts.
    took_each.sort();
    let median = took_each[took_each.len() / 2];
    assert!(median < PUBLISHED_WITHIN, "{took_each:?} beside the stuck partition");
    eventually("it knows which partition takes nothing, and why", async || {
        let stuck = second.outbox().await["stuck_partitions"].as_array().unwrap().clone();
        stuck
            .iter()
            .any(|stuck| stuck["partitions"] == json!([5]) && stuck["cause"].is_string())
            .then_some(())
    })
    .await;
    second.breaker_is("closed").await;

    let stuck_events = stage.waiting().await;
    blocking(|| site.cluster().broker(2)?.start_again());
    // Behind what waits, or is being sent by now.
    each(&second, &held, "ship").await;
    stage.outbox_empties().await;
    println!(
        "taken over in {took:?}; {} orders went on, in {median:?} the middle one; {stuck_events} events of {} waited; {} were sent twice",
        flowing.len(),
        held.len(),
        stage.assert_published_in_order().await
    );
    eventually("nothing is stuck any more", async || {
        (second.outbox().await["stuck_partitions"] == json!([])).then_some(())
    })
    .await;
}
