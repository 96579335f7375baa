//! How the demo looks at the system: the two REST interfaces, the database, Redis. As any user could.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use redis::aio::MultiplexedConnection;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::book::Command;
use crate::local::LocalStack;
use crate::secured::Callers;

const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Who ships, completes, and looks at the outbox.
const OPERATOR: &str = "demo";
/// What the order service's retry keys begin with (its default).
const RETRY_KEYS: &str = "orders:publish-backlog";

#[derive(Clone)]
pub(crate) struct Clients {
    http: reqwest::Client,
    callers: Callers,
    orders: String,
    /// Where the order service's operators are served.
    operators: String,
    bonus: String,
    redis: redis::Client,
    pub(crate) database: PgPool,
}

/// `GET /api/outbox`, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Outbox {
    pub(crate) pending: i64,
    pub(crate) breaker: String,
    pub(crate) retry: Option<Retry>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Retry {
    #[serde(rename = "where")]
    pub(crate) place: String,
    pub(crate) attempt: u32,
    pub(crate) next_attempt_at: DateTime<Utc>,
}

impl Clients {
    /// By the URLs of both services, Redis and Postgres. Nothing is encrypted.
    pub(crate) fn new(orders: String, bonus: String, redis: &str, database: &str) -> Result<Self> {
        let redis = redis::Client::open(redis)?;
        Self::with(Callers::default(), orders, bonus, redis, database)
    }

    /// Of a stack.
    pub(crate) fn of(stack: &LocalStack) -> Result<Self> {
        let (orders, bonus) = (stack.orders.url(), stack.bonus.url());
        let redis = stack.redis.client()?;
        let clients = Self::with(stack.callers()?, orders, bonus, redis, &stack.postgres.url())?;
        Ok(clients.with_operators(stack.orders.operators_url()))
    }

    fn with(
        callers: Callers,
        orders: String,
        bonus: String,
        redis: redis::Client,
        database: &str,
    ) -> Result<Self> {
        Ok(Self {
            http: callers.client().timeout(ANSWER_PATIENCE).build()?,
            callers,
            operators: orders.clone(),
            orders,
            bonus,
            redis,
            database: PgPoolOptions::new().max_connections(2).connect_lazy(database)?,
        })
    }

    /// Where operators have an address of their own.
    pub(crate) fn with_operators(self, operators: String) -> Self {
        Self { operators, ..self }
    }

    /// Creates an order; 201 or an error. Says which, and how long the answer took.
    pub(crate) async fn create(&self, customer: Uuid) -> Result<(Uuid, Duration)> {
        let body = json!({
            "customer_id": customer,
            "currency": "EUR",
            "items": [
                {"sku": "tea-green", "quantity": 2, "unit_price_minor": 450},
                {"sku": "cup", "quantity": 1, "unit_price_minor": 1290},
            ],
        });
        let request = self
            .http
            .post(format!("{}/api/orders", self.orders))
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .json(&body);
        let request = self.callers.as_customer(request, customer)?;
        let begin = Instant::now();
        let answer = request.send().await.context("POST /api/orders got no answer")?;
        let (status, body) = (answer.status(), answer.text().await?);
        let took = begin.elapsed();
        if status != StatusCode::CREATED {
            bail!("POST /api/orders answered {status}: {body}");
        }
        let order: Value = serde_json::from_str(&body)?;
        let order = order["order_id"].as_str().context("the answer holds no order_id")?;
        Ok((order.parse()?, took))
    }

    /// By whose business it is: the order's customer pays and cancels, an operator ships and completes.
    pub(crate) async fn command(&self, order: Uuid, customer: Uuid, command: Command) -> Result<()> {
        let path = format!("/api/orders/{order}/{}", command.path());
        let request = self.http.post(format!("{}{path}", self.orders));
        let request = match command {
            Command::Pay | Command::Cancel => self.callers.as_customer(request, customer)?,
            Command::Ship | Command::Complete => self.callers.as_operator(request, OPERATOR)?,
        };
        let answer = request.send().await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            status => bail!("POST {path} answered {status}: {}", answer.text().await?),
        }
    }

    /// The order's version, as the service tells it.
    pub(crate) async fn version(&self, order: Uuid) -> Result<i64> {
        let order: Value = self.get(&format!("{}/api/orders/{order}", self.orders)).await?;
        order["version"].as_i64().context("the order shows no version")
    }

    pub(crate) async fn outbox_text(&self) -> Result<Value> {
        self.get(&format!("{}/api/outbox", self.operators)).await
    }

    pub(crate) async fn outbox(&self) -> Result<Outbox> {
        Ok(serde_json::from_value(self.outbox_text().await?)?)
    }

    async fn get(&self, url: &str) -> Result<Value> {
        let answer = self.callers.as_operator(self.http.get(url), OPERATOR)?.send().await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.json().await?),
            status => bail!("GET {url} answered {status}: {}", answer.text().await?),
        }
    }

    /// A customer's account; none before the first credited event opens it.
    pub(crate) async fn account(&self, customer: Uuid) -> Result<Option<Value>> {
        let request = self.http.get(format!("{}/api/bonuses/{customer}", self.bonus));
        let answer = self.callers.as_customer(request, customer)?.send().await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.json().await?)),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("GET /api/bonuses/{customer} answered {status}: {}", answer.text().await?),
        }
    }

    pub(crate) async fn points(&self, customer: Uuid) -> Result<Option<i64>> {
        let Some(account) = self.account(customer).await? else { return Ok(None) };
        Ok(Some(account["points"].as_i64().context("the account shows no points")?))
    }

    pub(crate) async fn count(&self, statement: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(statement).fetch_one(&self.database).await?)
    }

    pub(super) async fn redis(&self) -> Result<MultiplexedConnection> {
        Ok(tokio::time::timeout(ANSWER_PATIENCE, self.redis.get_multiplexed_async_connection()).await??)
    }

    /// The keys in Redis that belong to the retry, with their types.
    pub(crate) async fn retry_keys(&self) -> Result<BTreeMap<String, String>> {
        let mut redis = self.redis().await?;
        let names: Vec<String> =
            redis::cmd("KEYS").arg(format!("{RETRY_KEYS}*")).query_async(&mut redis).await?;
        let mut keys = BTreeMap::new();
        for name in names {
            let kind: String = redis::cmd("TYPE").arg(&name).query_async(&mut redis).await?;
            keys.insert(name, kind);
        }
        Ok(keys)
    }

    /// The job that waits in Redis, field by field; empty if there is none.
    pub(crate) async fn retry_record(&self) -> Result<BTreeMap<String, String>> {
        let mut redis = self.redis().await?;
        Ok(redis::cmd("HGETALL").arg(Self::retry_record_key()).query_async(&mut redis).await?)
    }

    pub(crate) fn retry_record_key() -> String {
        format!("{RETRY_KEYS}:outage")
    }
}
