//! Row 5: from a command to its points. Row 6: how fast the consumer is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::backlog::append_lives;
use super::http::{Command, Workload, closed, open};
use super::kafka::{make_topic, produce_to_consume};
use super::processors::Processors;
use super::reference::PgBench;
use super::report::{Figure, Target, median};
use super::workload::Creates;
use super::{Bench, CONNECTIONS, WARM_UP};
use crate::servers::{Service, ServiceSettings};
use crate::site::{Site, until};

const LASTS: Duration = Duration::from_secs(10);
const BACKLOG_ORDERS: i64 = 50_000;
/// An order's creation and its completion give points.
const CREDITS_AN_ORDER: i64 = 2;

fn bonus(bench: &Bench, row: u8, site: &Site, schema: &str) -> Result<Service> {
    let mut settings = ServiceSettings::bonus()?
        .with("DATABASE_URL", site.postgres.url())
        .with("KAFKA_BROKERS", site.kafka.brokers())
        .with("REDIS_URL", site.redis.url())
        .with("BONUS_DB_SCHEMA", schema)
        .with("BONUS_GROUP_ID", schema);
    settings.name = schema.to_owned();
    Service::start(&bench.directory(row), settings)
}

/// Remembers when each order was asked for.
struct Timed {
    creates: Creates,
    sent: SystemTime,
    orders: Arc<Mutex<HashMap<Uuid, SystemTime>>>,
}

impl Workload for Timed {
    fn next(&mut self) -> Command {
        self.sent = SystemTime::now();
        self.creates.next()
    }

    fn answered(&mut self, body: &[u8]) {
        let order: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(id) = order["order_id"].as_str().and_then(|id| id.parse().ok()) {
            self.orders.lock().unwrap_or_else(PoisonError::into_inner).insert(id, self.sent);
        }
    }
}

pub(super) async fn end_to_end(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.warm_site(5).await?;
    // When a transaction was committed is said by Postgres itself.
    sqlx::query("ALTER SYSTEM SET track_commit_timestamp = on").execute(&site.database).await?;
    tokio::task::block_in_place(|| {
        site.postgres.stop()?;
        site.postgres.start_again()?;
        site.service(0)?.wait_ready()
    })?;
    let host = site.host(0)?;
    let full = closed(host, CONNECTIONS, bench.seconds(), Creates::new).await?.per_second();
    let rate = full / 5.0;
    let bonus = tokio::task::block_in_place(|| bonus(bench, 5, &site, "bonus"))?;
    // Whoever reads the topic is to be warm too, and what of the broker serves readers.
    open(host, CONNECTIONS, rate, WARM_UP * 2, Creates::new).await?;
    credited(&site).await?;
    let mut used = Processors::of(&[
        ("the service", site.service(0)?),
        ("Postgres", &site.postgres),
        ("Kafka", &site.kafka),
        ("bonus", &bonus),
    ])?;
    let (mut p50, mut p99, mut references) = (Vec::new(), Vec::new(), Vec::new());
    let (mut to_commit, mut from_commit) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        let orders = Arc::new(Mutex::new(HashMap::new()));
        let timed = |connection| Timed {
            creates: Creates::new(connection),
            sent: UNIX_EPOCH,
            orders: Arc::clone(&orders),
        };
        let load = open(host, CONNECTIONS, rate, LASTS, timed);
        used.watch(load, |samples| samples.len() as f64).await?;
        credited(&site).await?;
        let orders = std::mem::take(&mut *orders.lock().unwrap_or_else(PoisonError::into_inner));
        let ways = from_command_to_credit(&site, &orders).await?;
        p50.push(quantile(&ways, Way::whole_ms, 0.5)?);
        p99.push(quantile(&ways, Way::whole_ms, 0.99)?);
        to_commit.push(quantile(&ways, |way| way.to_commit_ms, 0.5)?);
        from_commit.push(quantile(&ways, |way| way.from_commit_ms, 0.5)?);
        let (brokers, topic) = (site.kafka.brokers(), format!("reference-{round}"));
        make_topic(&brokers, &topic).await?;
        let bare =
            tokio::task::spawn_blocking(move || produce_to_consume(&brokers, &topic, rate, LASTS)).await??;
        references.push(median(&bare));
        bench.say(5, round, &format!("p50 at {rate:.0}/s and produce-to-consume, ms"), &p50, &references);
    }
    let against = ("produce to consume", references.as_slice());
    let mut figures = vec![
        Figure::of(5, "request to credit, p50", "ms", &p50, against, Target::OverAtMost(5.0)),
        Figure::of(5, "request to credit, p99", "ms", &p99, ("", &[]), Target::AtMost(50.0)),
        Figure::of(5, "request to the event's commit, p50", "ms", &to_commit, ("", &[]), Target::Shown),
        Figure::of(5, "the event's commit to credit, p50", "ms", &from_commit, ("", &[]), Target::Shown),
    ];
    figures.extend(used.figures(5, "an order at a fifth of the rate", None));
    Ok(figures)
}

/// An order's way to its points. Postgres dates a commit just before it flushes the log.
struct Way {
    /// From before the request was sent to the commit of the event.
    to_commit_ms: f64,
    /// From there to the commit of the points, the flush of the event's commit included.
    from_commit_ms: f64,
}

impl Way {
    fn whole_ms(&self) -> f64 {
        self.to_commit_ms + self.from_commit_ms
    }
}

fn quantile(ways: &[Way], part: impl Fn(&Way) -> f64, quantile: f64) -> Result<f64> {
    let mut sorted: Vec<f64> = ways.iter().map(part).collect();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * quantile) as usize;
    sorted.get(at).copied().context("nothing was measured")
}

/// Waits until every order has its points.
async fn credited(site: &Site) -> Result<()> {
    until("every order has its points", async || {
        let missing: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM order_event WHERE event_type = 'OrderCreated')
                  - (SELECT count(*) FROM bonus.ledger WHERE event_type = 'OrderCreated')",
        )
        .fetch_one(&site.database)
        .await
        .ok()?;
        (missing == 0).then_some(())
    })
    .await
}

async fn from_command_to_credit(site: &Site, orders: &HashMap<Uuid, SystemTime>) -> Result<Vec<Way>> {
    let ids: Vec<Uuid> = orders.keys().copied().collect();
    let commits: Vec<(Uuid, f64, f64)> = sqlx::query_as(
        "SELECT l.order_id, extract(epoch FROM pg_xact_commit_timestamp(e.xmin))::double precision,
                extract(epoch FROM pg_xact_commit_timestamp(l.xmin))::double precision
           FROM bonus.ledger l JOIN order_event e ON e.event_id = l.event_id
          WHERE l.order_id = ANY($1)",
    )
    .bind(&ids)
    .fetch_all(&site.database)
    .await?;
    ensure!(commits.len() == orders.len(), "{} of {} orders have points", commits.len(), orders.len());
    let way = |(order, appended, credited): (Uuid, f64, f64)| -> Result<Way> {
        let sent = orders.get(&order).context("an order that nobody sent")?;
        let sent = sent.duration_since(UNIX_EPOCH)?.as_secs_f64();
        Ok(Way { to_commit_ms: (appended - sent) * 1_000.0, from_commit_ms: (credited - appended) * 1_000.0 })
    };
    commits.into_iter().map(way).collect()
}

pub(super) async fn consumer(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.site(6, 1, &[])?;
    append_lives(&site, BACKLOG_ORDERS).await?;
    site.cursor_reaches(site.head().await?).await?;
    let orders: i64 = sqlx::query_scalar("SELECT count(DISTINCT order_id) FROM order_event")
        .fetch_one(&site.database)
        .await?;
    let (mut rates, mut references) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        let schema = format!("bonus_{round}");
        let service = tokio::task::block_in_place(|| bonus(bench, 6, &site, &schema))?;
        rates.push(crediting(&site, &schema, orders * CREDITS_AN_ORDER).await?);
        tokio::task::block_in_place(|| service.stop())?;
        let pgbench = ledger_reference(bench, &site, &schema).await?;
        references.push(pgbench.per_second(1, bench.seconds()).await?);
        bench.say(6, round, "credits a second", &rates, &references);
    }
    let against = ("pgbench, 1 client", references.as_slice());
    Ok(vec![Figure::of(
        6,
        "events credited from a full topic",
        "/s",
        &rates,
        against,
        Target::RatioAtLeast(5.0),
    )])
}

/// Credits a second, from the first one on.
async fn crediting(site: &Site, schema: &str, expected: i64) -> Result<f64> {
    let count = format!("SELECT count(*) FROM {schema}.ledger");
    let booked = async |least: i64| {
        until("points are booked", async || {
            let count: i64 =
                sqlx::query_scalar(AssertSqlSafe(count.clone())).fetch_one(&site.database).await.ok()?;
            (count >= least).then_some((count, std::time::Instant::now()))
        })
        .await
    };
    let (before, begun) = booked(1).await?;
    let (after, ended) = booked(expected).await?;
    Ok((after - before) as f64 / (ended - begun).as_secs_f64())
}

async fn ledger_reference(bench: &Bench, site: &Site, schema: &str) -> Result<PgBench> {
    let table = format!("reference_{schema}");
    let make = format!("CREATE TABLE {table} (LIKE {schema}.ledger INCLUDING ALL)");
    sqlx::query(AssertSqlSafe(make)).execute(&site.database).await?;
    let script = format!(
        "INSERT INTO {table} (event_id, order_id, version, customer_id, event_type, points, policy_version, occurred_at)
         VALUES (gen_random_uuid(), gen_random_uuid(), 1, gen_random_uuid(), 'OrderCreated', 40, 1, now());"
    );
    PgBench::new(site.postgres.url(), &bench.directory(6), &script, Vec::new())
}
