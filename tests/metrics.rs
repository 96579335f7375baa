//! What is scraped: every metric that the runbook describes and no other, and that they move in an outage.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};
use support::{Orders, Stage, eventually};

async fn scrape(orders: &Orders) -> String {
    orders.http.get(orders.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

/// The sum over all labels.
fn value(scraped: &str, name: &str) -> f64 {
    let samples = scraped.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

async fn becomes(orders: &Orders, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    eventually(&format!("{name} is as it should be"), async || {
        Some(value(&scrape(orders).await, name)).filter(|value| wanted(*value))
    })
    .await
}

/// Name and type of each metric of this service in the runbook's table.
fn described() -> BTreeSet<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `orders_"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().unwrap().trim_end_matches('`');
        (format!("orders_{name}"), cells.next().unwrap().to_owned())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scraped_is_what_the_runbook_describes() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("ENABLE_FAULTS", "true")).await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    // A metric with labels appears with its first event.
    orders.post("/api/actors/projector/crash", serde_json::json!({})).await;
    becomes(&orders, "orders_actor_restarts_total", |restarts| restarts == 1.0).await;
    becomes(&orders, "orders_live_actors", |live| live == 1.0).await;
    let scraped = scrape(&orders).await;
    let typed: BTreeSet<(String, String)> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(typed, described());
    for (name, _) in typed {
        assert!(scraped.contains(&format!("# HELP {name} ")), "{name} does not say what it is");
    }
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
