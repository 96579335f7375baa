//! Publication on healthy servers with unhealthy processes: order, takeover, quarantine.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::admin::AdminOptions;
use serde_json::{Value, json};
use support::narrow::{admin, large_order, narrow_topic, widen_topic};
use support::{Orders, Stage, eventually};
use uuid::Uuid;

/// What a frozen holder's lease may take to pass on: its timeout, and some.
const FROZEN_TAKEOVER_MAX: Duration = Duration::from_secs(10);

async fn life_cycle(orders: &Orders) -> Uuid {
    let order_id = orders.create().await;
    for command in ["pay", "ship", "complete"] {
        orders.command(order_id, command).await;
    }
    order_id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_in_version_order() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    for _ in 0..20 {
        life_cycle(&orders).await;
    }
    stage.outbox_empties().await;
    assert_eq!(stage.events().await, 80);
    assert_eq!(stage.assert_published_in_order().await, 0, "nothing failed, so nothing is sent twice");
    let outbox = orders.outbox().await;
    assert_eq!(outbox["published_seq"], 80);
    assert_eq!(outbox["breaker"], "closed");
    assert_eq!(outbox["is_publisher"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_leaves_nothing_behind_unpublished() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    for round in 1..=5 {
        // Killed right behind the acknowledgements: some events are published, some with an unmoved cursor, some not at all.
        for _ in 0..10 {
            orders.create().await;
        }
        orders.blocking(|service| service.kill());
        orders.blocking(|service| service.start_again());
        assert_eq!(stage.events().await, round * 10);
    }
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

async fn publisher_among(instances: &[&Orders]) -> usize {
    eventually("one instance publishes", async || {
        for (place, orders) in instances.iter().enumerate() {
            if orders.outbox().await["is_publisher"] == true {
                return Some(place);
            }
        }
        None
    })
    .await
}

async fn two_instances(stage: &Stage) -> (Orders, Orders) {
    let first = stage.start().await;
    publisher_among(&[&first]).await;
    let second = stage.start_with(stage.settings("orders-2")).await;
    assert_eq!(second.outbox().await["is_publisher"], false, "the lease is taken");
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_publishes_for_all() {
    let stage = Stage::new().await;
    let (first, second) = two_instances(&stage).await;
    // Commands of one order through both: their actors race, the table decides, the order stays in order.
    let order_id = first.create().await;
    second.command(order_id, "pay").await;
    first.command(order_id, "ship").await;
    second.command(order_id, "complete").await;
    for _ in 0..10 {
        life_cycle(&second).await;
    }
    stage.outbox_empties().await;
    assert_eq!(stage.assert_published_in_order().await, 0);
    assert_eq!(first.outbox().await["is_publisher"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_publisher_is_replaced_at_once() {
    let stage = Stage::new().await;
    let (first, second) = two_instances(&stage).await;
    life_cycle(&second).await;
    first.blocking(|service| service.kill());
    let killed = Instant::now();
    publisher_among(&[&second]).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(5), "takeover took {took:?}");
    life_cycle(&second).await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_publisher_hands_over_without_a_duplicate() {
    let stage = Stage::new().await;
    let (first, second) = two_instances(&stage).await;
    for _ in 0..10 {
        life_cycle(&first).await;
    }
    // Stopped in mid-flight, it could leave events delivered ahead of one that still waits for its order's turn; the cursor
    // cannot cover those, and they would come again.
    stage.outbox_empties().await;
    first.blocking(|service| service.stop());
    publisher_among(&[&second]).await;
    life_cycle(&second).await;
    stage.outbox_empties().await;
    assert_eq!(stage.assert_published_in_order().await, 0, "the successor begins where the cursor is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_publisher_loses_the_lease_and_knows_it_when_it_thaws() {
    let stage = Stage::new().await;
    let (first, second) = two_instances(&stage).await;
    life_cycle(&first).await;
    first.blocking(|service| service.freeze());
    let frozen = Instant::now();
    publisher_among(&[&second]).await;
    let took = frozen.elapsed();
    assert!(took < FROZEN_TAKEOVER_MAX, "takeover took {took:?}");
    life_cycle(&second).await;
    first.blocking(|service| service.thaw());
    eventually("the thawed instance notices", async || {
        (first.outbox().await["is_publisher"] == false).then_some(())
    })
    .await;
    // It still serves commands, and the other one publishes them.
    life_cycle(&first).await;
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
    assert_eq!(second.outbox().await["is_publisher"], true);
}

/// One order too large for the topic, paid as well; others around it.
async fn quarantine_one(stage: &Stage, orders: &Orders) -> Uuid {
    let before = life_cycle(orders).await;
    let (_, large) = orders.post("/api/orders", large_order()).await;
    let large: Uuid = large["order_id"].as_str().unwrap().parse().unwrap();
    orders.command(large, "pay").await;
    let after = life_cycle(orders).await;
    assert_ne!(before, after);
    eventually("the large order is set aside, alone", async || {
        let outbox = orders.outbox().await;
        (outbox["quarantined_events"] == 2 && outbox["pending"] == 2).then_some(())
    })
    .await;
    assert_eq!(orders.outbox().await["breaker"], "closed", "one bad record is no outage");
    assert_eq!(stage.waiting().await, 2);
    let (_, quarantine) = orders.get("/api/outbox/quarantine").await;
    assert_eq!(quarantine[0]["order_id"], large.to_string());
    assert_eq!(quarantine[0]["waiting_events"], 2);
    assert!(quarantine[0]["error"].as_str().unwrap().contains("MessageSizeTooLarge"), "{quarantine}");
    large
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_refused_for_those_it_travels_with() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    // They wait, so that they go out together.
    let orders = stage.start_with(stage.settings("orders").with("KAFKA_BROKERS", "127.0.0.1:1")).await;
    for _ in 0..30 {
        orders.create().await;
    }
    let (_, large) = orders.post("/api/orders", large_order()).await;
    orders.blocking(|service| service.stop());
    let _orders = stage.start().await;
    eventually("all but the large one are published", async || (stage.waiting().await == 1).then_some(()))
        .await;
    let messages = stage.messages().await;
    assert_eq!(messages.len(), 30);
    assert!(messages.iter().all(|message| large["order_id"] != message.order_id.to_string()));
    assert!(
        messages
            .iter()
            .all(|message| message.headers.contains(&("ce_type".to_owned(), "OrderCreated".to_owned())))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_topic_for_small_batches_a_backlog_is_slow_and_no_outage() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    let orders = stage.start().await;
    orders.blocking(|service| service.stop());
    stage.fill_journal(16_000).await;
    // Less than they need one by one.
    let _orders = stage.start_with(stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "2000")).await;
    stage.outbox_empties().await;
    assert_eq!(stage.assert_published_in_order().await, 0, "an outage would have sent some twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_holds_up_its_own_order_only_until_it_is_released() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    let orders = stage.start().await;
    let large = quarantine_one(&stage, &orders).await;
    widen_topic(&stage).await;
    // A later event of the order joins the ones that wait.
    orders.command(large, "ship").await;
    let released = orders
        .http
        .post(orders.url(&format!("/api/outbox/quarantine/{large}/release")))
        .send()
        .await
        .unwrap();
    assert_eq!(released.status(), 202);
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
    eventually("the quarantine is empty", async || {
        (orders.outbox().await["quarantined_orders"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_can_be_given_up_and_the_rest_follows() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    let orders = stage.start().await;
    let large = quarantine_one(&stage, &orders).await;
    let seq = first_waiting(&orders).await;
    let (status, _) = discard(&orders, large, seq).await;
    assert_eq!(status, 202);
    stage.outbox_empties().await;
    let messages = stage.messages().await;
    let of_large: Vec<i64> =
        messages.iter().filter(|message| message.order_id == large).map(|message| message.version).collect();
    assert_eq!(of_large, [2], "the first was given up, the second follows");
    let (status, _) = discard(&orders, large, seq + 1).await;
    assert_eq!(status, 404);
}

async fn first_waiting(orders: &Orders) -> i64 {
    let (_, quarantine) = orders.get("/api/outbox/quarantine").await;
    quarantine[0]["first_waiting_seq"].as_i64().unwrap()
}

async fn discard(orders: &Orders, order_id: Uuid, seq: i64) -> (u16, Value) {
    let body = json!({ "seq": seq, "reason": "too large for any topic", "by": "kim" });
    let (status, answer) = orders.post(&format!("/api/outbox/quarantine/{order_id}/discard"), body).await;
    (status.as_u16(), answer)
}

/// Two events of one order that the broker refuses, one after the other. A discard that is repeated, sixteen times at once and later,
/// gives up the first alone, and its record says who, when and why.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_discard_gives_up_the_named_event_alone() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    let orders = stage.start().await;
    let large = quarantine_one(&stage, &orders).await;
    let seq = first_waiting(&orders).await;

    let (status, problem) = discard(&orders, large, seq + 1).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:orders:problem:not-the-first-waiting")));
    assert!(problem["detail"].as_str().unwrap().contains(&format!("the one at position {seq}")), "{problem}");
    assert_eq!(discard(&orders, Uuid::new_v4(), seq).await.0, 404, "another order's event");
    assert_eq!(stage.waiting().await, 2);

    let answers = join_all((0..16).map(|_| discard(&orders, large, seq))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let (status, record) = &answers[0];
    assert_eq!((*status, &record["seq"], &record["discarded_by"]), (202, &json!(seq), &json!("kim")));
    assert_eq!(record["reason"], "too large for any topic");
    assert!(record["error"].as_str().unwrap().contains("MessageSizeTooLarge"), "{record}");
    assert!(record["discarded_at"].is_string());
    stage.outbox_empties().await;
    assert_eq!(
        discard(&orders, large, seq).await,
        answers[0],
        "also when nothing of the order waits any more"
    );

    let (_, history) = orders.get(&format!("/dashboard/orders/{large}")).await;
    let stages: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["discarded", "published"]);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM discarded_event").fetch_one(&stage.database).await.unwrap();
    assert_eq!(rows, 1);
}

/// While the events of a released order are on their way, none of them can be given up: it may have arrived.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_released_cannot_be_discarded() {
    let stage = Stage::new().await;
    narrow_topic(&stage).await;
    let orders = stage.start().await;
    let large = quarantine_one(&stage, &orders).await;
    let seq = first_waiting(&orders).await;
    // Whoever publishes is gone before it hears of the release.
    orders.blocking(|service| service.stop());
    sqlx::query("UPDATE quarantined_order SET released_at = now()").execute(&stage.database).await.unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_orders"))
        .args(["quarantine", "discard", &large.to_string(), "--seq", &seq.to_string(), "--yes"])
        .args(["--reason", "too large", "--by", "kim", "--database-url", &stage.database_url])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("is released"), "{told}");
    assert_eq!(stage.waiting().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_is_made_again() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    life_cycle(&orders).await;
    stage.outbox_empties().await;
    let options = AdminOptions::new();
    for deleted in admin(&stage).delete_topics(&[&stage.topic], &options).await.unwrap() {
        deleted.unwrap();
    }
    let order_id = life_cycle(&orders).await;
    stage.outbox_empties().await;
    // What was in the topic went with it; what came later is there, in order.
    let messages = stage.messages().await;
    let versions: Vec<i64> = messages
        .iter()
        .filter(|message| message.order_id == order_id)
        .map(|message| message.version)
        .collect();
    assert_eq!(versions, [1, 2, 3, 4]);
}
