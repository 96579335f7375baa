//! Row 7: the effect of a journal of millions. Row 8: the memory that orders take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

use super::backlog::append_lives_to;
use super::http::closed;
use super::report::{Figure, Target};
use super::workload::Creates;
use super::{Bench, CONNECTIONS};
use crate::servers::{Service, ServiceSettings};
use crate::site::{Site, until};

/// Lives appended by one statement.
const CHUNK: i64 = 50_000;
const MILLION: i64 = 1_000_000;

/// A database with a long journal, and a service on it; all on the servers of one site.
struct Grown {
    database: PgPool,
    service: Service,
}

impl Grown {
    /// With `events` in the journal, of which nothing waits.
    async fn start(bench: &Bench, site: &Site, events: i64) -> Result<Self> {
        let name = format!("events_{events}");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&site.database).await?;
        let url = site.postgres.url();
        let (server, _) = url.rsplit_once('/').context("the address of Postgres names a database")?;
        let url = format!("{server}/{name}");
        let mut settings = ServiceSettings::orders()?
            .with("DATABASE_URL", &url)
            .with("KAFKA_BROKERS", site.kafka.brokers())
            .with("REDIS_URL", site.redis.url())
            .with("ORDERS_TOPIC", &name)
            .with("RETRY_QUEUE", &name);
        settings.name = name;
        let service = tokio::task::block_in_place(|| Service::start(&bench.directory(7), settings))?;
        let database = PgPoolOptions::new().max_connections(2).connect_lazy(&url)?;
        let grown = Self { database, service };
        if events > 0 {
            tokio::task::block_in_place(|| site.kafka.kill())?;
            grown.append(events).await?;
            tokio::task::block_in_place(|| grown.service.stop())?;
            sqlx::query("UPDATE publisher_cursor SET published_seq = (SELECT max(seq) FROM order_event)")
                .execute(&grown.database)
                .await?;
            sqlx::query("VACUUM ANALYZE order_event").execute(&grown.database).await?;
            tokio::task::block_in_place(|| {
                site.kafka.start_again()?;
                grown.service.start_again()
            })?;
        }
        Ok(grown)
    }

    async fn append(&self, events: i64) -> Result<()> {
        for _ in 0..events / CHUNK / super::backlog::EVENTS_AN_ORDER {
            append_lives_to(self.host(), &self.database, CHUNK).await?;
        }
        Ok(())
    }

    fn host(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.service.port()).into()
    }

    async fn waiting(&self) -> Result<i64> {
        let waiting =
            "SELECT coalesce(max(seq), 0) - (SELECT published_seq FROM publisher_cursor) FROM order_event";
        Ok(sqlx::query_scalar(waiting).fetch_one(&self.database).await?)
    }

    /// Events a second until nothing waits.
    async fn drain(&self) -> Result<f64> {
        let (waiting, begun) = (self.waiting().await?, Instant::now());
        until("the outbox is empty", async || self.waiting().await.is_ok_and(|left| left == 0).then_some(()))
            .await?;
        Ok(waiting as f64 / begun.elapsed().as_secs_f64())
    }
}

pub(super) async fn growth(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.site(7, 0, &[])?;
    let empty = Grown::start(bench, &site, 0).await?;
    let grown = [Grown::start(bench, &site, MILLION).await?, Grown::start(bench, &site, 5 * MILLION).await?];
    // What was filled in is on the disk before anything is measured, and the broker that was started again is warm.
    sqlx::query("CHECKPOINT").execute(&site.database).await?;
    let creates = async |of: &Grown| -> Result<f64> {
        Ok(closed(of.host(), CONNECTIONS, bench.seconds(), Creates::new).await?.per_second())
    };
    for of in [&empty].into_iter().chain(&grown) {
        creates(of).await?;
    }
    let mut references = Vec::new();
    let mut rates = [Vec::new(), Vec::new()];
    for round in 1..=bench.rounds {
        references.push(creates(&empty).await?);
        for (of, rates) in grown.iter().zip(&mut rates) {
            rates.push(creates(of).await?);
            bench.say(7, round, "creates on a long journal and an empty one", rates, &references);
        }
    }
    let mut figures = Vec::new();
    for (events, rates) in ["1", "5"].into_iter().zip(&rates) {
        let name = format!("creates with {events} million events");
        let against = ("empty journal", references.as_slice());
        figures.push(Figure::of(7, name, "/s", rates, against, Target::RatioAtLeast(0.9)));
    }
    let [million, _] = &grown;
    let (mut starts, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds.min(3) {
        for (events, rates) in [(MILLION / 5, &mut short), (MILLION, &mut long)] {
            tokio::task::block_in_place(|| site.kafka.kill())?;
            million.append(events).await?;
            tokio::task::block_in_place(|| million.service.stop())?;
            let begun = Instant::now();
            tokio::task::block_in_place(|| million.service.start_again())?;
            if events == MILLION {
                starts.push(begun.elapsed().as_secs_f64());
            }
            tokio::task::block_in_place(|| site.kafka.start_again())?;
            rates.push(million.drain().await?);
        }
        bench.say(7, round, "drain of 1,000,000 and of 200,000 events/s", &long, &short);
    }
    let against = ("200,000 waiting", short.as_slice());
    figures.push(Figure::of(
        7,
        "drain with 1 million waiting",
        "/s",
        &long,
        against,
        Target::RatioAtLeast(0.9),
    ));
    let name = "start-up to ready with 1 million waiting";
    figures.push(Figure::of(7, name, "s", &starts, ("", &[]), Target::AtMost(1.0)));
    Ok(figures)
}

const ACTORS: usize = 100_000;

/// Creates so many orders, and returns what memory the service has afterwards, in MiB.
async fn after(site: &Site, orders: usize) -> Result<f64> {
    let (host, goal) = (site.host(0)?, site.head().await? + i64::try_from(orders)?);
    while site.head().await? < goal {
        closed(host, CONNECTIONS, Duration::from_secs(1), Creates::new).await?;
    }
    site.cursor_reaches(site.head().await?).await?;
    site.memory_mib(0)
}

pub(super) async fn memory(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut idle, mut bytes) = (Vec::new(), Vec::new());
    let (mut filled, mut million) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        let roomy =
            bench.site(8, 1, &[("LIVE_ORDERS_MAX", "1000000"), ("ORDER_IDLE_SECONDS_MAX", "3600")])?;
        idle.push(roomy.memory_mib(0)?);
        // The first orders also pay for pools and buffers.
        let (few, few_orders) = (after(&roomy, ACTORS / 5).await?, roomy.head().await?);
        let (many, many_orders) = (after(&roomy, ACTORS).await?, roomy.head().await?);
        bytes.push((many - few) * 1_048_576.0 / (many_orders - few_orders) as f64);
        drop(roomy);
        std::fs::remove_dir_all(bench.directory(8))?;
        let site = bench.site(8, 1, &[])?;
        filled.push(after(&site, 2 * ACTORS).await?);
        million.push(after(&site, 1_000_000 - 2 * ACTORS).await?);
        drop(site);
        std::fs::remove_dir_all(bench.directory(8))?;
        bench.say(8, round, "MiB after 1,000,000 orders and after 200,000", &million, &filled);
    }
    let against = ("after 200,000", filled.as_slice());
    let name = "memory after 1,000,000 orders, 20,000 live";
    Ok(vec![
        Figure::of(8, "memory idle", "MiB", &idle, ("", &[]), Target::AtMost(40.0)),
        Figure::of(8, "one live order, of 100,000", "B", &bytes, ("", &[]), Target::AtMost(1_536.0)),
        Figure::of(8, name, "MiB", &million, against, Target::RatioAtMost(1.1)),
    ])
}
