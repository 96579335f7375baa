//! Reading the journal: one aggregate's history, the log from a position on, a keyed command's receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kit::postgres::{ConnectError, Pool, PoolError, PooledConnection};
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::{Receipt, Refusal, metadata};
use crate::aggregate::{Aggregate, AggregateId, Current, Recorded};
use crate::names::Names;

/// One row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct StoredEvent {
    pub seq: i64,
    pub event_id: Uuid,
    #[sqlx(rename = "id", try_from = "Uuid")]
    pub aggregate_id: AggregateId,
    pub version: i64,
    pub event_type: String,
    pub payload: String,
    pub metadata: String,
    pub occurred_at: DateTime<Utc>,
    /// When this instance committed it. `None` for an event that was read from the table.
    #[sqlx(skip)]
    pub committed_at: Option<Instant>,
}

impl StoredEvent {
    /// The time since its commit. For an event that was read from the table: since it occurred, which is a commit's duration
    /// earlier.
    pub fn age(&self) -> Duration {
        let since_event = || (Utc::now() - self.occurred_at).to_std().unwrap_or_default();
        self.committed_at.map_or_else(since_event, |at| at.elapsed())
    }

    pub fn decode<A: Aggregate>(&self) -> Result<Recorded<A::Event>, UnreadableEvent> {
        let unreadable = |reason: String| UnreadableEvent { event_id: self.event_id, reason };
        let version =
            metadata::schema_version(&self.metadata).map_err(|error| unreadable(error.to_string()))?;
        let data = A::decode(&self.event_type, version, &self.payload)
            .map_err(|error| unreadable(error.to_string()))?;
        let Self { event_id, aggregate_id, version, occurred_at, .. } = *self;
        Ok(Recorded { event_id, aggregate_id, version, occurred_at, data })
    }
}

/// A row whose event this version cannot read: a newer instance wrote it, or the table was edited.
#[derive(Debug, thiserror::Error)]
#[error("event {event_id} cannot be read: {reason}; a newer version of the service may have written it")]
pub struct UnreadableEvent {
    pub event_id: Uuid,
    pub reason: String,
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
    /// Postgres is connected and does not answer; try again later.
    #[error("the journal cannot be read: no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the journal cannot be read: the service is stopping")]
    Stopping,
    /// Postgres answers, and takes no writes: it is a standby, or an operator has made it read-only. Try again later.
    #[error("the journal cannot be written: the database is read-only")]
    ReadOnly,
}

impl From<PoolError> for ReadError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Connect(ConnectError::Postgres(error)) => Self::Unavailable(error),
            PoolError::Connect(ConnectError::Refused(why)) => Self::Unavailable(sqlx::Error::Tls(why.into())),
            PoolError::Connect(ConnectError::TimedOut(limit)) | PoolError::TimedOut(limit) => {
                Self::TimedOut(limit)
            }
            PoolError::Closed => Self::Stopping,
        }
    }
}

/// Reads run on the process's main runtime, which outlives the threads that ask.
#[derive(Clone)]
pub struct Reader {
    pool: Pool,
    names: Names,
}

impl Reader {
    pub fn new(pool: Pool, names: Names) -> Self {
        Self { pool, names }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// A statement of this crate, worded for the aggregate.
    pub(crate) fn sql(&self, statement: &'static str) -> AssertSqlSafe<Arc<str>> {
        self.names.sql(statement)
    }

    /// Runs `query` within the database's timeout. If the caller is dropped the query is not cancelled.
    pub async fn run<T, F, W>(&self, query: F) -> Result<T, ReadError>
    where
        F: FnOnce(PooledConnection) -> W + Send + 'static,
        W: Future<Output = Result<T, ReadError>> + Send + 'static,
        T: Send + 'static,
    {
        self.pool.run(query).await
    }

    /// Whether the database takes writes now. (An error also drops every idle connection: they lead to the same server.)
    pub async fn is_writable(&self) -> Result<(), ReadError> {
        let statement = self.sql(include_str!("sql/writable.sql"));
        self.run(async move |mut connection| {
            let writable: bool = sqlx::query_scalar(statement).fetch_one(&mut *connection).await?;
            if writable { Ok(()) } else { Err(ReadError::ReadOnly) }
        })
        .await
    }

    /// The aggregate's history up to `version`; empty when there is none.
    pub async fn history(
        &self,
        aggregate_id: AggregateId,
        version: i64,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        let statement = self.sql(include_str!("sql/load_aggregate.sql"));
        self.run(async move |mut connection| {
            Ok(sqlx::query_as(statement)
                .bind(aggregate_id.0)
                .bind(version)
                .fetch_all(&mut *connection)
                .await?)
        })
        .await
    }

    /// The aggregate as it was at `version`, folded from its committed events.
    pub async fn load_at<A: Aggregate>(
        &self,
        id: AggregateId,
        version: i64,
    ) -> Result<Current<A>, ReadError> {
        let mut current = Current::default();
        for stored in self.history(id, version).await? {
            current = current.after(&stored.decode::<A>()?);
        }
        Ok(current)
    }

    /// The aggregate as it is now.
    pub async fn load<A: Aggregate>(&self, id: AggregateId) -> Result<Current<A>, ReadError> {
        self.load_at(id, i64::MAX).await
    }

    /// At most `limit` events after position `seq`, in order and without gaps.
    pub async fn after(&self, seq: i64, limit: i64) -> Result<Vec<StoredEvent>, ReadError> {
        let statement = self.sql(include_str!("sql/load_after.sql"));
        self.run(async move |mut connection| {
            Ok(sqlx::query_as(statement).bind(seq).bind(limit).fetch_all(&mut *connection).await?)
        })
        .await
    }

    pub async fn receipt<R>(&self, key: String) -> Result<Option<Receipt<R>>, ReadError>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let statement = self.sql(include_str!("sql/load_receipt.sql"));
        self.run(async move |mut connection| {
            let row: Option<(Vec<u8>, Uuid, i64, Option<String>)> =
                sqlx::query_as(statement).bind(&key).fetch_optional(&mut *connection).await?;
            let Some((fingerprint, aggregate_id, version, refusal)) = row else { return Ok(None) };
            let damaged = |reason: String| ReadError::DamagedReceipt { key: key.clone(), reason };
            let refusal: Option<Refusal<R>> = match refusal {
                Some(json) => Some(serde_json::from_str(&json).map_err(|error| damaged(error.to_string()))?),
                None => None,
            };
            let fingerprint =
                fingerprint.try_into().map_err(|_| damaged("a fingerprint of the wrong length".into()))?;
            Ok(Some(Receipt { fingerprint, aggregate_id: AggregateId(aggregate_id), version, refusal }))
        })
        .await
    }

    /// The last position written; 0 when the journal is empty.
    pub async fn head(&self) -> Result<i64, ReadError> {
        let statement = self.sql(include_str!("sql/head.sql"));
        self.run(async move |mut connection| {
            Ok(sqlx::query_scalar(statement).fetch_one(&mut *connection).await?)
        })
        .await
    }
}
