//! Row 11: publication by Kafka and by Redis Streams, in turn, on one machine in one run.
//!
//! Each message queue has a service of its own, with a database of its own in the same Postgres. The one that is not measured is idle.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::arrivals::{self, Arrival};
use super::backlog::append_lives_to;
use super::http::{closed, open};
use super::kafka::make_topic;
use super::report::{Figure, Target};
use super::workload::Creates;
use super::{Bench, CONNECTIONS, WARM_UP};
use crate::servers::{Redis, Service, ServiceSettings};
use crate::site::{Site, until};
use crate::topic::TOPIC;

const ORDERS: i64 = 25_000;
/// Far from what the machine can do, so that publication is measured and not the queue before it.
const ORDERS_A_SECOND: f64 = 500.0;
const QUANTILES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];
/// `appendfsync` of Redis, and what it means. Kafka, one broker with `acks=all`, leaves the flush to the kernel.
const PERSISTENCE: [(&str, &str); 2] =
    [("everysec", "flushed once a second"), ("always", "flushed before each answer")];

/// A service, and its database.
struct Side<'a> {
    service: &'a Service,
    database: &'a PgPool,
}

/// What the rounds of one message queue came to.
#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    latencies: [Vec<f64>; QUANTILES.len()],
}

pub(super) async fn queues(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.site(11, 0, &[])?;
    let directory = bench.directory(11).join("streams");
    let redis = tokio::task::block_in_place(|| Redis::start(&directory))?;
    let brokers = site.kafka.brokers();
    make_topic(&brokers, TOPIC).await?;
    let on_kafka = service(&site, &directory, "kafka", &[("KAFKA_BROKERS", &brokers)]).await?;
    let url = redis.url();
    let on_redis =
        service(&site, &directory, "redis", &[("ORDERS_MQ", "redis"), ("REDIS_URL", &url)]).await?;
    let kafka = Side { service: &on_kafka.0, database: &on_kafka.1 };
    let streams = Side { service: &on_redis.0, database: &on_redis.1 };
    for side in [&kafka, &streams] {
        closed(side.host(), CONNECTIONS, WARM_UP, Creates::new).await?;
        side.drained().await?;
    }
    let (mut by_kafka, mut by_redis) = (Measured::default(), PERSISTENCE.map(|_| Measured::default()));
    for round in 1..=bench.rounds {
        let read = async |since| arrivals::in_kafka(&brokers, since).await;
        by_kafka.measure(bench, &kafka, read).await?;
        for ((appendfsync, _), measured) in PERSISTENCE.iter().zip(&mut by_redis) {
            let mut connection = redis_connection(&redis).await?;
            let set = ["SET", "appendfsync", appendfsync];
            let _: () = redis::cmd("CONFIG").arg(&set).query_async(&mut connection).await?;
            let read = async |since| arrivals::in_streams(&mut redis_connection(&redis).await?, since).await;
            measured.measure(bench, &streams, read).await?;
            let what = format!("drain by Redis Streams ({appendfsync}) and by Kafka, events/s");
            bench.say(11, round, &what, &measured.rates, &by_kafka.rates);
            let ([p50, _], [reference, _]) = (&measured.latencies, &by_kafka.latencies);
            bench.say(11, round, "from an event to its stream and to Kafka's log, p50, ms", p50, reference);
        }
    }
    Ok(PERSISTENCE.iter().zip(&by_redis).flat_map(|((_, how), by)| figures(how, by, &by_kafka)).collect())
}

fn figures(how: &str, by: &Measured, kafka: &Measured) -> Vec<Figure> {
    let drain = format!("drain of 100,000 events by Redis Streams, {how}");
    let drain = Figure::of(11, drain, "/s", &by.rates, ("Kafka", &kafka.rates), Target::Shown);
    let latencies = QUANTILES.iter().zip(by.latencies.iter().zip(&kafka.latencies));
    let latencies = latencies.map(|((name, _), (values, references))| {
        let what = format!("from an event to its stream, {how}, {name}");
        Figure::of(11, what, "ms", values, ("Kafka's log", references), Target::Shown)
    });
    std::iter::once(drain).chain(latencies).collect()
}

async fn redis_connection(redis: &Redis) -> Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?)
}

/// A service of this name, with a database of this name.
async fn service(
    site: &Site,
    directory: &Path,
    name: &str,
    variables: &[(&str, &str)],
) -> Result<(Service, PgPool)> {
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE side_{name}"))).execute(&site.database).await?;
    let (server, _) = site
        .postgres
        .url()
        .rsplit_once('/')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .context("no database")?;
    let url = format!("{server}/side_{name}");
    let mut settings =
        ServiceSettings::orders()?.with("DATABASE_URL", &url).with("REDIS_URL", site.redis.url());
    for (variable, value) in variables {
        settings = settings.with(variable, *value);
    }
    settings.name = format!("orders-on-{name}");
    let service = tokio::task::block_in_place(|| Service::start(directory, settings))?;
    Ok((service, PgPoolOptions::new().max_connections(3).connect_lazy(&url)?))
}

impl Measured {
    async fn measure(
        &mut self,
        bench: &Bench,
        side: &Side<'_>,
        read: impl AsyncFnOnce(i64) -> Result<Vec<Arrival>>,
    ) -> Result<()> {
        self.rates.push(side.drain().await?);
        let begun = millis_now();
        open(side.host(), CONNECTIONS, ORDERS_A_SECOND, bench.seconds() * 4, Creates::new).await?;
        side.drained().await?;
        let mut took = Histogram::<u64>::new(3)?;
        for Arrival { occurred_us, arrived_us } in read(begun).await? {
            took.record(u64::try_from(arrived_us - occurred_us).unwrap_or_default())?;
        }
        for ((_, quantile), values) in QUANTILES.iter().zip(&mut self.latencies) {
            values.push(took.value_at_quantile(*quantile) as f64 / 1_000.0);
        }
        Ok(())
    }
}

fn millis_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Side<'_> {
    fn host(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.service.port()).into()
    }

    async fn cursor_and_head(&self) -> Result<(i64, i64)> {
        let both =
            "SELECT published_seq, (SELECT coalesce(max(seq), 0) FROM order_event) FROM publisher_cursor";
        Ok(sqlx::query_as(both).fetch_one(self.database).await?)
    }

    async fn drained(&self) -> Result<()> {
        until("everything is published", async || {
            self.cursor_and_head().await.is_ok_and(|(cursor, head)| cursor >= head).then_some(())
        })
        .await
    }

    /// Events a second from the cursor's first step to its last. The queue is up and warm: while the backlog is written, this session has
    /// the lease, so that nobody publishes.
    async fn drain(&self) -> Result<f64> {
        self.drained().await?;
        let mut session = self.database.acquire().await?;
        tokio::task::block_in_place(|| self.service.stop())?;
        sqlx::query("SELECT pg_advisory_lock(publisher_lease_key())").execute(&mut *session).await?;
        tokio::task::block_in_place(|| self.service.start_again())?;
        append_lives_to(self.host(), self.database, ORDERS).await?;
        let (before, head) = self.cursor_and_head().await?;
        sqlx::query("SELECT pg_advisory_unlock(publisher_lease_key())").execute(&mut *session).await?;
        let reached = async |least: i64| {
            until("the cursor moves", async || {
                let (cursor, _) = self.cursor_and_head().await.ok()?;
                (cursor >= least).then(|| (cursor, Instant::now()))
            })
            .await
        };
        let (first, begun) = reached(before + 1).await?;
        let (last, ended) = reached(head).await?;
        Ok((last - first) as f64 / (ended - begun).as_secs_f64())
    }
}
