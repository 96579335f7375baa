//! The set-up of a measurement: private servers, and a number of order services in front of them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::secured::Secured;
use crate::servers::{Kafka, Postgres, Redis, Service, ServiceSettings};

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) kafka: Kafka,
    pub(crate) redis: Redis,
    pub(crate) postgres: Postgres,
    pub(crate) orders: Vec<Service>,
    pub(crate) http: reqwest::Client,
    pub(crate) database: PgPool,
}

impl Site {
    /// Starts everything below `directory`. Ends with this value.
    pub(crate) fn start(directory: &Path, orders: usize, settings: &ServiceSettings) -> Result<Self> {
        Self::start_with(Kafka::start(directory)?, directory, orders, settings)
    }

    /// The same with a broker that runs already.
    pub(crate) fn start_with(
        kafka: Kafka,
        directory: &Path,
        orders: usize,
        settings: &ServiceSettings,
    ) -> Result<Self> {
        let (redis, postgres) = (Redis::start(directory)?, Postgres::start(directory)?);
        Self::over(kafka, redis, postgres, directory, orders, settings)
    }

    /// The same with one service, secured; the broker is as well.
    pub(crate) fn start_secured(
        kafka: Kafka,
        directory: &Path,
        settings: &ServiceSettings,
        secured: &Secured,
    ) -> Result<Self> {
        let (encryption, user) = secured.redis()?;
        let redis = Redis::start_encrypted(directory, encryption, Some(user))?;
        let postgres = Postgres::start_encrypted(directory, secured.postgres())?;
        Self::over(kafka, redis, postgres, directory, 1, &secured.service(settings.clone(), "ORDERS"))
    }

    fn over(
        kafka: Kafka,
        redis: Redis,
        postgres: Postgres,
        directory: &Path,
        orders: usize,
        settings: &ServiceSettings,
    ) -> Result<Self> {
        let servers = [kafka.access().environment("ORDERS"), redis.variables("ORDERS")].concat();
        let service = |number| {
            let mut settings = settings.clone().with("DATABASE_URL", postgres.url());
            settings.environment.extend(servers.iter().cloned());
            settings.name = format!("orders-{}", number + 1);
            Service::start(directory, settings)
        };
        let orders = (0..orders).map(service).collect::<Result<_>>()?;
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(ANSWER_PATIENCE);
        let database = pool.connect_lazy(&postgres.url())?;
        let http = crate::http_client().timeout(ANSWER_PATIENCE).build()?;
        Ok(Self { kafka, redis, postgres, orders, http, database })
    }

    pub(crate) fn service(&self, number: usize) -> Result<&Service> {
        self.orders.get(number).with_context(|| format!("there is no service {number}"))
    }

    pub(crate) fn host(&self, number: usize) -> Result<SocketAddr> {
        Ok(([127, 0, 0, 1], self.service(number)?.port()).into())
    }

    pub(crate) async fn create(&self, service: usize, count: usize) -> Result<()> {
        let url = format!("{}/api/orders", self.service(service)?.url());
        let create = async |_| -> Result<()> {
            let answer = self.http.post(&url).json(&an_order()).send().await?;
            if answer.status() != 201 {
                bail!("POST {url} answers {}", answer.status());
            }
            Ok(())
        };
        try_join_all((0..count).map(create)).await?;
        Ok(())
    }

    /// `GET /api/outbox`; `None` while the service does not answer.
    pub(crate) async fn outbox(&self, service: usize) -> Option<Value> {
        let url = format!("{}/api/outbox", self.service(service).ok()?.url());
        let answer = self.http.get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// What the kernel counts as resident.
    pub(crate) fn memory_mib(&self, service: usize) -> Result<f64> {
        let pid = self.service(service)?.identity().context("the service has ended")?.pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(resident.context("the kernel does not say how much memory it has")?.trim().parse::<f64>()?
            / 1_024.0)
    }

    pub(crate) async fn cursor(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT published_seq FROM publisher_cursor").fetch_one(&self.database).await?)
    }

    pub(crate) async fn head(&self) -> Result<i64> {
        let head = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM order_event");
        Ok(head.fetch_one(&self.database).await?)
    }

    pub(crate) async fn cursor_reaches(&self, seq: i64) -> Result<()> {
        until(&format!("the cursor reaches {seq}"), async || {
            self.cursor().await.is_ok_and(|cursor| cursor >= seq).then_some(())
        })
        .await
    }
}

pub(crate) fn an_order() -> Value {
    json!({
        "customer_id": Uuid::new_v4(),
        "currency": "EUR",
        "items": [{ "sku": "tea", "quantity": 2, "unit_price_minor": 450 }],
    })
}

/// Asks every few milliseconds until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if begun.elapsed() > Duration::from_secs(90) {
            bail!("gave up waiting: {what}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// When the broker first answers a client that asks it all the time.
pub(crate) fn first_answer(brokers: &str) -> Result<Instant> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "20")
        .create()?;
    let begun = Instant::now();
    loop {
        let answer = client.fetch_metadata(None, Duration::from_millis(500));
        match answer {
            Ok(_) => return Ok(Instant::now()),
            Err(error) if begun.elapsed() > Duration::from_secs(90) => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
