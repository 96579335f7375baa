//! How fast a backlog is credited. Not a check: run it by name, in a release build, on a quiet machine.
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use bonus::message::Event;
use bonus::points::Valued;
use bonus::{ledger, outbox, policy};
use chrono::Utc;
use sqlx::PgConnection;
use support::kafka::produce;
use support::process::Bonus;
use support::{World, eventually, histories, migrated};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release -p bonus --test throughput -- --ignored --nocapture"]
async fn a_backlog_of_two_hundred_thousand_events() {
    for batch_messages_max in ["500", "1000", "2000", "5000"] {
        let world = World::new().await;
        let (events, expected) = histories(70_000, 5_000);
        for part in events.chunks(20_000) {
            produce(&world, part).await;
        }
        let started = Instant::now();
        let bonus = Bonus::start_with(&world, &[("BONUS_BATCH_MESSAGES_MAX", batch_messages_max)]).await;
        let received = eventually("all messages are handled", async || {
            let handled = bonus.metric("bonus_batch_messages_sum").await;
            if handled >= f64::from(u32::try_from(events.len()).unwrap()) {
                Ok(handled)
            } else {
                Err(format!("{handled}"))
            }
        });
        let received = received.await;
        let took = started.elapsed().as_secs_f64();
        world.points_become(&expected).await;
        println!(
            "batches of {batch_messages_max}: {received} messages in {took:.2} s, {:.0} a second",
            received / took
        );
    }
}

/// New customers, each with one event: 40 points change no grade, 100 do.
fn batch(size: usize, valued: Valued) -> Vec<Event> {
    let event = |_| Event {
        event_id: Uuid::now_v7(),
        order_id: Uuid::now_v7(),
        version: 1,
        customer_id: Uuid::now_v7(),
        valued,
        occurred_at: Utc::now(),
    };
    (0..size).map(event).collect()
}

/// The credits alone, in one statement that commits itself.
async fn credit_alone(database: &mut PgConnection, events: &[Event]) {
    fn column<V>(events: &[Event], value: impl Fn(&Event) -> V) -> Vec<V> {
        events.iter().map(value).collect()
    }
    sqlx::query(include_str!("../src/sql/credit_events.sql"))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.order_id))
        .bind(column(events, |event| event.version))
        .bind(column(events, |event| event.customer_id))
        .bind(column(events, |event| event.valued.event_type()))
        .bind(column(events, |event| event.occurred_at))
        .bind(policy::VERSIONS)
        .bind(None::<chrono::DateTime<Utc>>)
        .execute(database)
        .await
        .unwrap();
}

/// In turns, so that whatever else the machine does falls on both.
#[tokio::test]
#[ignore = "a measurement: cargo test --release -p bonus --test throughput -- --ignored --nocapture"]
async fn what_the_outbox_costs() {
    let (world, _) = migrated().await;
    let (mut database, appender) = (world.connect().await, outbox::appender());
    for (size, valued) in
        [(1, Valued::Created), (1, Valued::Completed), (1_000, Valued::Created), (1_000, Valued::Completed)]
    {
        let (mut alone, mut with) = (Duration::ZERO, Duration::ZERO);
        let rounds = if size == 1 { 500 } else { 40 };
        for _ in 0..rounds {
            let events = batch(size, valued);
            let started = Instant::now();
            credit_alone(&mut database, &events).await;
            alone += started.elapsed();
            let events = batch(size, valued);
            let started = Instant::now();
            ledger::transact(&mut database, &appender, &events, None).await.unwrap();
            with += started.elapsed();
        }
        let per = |took: Duration| took.as_secs_f64() * 1e3 / f64::from(rounds);
        println!(
            "batches of {size}, {valued:?}: {:.2} ms alone, {:.2} ms with the outbox, ratio {:.2}",
            per(alone),
            per(with),
            with.as_secs_f64() / alone.as_secs_f64()
        );
    }
}
