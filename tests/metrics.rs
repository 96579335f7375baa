//! What is scraped: every metric that the runbook describes and no other, and that they move in an outage.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use stack::scrape::{self, value};
use stack::servers::{Kafka, Postgres, Redis};
use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};
use support::{Orders, Servers, Stage, an_order, eventually};
use tempfile::TempDir;

async fn scrape(orders: &Orders) -> String {
    orders.http.get(orders.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

async fn becomes(orders: &Orders, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    eventually(&format!("{name} is as it should be"), async || {
        Some(value(&scrape(orders).await, name)).filter(|value| wanted(*value))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scraped_is_what_the_runbook_describes() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    becomes(&orders, "orders_live_actors", |live| live == 1.0).await;
    assert!(scrape(&orders).await.contains(r#"orders_actor_restarts_total{actor="projector"} 0"#));
    orders.post("/api/actors/projector/crash", serde_json::json!({})).await;
    becomes(&orders, "orders_actor_restarts_total", |restarts| restarts == 1.0).await;
    let scraped = scrape(&orders).await;
    assert_eq!(scrape::scraped(&scraped), scrape::described("orders").unwrap());
    assert_eq!(value(&scraped, "orders_events_appended_total"), 2.0);
    assert_eq!(value(&scraped, "orders_events_published_total"), 2.0);
    assert_eq!(value(&scraped, "orders_actor_activations_total"), 1.0);
    assert_eq!(value(&scraped, "orders_publisher_lease_held"), 1.0);
    assert!(scraped.contains(r#"orders_commands_total{command="pay",outcome="ok"} 1"#), "{scraped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shows_in_the_metrics() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    becomes(&orders, "orders_outbox_pending_events", |pending| pending == 0.0).await;
    let before = scrape(&orders).await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 2).await;
    becomes(&orders, "orders_outbox_pending_events", |pending| pending >= 10.0).await;
    becomes(&orders, "orders_outbox_oldest_pending_age_seconds", |age| age >= 1.0).await;
    becomes(&orders, "orders_publisher_breaker_state", |state| state == 2.0).await;
    becomes(&orders, "orders_publisher_retries_total", |retries| retries >= 2.0).await;
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
    becomes(&orders, "orders_outbox_pending_events", |pending| pending == 0.0).await;
    becomes(&orders, "orders_outbox_oldest_pending_age_seconds", |age| age == 0.0).await;
    becomes(&orders, "orders_publisher_breaker_state", |state| state == 0.0).await;
    let more = |name: &str, after: &str| value(after, name) - value(&before, name);
    let after = scrape(&orders).await;
    assert!(more("orders_publisher_drains_total", &after) >= 1.0, "{after}");
    assert!(more("orders_publisher_drained_events_total", &after) >= 10.0, "{after}");
}

/// Counted by the scrape: each batch takes all that wait, so a count between two batches would find none.
#[tokio::test(flavor = "multi_thread")]
async fn commands_in_the_journal_are_counted() {
    let stage = Stage::new().await;
    let orders = Arc::new(stage.start().await);
    let held = stage.hold_appends().await;
    let commands: Vec<_> = (0..3)
        .map(|_| {
            let orders = Arc::clone(&orders);
            tokio::spawn(
                async move { orders.http.post(orders.url("/api/orders")).json(&an_order()).send().await },
            )
        })
        .collect();
    becomes(&orders, "orders_journal_queue_commands", |commands| commands == 3.0).await;
    held.rollback().await.unwrap();
    for command in commands {
        command.await.unwrap().unwrap();
    }
    becomes(&orders, "orders_journal_queue_commands", |commands| commands == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_grows_older_while_no_server_answers() {
    let directory = TempDir::new().unwrap();
    let folder = |name: &str| directory.path().join(name);
    let kafka = blocking(|| Kafka::start(&folder("kafka")));
    let redis = blocking(|| Redis::start(&folder("redis")));
    let postgres = blocking(|| Postgres::start(&folder("postgres")));
    let servers = Servers { postgres: postgres.url(), kafka: kafka.brokers(), redis: redis.url() };
    let stage = Stage::on(servers).await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    blocking(|| kafka.kill());
    blocking(|| redis.kill());
    ten_orders(&orders).await;
    becomes(&orders, "orders_publisher_breaker_state", |state| state == 2.0).await;
    becomes(&orders, "orders_outbox_pending_events", |pending| pending == 20.0).await;
    retry_is(&orders, "memory", 1).await;
    let scraped = scrape(&orders).await;
    assert!(!scraped.contains(r#"orders_publisher_retries_total{place="memory"} 0"#), "{scraped}");
    assert_eq!(value(&scraped, "orders_publisher_lease_held"), 1.0, "it stays with the retry");

    blocking(|| postgres.freeze());
    assert_eq!(orders.post("/api/orders", an_order()).await.0, 503);
    becomes(&orders, "orders_publisher_lease_held", |held| held == 0.0).await;
    let scraped = scrape(&orders).await;
    let failed = ["unavailable", "outcome_unknown"]
        .iter()
        .any(|outcome| scraped.contains(&format!(r#"{{command="create",outcome="{outcome}"}}"#)));
    assert!(failed, "{scraped}");
    let age = value(&scraped, "orders_outbox_oldest_pending_age_seconds");
    becomes(&orders, "orders_outbox_oldest_pending_age_seconds", |now| now > age + 2.0).await;
    assert_eq!(value(&scrape(&orders).await, "orders_outbox_pending_events"), 20.0);

    blocking(|| postgres.thaw());
    blocking(|| kafka.start_again());
    recovered(&stage, &orders, Instant::now()).await;
    becomes(&orders, "orders_outbox_oldest_pending_age_seconds", |age| age == 0.0).await;
}
