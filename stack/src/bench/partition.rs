//! Row 10: what the orders of five partitions notice while the sixth takes nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use uuid::Uuid;

use super::http::{closed, open};
use super::report::{Figure, Target};
use super::workload::Creates;
use super::{Bench, CONNECTIONS, WARM_UP};
use crate::servers::kafka::{ClusterSettings, Layout};
use crate::servers::{KafkaCluster, ServiceSettings};
use crate::site::{Site, until};
use crate::topic::TOPIC;

const LASTS: Duration = Duration::from_secs(60);
/// Far from what the machine can do, so that publication is measured and not the queue before it.
const ORDERS_A_SECOND: f64 = 500.0;
/// The last partition is on the second broker alone, which is killed; all others are on the first.
const LAYOUT: [&[i32]; 6] = [&[1], &[1], &[1], &[1], &[1], &[2]];
const STUCK_PARTITION: i32 = 5;
const QUANTILES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];
/// Without a message for so long, the rest is not coming.
const READ_PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn partition(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut all_up, mut one_down) = (QUANTILES.map(|_| Vec::new()), QUANTILES.map(|_| Vec::new()));
    for round in 1..=bench.rounds {
        let (up, down) = play(bench).await?;
        for (at, (_, quantile)) in QUANTILES.iter().enumerate() {
            all_up[at].push(up.value_at_quantile(*quantile) as f64 / 1_000.0);
            one_down[at].push(down.value_at_quantile(*quantile) as f64 / 1_000.0);
        }
        let [_, p99] = &one_down;
        let [_, reference] = &all_up;
        bench.say(10, round, "publication beside a partition without a leader, p99, ms", p99, reference);
    }
    let figures = QUANTILES.iter().zip(one_down.iter().zip(&all_up)).map(|((name, _), (down, up))| {
        let target = if *name == "p99" { Target::RatioAtMost(1.5) } else { Target::Shown };
        let figure = format!("from an event to Kafka's log beside a partition without a leader, {name}");
        Figure::of(10, figure, "ms", down, ("all partitions up", up), target)
    });
    Ok(figures.collect())
}

/// A minute with all partitions and a minute without one, on servers of this round's own: how long each event of the other five took, in µs.
async fn play(bench: &Bench) -> Result<(Histogram<u64>, Histogram<u64>)> {
    let directory = bench.directory(10);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let two = ClusterSettings { brokers: 2, replication: 1, min_in_sync: 1, ..ClusterSettings::default() };
    let cluster = tokio::task::block_in_place(|| {
        let cluster = KafkaCluster::start(&directory, &two)?;
        let settings = [("message.timestamp.type", "LogAppendTime")];
        cluster.admin()?.create_topic(TOPIC, Layout::Assigned(&LAYOUT), &settings)?;
        anyhow::Ok(cluster)
    })?;
    let mut nodes = cluster.into_nodes().into_iter();
    let first = nodes.next().context("a cluster without a broker")?;
    let second = nodes.next().context("a cluster without a second broker")?;
    let site = Site::start_with(first, &directory, 1, &ServiceSettings::orders()?)?;
    closed(site.host(0)?, CONNECTIONS, WARM_UP, Creates::new).await?;
    site.cursor_reaches(site.head().await?).await?;

    let begun = micros_now();
    open(site.host(0)?, CONNECTIONS, ORDERS_A_SECOND, LASTS, Creates::new).await?;
    site.cursor_reaches(site.head().await?).await?;
    let killed = micros_now();
    tokio::task::block_in_place(|| second.kill())?;
    open(site.host(0)?, CONNECTIONS, ORDERS_A_SECOND, LASTS, Creates::new).await?;
    let ended = micros_now();
    tokio::task::block_in_place(|| second.start_again())?;
    until("everything is published", async || {
        let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox_message");
        (waiting.fetch_one(&site.database).await.ok()? == 0).then_some(())
    })
    .await?;

    let (mut up, mut down) = (Histogram::new(3)?, Histogram::new(3)?);
    let brokers = site.kafka.brokers();
    for (occurred, appended) in tokio::task::block_in_place(|| read(&brokers))? {
        let took = u64::try_from(appended - occurred).unwrap_or_default();
        if (begun..killed).contains(&occurred) {
            up.record(took)?;
        } else if (killed..ended).contains(&occurred) {
            down.record(took)?;
        }
    }
    Ok((up, down))
}

fn micros_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[derive(Deserialize)]
struct Occurred {
    occurred_at: DateTime<Utc>,
}

/// Of every message outside the stuck partition: when its event occurred and when the broker wrote it, in µs (the broker's clock, which is
/// this machine's, tells milliseconds). Repeated ones are later ones and count as well. Blocks.
fn read(brokers: &str) -> Result<Vec<(i64, i64)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("bench-{}", Uuid::new_v4()))
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    let mut expected = 0;
    for partition in (0..LAYOUT.len() as i32).filter(|partition| *partition != STUCK_PARTITION) {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, READ_PATIENCE)?;
        expected += usize::try_from(high - low)?;
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let mut times = Vec::with_capacity(expected);
    while times.len() < expected {
        let message = consumer.poll(READ_PATIENCE).context("the topic's messages do not come")??;
        let value: Occurred =
            serde_json::from_slice(message.payload().context("a message without a value")?)?;
        let appended = message.timestamp().to_millis().context("a message without a time")?;
        times.push((value.occurred_at.timestamp_micros(), appended * 1_000));
    }
    Ok(times)
}
