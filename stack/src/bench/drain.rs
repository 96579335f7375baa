//! Row 4: how fast a long outage's backlog is drained, and the memory that this takes.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::backlog::{EVENTS_AN_ORDER, append_lives};
use super::kafka::{Record, make_topic, produce};
use super::report::{Figure, Target};
use crate::site::{Site, first_answer, until};
use crate::topic;

const ORDERS: i64 = 50_000;

pub(super) async fn drain(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.site(4, 1, &[])?;
    site.create(0, 100).await?;
    site.cursor_reaches(site.head().await?).await?;
    let (mut rates, mut references, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        let begins_behind = site.head().await?;
        let (rate, grown_mib) = drained(&site).await?;
        rates.push(rate);
        memory.push(grown_mib);
        references.push(bare(&site, begins_behind, &format!("reference-{round}")).await?);
        bench.say(4, round, "drain and bare producer, events/s", &rates, &references);
    }
    let access = site.kafka.access();
    let messages = tokio::task::spawn_blocking(move || topic::read(&access)).await??;
    topic::in_version_order(&messages)?;
    Ok(vec![
        Figure::of(
            4,
            "drain of 200,000 events of 50,000 orders",
            "/s",
            &rates,
            ("bare producer", &references),
            Target::RatioAtLeast(0.6),
        ),
        Figure::of(4, "memory over idle while draining", "MiB", &memory, ("", &[]), Target::AtMost(64.0)),
    ])
}

/// Events a second from the broker's first answer to the empty outbox; and by how much the service's memory grew meanwhile, in MiB.
async fn drained(site: &Site) -> Result<(f64, f64)> {
    let idle = site.memory_mib(0)?;
    tokio::task::block_in_place(|| site.kafka.kill())?;
    site.create(0, 1).await?;
    until("the breaker opens", async || (site.outbox(0).await?["breaker"] == "open").then_some(())).await?;
    append_lives(site, ORDERS).await?;
    let (head, waiting_behind) = (site.head().await?, site.cursor().await?);
    let answers = tokio::task::spawn_blocking({
        let brokers = site.kafka.brokers();
        move || first_answer(&brokers)
    });
    tokio::task::block_in_place(|| site.kafka.launch())?;
    let mut most: f64 = 0.0;
    until("the outbox is empty", async || {
        most = most.max(site.memory_mib(0).ok()?);
        site.cursor().await.is_ok_and(|cursor| cursor >= head).then_some(())
    })
    .await?;
    let empty = Instant::now();
    let took = empty.saturating_duration_since(answers.await??);
    ensure!(head - waiting_behind >= ORDERS * EVENTS_AN_ORDER, "the backlog was smaller than it should be");
    Ok(((head - waiting_behind) as f64 / took.as_secs_f64(), most - idle))
}

/// The same records by a bare producer to a topic of their own; from the first answer of a broker that was dead too, since one that
/// has been running for a while is faster.
async fn bare(site: &Site, behind: i64, topic: &str) -> Result<f64> {
    let records: Vec<Record> = sqlx::query_as(
        "SELECT order_id::text AS key, payload::text AS value, event_id::text, event_type, version::text, occurred_at::text
           FROM order_event WHERE seq > $1 ORDER BY seq",
    )
    .bind(behind)
    .fetch_all(&site.database)
    .await?;
    let (brokers, count) = (site.kafka.brokers(), records.len());
    make_topic(&brokers, topic).await?;
    tokio::task::block_in_place(|| {
        site.kafka.kill()?;
        site.kafka.launch()
    })?;
    let topic = topic.to_owned();
    let took = tokio::task::spawn_blocking(move || -> Result<_> {
        let answers = first_answer(&brokers)?;
        produce(&brokers, &topic, &records)?;
        Ok(answers.elapsed())
    })
    .await?
    .context("the bare producer failed")?;
    Ok(count as f64 / took.as_secs_f64())
}
