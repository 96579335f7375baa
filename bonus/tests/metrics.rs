//! What is scraped: every metric that the runbook describes and no other, and that they move with what happens.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::FutureRecord;
use stack::scrape;
use support::kafka::{produce, producer};
use support::process::Bonus;
use support::{World, event, eventually, http};
use uuid::Uuid;

#[tokio::test]
async fn what_is_scraped_is_what_the_runbook_describes() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let customer = Uuid::now_v7();
    let created = event("OrderCreated", Uuid::now_v7(), 1, customer);
    let paid = event("OrderPaid", created.order_id, 2, customer);
    let completed = event("OrderCompleted", created.order_id, 4, customer);
    produce(&world, &[created.clone(), created, paid, completed]).await;
    let broken = FutureRecord::<str, str>::to(&world.topic).key("broken").payload("{");
    producer(&world.brokers).send(broken, Duration::from_secs(10)).await.unwrap();
    world.points_become(&BTreeMap::from([(customer, 140)])).await;
    for (name, expected) in [
        ("bonus_events_credited_total", 2.0),
        ("bonus_duplicates_absorbed_total", 1.0),
        ("bonus_events_ignored_total", 1.0),
        ("bonus_dead_letters_total", 1.0),
        ("bonus_batch_messages_sum", 5.0),
        ("bonus_consumer_lag_messages", 0.0),
        ("bonus_kafka_up", 1.0),
        ("customers_events_appended_total", 1.0),
        ("customers_events_published_total", 1.0),
        ("customers_publish_duration_seconds_count", 1.0),
        ("customers_outbox_pending_events", 0.0),
        ("customers_publisher_lease_held", 1.0),
        ("bonus_batch_retries_total", 0.0),
        ("bonus_consumer_restarts_total", 0.0),
    ] {
        eventually(&format!("{name} is {expected}"), async || {
            let value = bonus.metric(name).await;
            if value == expected { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }
    let text = http().get(format!("{}/metrics", bonus.url)).send().await.unwrap().text().await.unwrap();
    let mut described = scrape::described("bonus").unwrap();
    described.extend(scrape::described("customers").unwrap());
    assert_eq!(scrape::scraped(&text), described);
}
