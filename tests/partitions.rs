//! Kafka as clusters are: a partition that takes nothing, a broker that is slow.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use stack::servers::KafkaCluster;
use stack::servers::kafka::{ClusterSettings, Layout, QuotaOf};
use support::fragile::blocking;
use support::{Orders, Servers, Stage, eventually};
use tempfile::TempDir;
use uuid::Uuid;

/// From an order's creation to its publication, beside a partition that takes nothing. A loaded machine gets more than it needs.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);

struct Site {
    cluster: KafkaCluster,
    stage: Stage,
    _directory: TempDir,
}

async fn site(brokers: usize, layout: Layout<'_>, settings: &[(&str, &str)]) -> Site {
    let directory = TempDir::new().unwrap();
    let of = ClusterSettings { brokers, replication: 1, min_in_sync: 1, lines: Vec::new() };
    let cluster = blocking(|| KafkaCluster::start(directory.path(), &of));
    let stage = Stage::on(Servers { kafka: cluster.brokers(), ..Servers::shared() }).await;
    blocking(|| cluster.admin()?.create_topic(&stage.topic, layout, settings));
    Site { cluster, stage, _directory: directory }
}

async fn start(stage: &Stage) -> Orders {
    stage
        .start_with(
            stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "1500").with("BACKOFF_CAP_MS", "2000"),
        )
        .await
}

/// The orders of which events wait.
async fn waiting(stage: &Stage) -> HashSet<Uuid> {
    let orders = "SELECT DISTINCT order_id FROM outbox_message";
    sqlx::query_scalar(orders).fetch_all(&stage.database).await.unwrap().into_iter().collect()
}

/// Creates an order; how long until it is published, if that is soon.
async fn publication(stage: &Stage, orders: &Orders) -> (Uuid, Option<Duration>) {
    let (order_id, begun) = (orders.create().await, Instant::now());
    while begun.elapsed() < PUBLISHED_WITHIN {
        if !waiting(stage).await.contains(&order_id) {
            return (order_id, Some(begun.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (order_id, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_partition_cannot_take_waits_and_all_other_orders_are_published() {
    let layout = Layout::Assigned(&[&[1], &[1], &[1], &[1], &[1], &[2]]);
    let site = site(2, layout, &[]).await;
    let (stage, orders) = (&site.stage, start(&site.stage).await);
    let mut created = Vec::new();
    for _ in 0..12 {
        created.push(orders.create().await);
    }
    stage.outbox_empties().await;
    blocking(|| site.cluster.broker(2)?.kill());
    // Orders are created until it is known which of them wait.
    let stuck = eventually("one partition is known to be stuck", async || {
        created.push(orders.create().await);
        let outbox = orders.outbox().await;
        (outbox["stuck_partitions"][0]["waiting_events"].as_i64() > Some(0)).then_some(outbox)
    })
    .await;
    assert_eq!(stuck["stuck_partitions"][0]["partitions"], serde_json::json!([5]), "{stuck}");
    eventually("the others are not held up", async || {
        (orders.outbox().await["breaker"] == "closed").then_some(())
    })
    .await;
    let (mut published, mut held) = (Vec::new(), 0);
    while published.len() < 20 {
        let (order_id, took) = publication(stage, &orders).await;
        created.push(order_id);
        match took {
            Some(took) => published.push(took),
            None => held += 1,
        }
        assert!(held < 20, "hardly any order is published: {published:?}");
    }
    // Later events of every order: those that wait go behind the ones before them.
    for order_id in &created {
        orders.command(*order_id, "pay").await;
    }
    let outbox = orders.outbox().await;
    assert_eq!((&outbox["breaker"], &outbox["is_publisher"]), (&"closed".into(), &true.into()), "{outbox}");
    eventually("the cursor passes what waits", async || {
        let outbox = orders.outbox().await;
        let deferred = outbox["stuck_partitions"][0]["waiting_events"].as_i64();
        (outbox["published_seq"] == outbox["head_seq"] && outbox["pending"].as_i64() == deferred)
            .then_some(())
    })
    .await;
    let back = Instant::now();
    blocking(|| site.cluster.broker(2)?.start_again());
    stage.outbox_empties().await;
    println!(
        "published in {published:?}; {held} held; drained {:?} after the broker's start",
        back.elapsed()
    );
    assert_eq!(stage.assert_published_in_order().await, 0, "nothing was sent twice");
    eventually("nothing is stuck any more", async || {
        (orders.outbox().await["stuck_partitions"] == serde_json::json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_broker_is_slow_and_not_down() {
    let layout = Layout::Spread { partitions: 6, replication: 1 };
    let site = site(1, layout, &[]).await;
    let stage = &site.stage;
    let orders = stage.start().await;
    orders.blocking(|service| service.stop());
    stage.fill_journal(9_600).await;
    blocking(|| site.cluster.admin()?.set_quota(QuotaOf::EachClient, "producer_byte_rate", Some(200_000.0)));
    let orders = stage.start_with(stage.settings("orders")).await;
    let begun = Instant::now();
    eventually("the backlog is published", async || {
        let outbox = orders.outbox().await;
        assert_eq!(outbox["breaker"], "closed", "slow is not down");
        assert_eq!(outbox["stuck_partitions"], serde_json::json!([]));
        (outbox["pending"] == 0).then_some(())
    })
    .await;
    println!("9,600 events took {:?}", begun.elapsed());
    blocking(|| site.cluster.admin()?.set_quota(QuotaOf::EachClient, "producer_byte_rate", None));
    assert_eq!(stage.assert_published_in_order().await, 0, "nothing was sent twice");
}
