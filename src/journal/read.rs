//! Reading the journal: one order's history, the log from a position on, a keyed command's receipt.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kit::postgres::{ConnectError, Pool, PoolError, PooledConnection};
use sqlx::FromRow;
use uuid::Uuid;

use super::wire::{self, UnreadableEvent};
use super::{Receipt, Refusal};
use crate::order::{Order, OrderEvent, OrderId, evolve};

/// One row of `order_event`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct StoredEvent {
    pub seq: i64,
    pub event_id: Uuid,
    #[sqlx(try_from = "Uuid")]
    pub order_id: OrderId,
    pub version: i64,
    pub event_type: String,
    pub payload: String,
    pub metadata: String,
    pub occurred_at: DateTime<Utc>,
    /// When this instance committed it; `None` for an event that was read from the table.
    #[sqlx(skip)]
    pub committed_at: Option<Instant>,
}

impl From<Uuid> for OrderId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl StoredEvent {
    /// Since its commit; for an event that was read from the table since its own time, a commit's length before.
    pub fn age(&self) -> Duration {
        let since_event = || (Utc::now() - self.occurred_at).to_std().unwrap_or_default();
        self.committed_at.map_or_else(since_event, |at| at.elapsed())
    }

    pub fn decode(&self) -> Result<OrderEvent, UnreadableEvent> {
        wire::decode(self.event_id, &self.payload)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Postgres cannot be reached or does not answer; try again later.
    #[error("the journal cannot be read: {0}")]
    Unavailable(#[from] sqlx::Error),
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    #[error("the journal cannot be read: the receipt of key {key:?} is damaged: {reason}")]
    DamagedReceipt { key: String, reason: String },
    /// Postgres is there and does not answer; try again later.
    #[error("the journal cannot be read: no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the journal cannot be read: the service is stopping")]
    Stopping,
    /// Postgres answers, and takes no writes: it is a standby, or somebody has stopped them. Try again later.
    #[error("the journal cannot be written: the database is read-only")]
    ReadOnly,
}

impl From<PoolError> for ReadError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Connect(ConnectError::Postgres(error)) => Self::Unavailable(error),
            PoolError::Connect(ConnectError::TimedOut(limit)) | PoolError::TimedOut(limit) => {
                Self::TimedOut(limit)
            }
            PoolError::Closed => Self::Stopping,
        }
    }
}

/// Reads run on connections of the process's main runtime, which outlives every HTTP worker and arbiter that asks.
#[derive(Clone)]
pub struct Reader {
    pool: Pool,
}

impl Reader {
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Runs `query` within the database's timeout. Dropping the caller does not cancel it half-way.
    pub async fn run<T, F, W>(&self, query: F) -> Result<T, ReadError>
    where
        F: FnOnce(PooledConnection) -> W + Send + 'static,
        W: Future<Output = Result<T, ReadError>> + Send + 'static,
        T: Send + 'static,
    {
        self.pool.run(query).await
    }

    /// Whether the database takes writes now. (An error also lets go of every kept connection: they lead to the same server.)
    pub async fn is_writable(&self) -> Result<(), ReadError> {
        self.run(async move |mut connection| {
            let writable: bool =
                sqlx::query_scalar(include_str!("sql/writable.sql")).fetch_one(&mut *connection).await?;
            if writable { Ok(()) } else { Err(ReadError::ReadOnly) }
        })
        .await
    }

    /// The order's history up to `version`; empty when there is no such order.
    pub async fn history(&self, order_id: OrderId, version: i64) -> Result<Vec<StoredEvent>, ReadError> {
        self.run(async move |mut connection| {
            Ok(sqlx::query_as(include_str!("sql/load_order.sql"))
                .bind(order_id.0)
                .bind(version)
                .fetch_all(&mut *connection)
                .await?)
        })
        .await
    }

    /// The order as it was at `version`, folded from its events: always what is committed, never a cached state.
    pub async fn order_at(&self, order_id: OrderId, version: i64) -> Result<Order, ReadError> {
        let mut order = Order::default();
        for stored in self.history(order_id, version).await? {
            order = evolve(order, &stored.decode()?);
        }
        Ok(order)
    }

    pub async fn order(&self, order_id: OrderId) -> Result<Order, ReadError> {
        self.order_at(order_id, i64::MAX).await
    }

    /// At most `limit` events behind position `seq`, in order and without gaps.
    pub async fn after(&self, seq: i64, limit: i64) -> Result<Vec<StoredEvent>, ReadError> {
        self.run(async move |mut connection| {
            Ok(sqlx::query_as(include_str!("sql/load_after.sql"))
                .bind(seq)
                .bind(limit)
                .fetch_all(&mut *connection)
                .await?)
        })
        .await
    }

    pub async fn receipt(&self, key: String) -> Result<Option<Receipt>, ReadError> {
        self.run(async move |mut connection| {
            let row: Option<(Vec<u8>, Uuid, i64, Option<String>)> =
                sqlx::query_as(include_str!("sql/load_receipt.sql"))
                    .bind(&key)
                    .fetch_optional(&mut *connection)
                    .await?;
            let Some((fingerprint, order_id, version, refusal)) = row else { return Ok(None) };
            let damaged = |reason: String| ReadError::DamagedReceipt { key: key.clone(), reason };
            let refusal: Option<Refusal> = match refusal {
                Some(json) => Some(serde_json::from_str(&json).map_err(|error| damaged(error.to_string()))?),
                None => None,
            };
            let fingerprint =
                fingerprint.try_into().map_err(|_| damaged("a fingerprint of the wrong length".into()))?;
            Ok(Some(Receipt { fingerprint, order_id: OrderId(order_id), version, refusal }))
        })
        .await
    }

    /// The last position written; 0 when the journal is empty.
    pub async fn head(&self) -> Result<i64, ReadError> {
        self.run(async move |mut connection| {
            Ok(sqlx::query_scalar(include_str!("sql/head.sql")).fetch_one(&mut *connection).await?)
        })
        .await
    }
}
