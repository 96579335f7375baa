//! The outbox as the database has it: what waits, since when, and what is set aside.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::aggregate::{AggregateId, Name};
use crate::journal::{ReadError, Reader};

#[derive(Debug, Clone, FromRow)]
pub struct OutboxNumbers {
    pub published_seq: i64,
    pub head_seq: i64,
    pub pending: i64,
    pub quarantined_events: i64,
    pub quarantined: i64,
    pub deferred_events: i64,
    pub oldest_pending_at: Option<DateTime<Utc>>,
}

impl OutboxNumbers {
    /// Zero when nothing waits.
    pub fn oldest_pending_age(&self) -> Duration {
        self.oldest_pending_at.and_then(|at| (Utc::now() - at).to_std().ok()).unwrap_or_default()
    }
}

/// An aggregate whose events wait for an operator.
#[derive(Debug, Clone, FromRow)]
pub struct QuarantinedAggregate {
    #[sqlx(rename = "id", try_from = "Uuid")]
    pub aggregate_id: AggregateId,
    /// Why the broker refused the first of its waiting events.
    pub error: String,
    pub since: DateTime<Utc>,
    /// When an operator released it; from then on its events are sent.
    pub released_at: Option<DateTime<Utc>>,
    pub waiting_events: i64,
    /// Position of the first of them, which was refused; `None` when none waits any more.
    pub first_waiting_seq: Option<i64>,
}

/// How far publication has come: an event is delivered if it is at or below the cursor, and neither quarantined, deferred nor discarded.
#[derive(Debug, Clone, FromRow)]
pub struct PublicationProgress {
    pub published_seq: i64,
    /// In order.
    pub quarantined_seqs: Vec<i64>,
    /// Given up by an operator; in order.
    pub discarded_seqs: Vec<i64>,
    /// In order.
    pub deferred_seqs: Vec<i64>,
}

impl PublicationProgress {
    /// How far the event at this position has come: `published`, `waiting`, `quarantined` or `discarded`.
    pub fn stage(&self, seq: i64) -> &'static str {
        if self.discarded_seqs.binary_search(&seq).is_ok() {
            "discarded"
        } else if self.quarantined_seqs.binary_search(&seq).is_ok() {
            "quarantined"
        } else if seq <= self.published_seq && self.deferred_seqs.binary_search(&seq).is_err() {
            "published"
        } else {
            "waiting"
        }
    }
}

/// Partitions of which events are deferred: those of one lane.
#[derive(Debug, Clone, FromRow)]
pub struct DeferredLane {
    pub lane: i32,
    /// How many the topic has.
    pub partitions: i32,
    pub events: i64,
    pub since: DateTime<Utc>,
}

/// Who publishes, as Postgres sees it.
#[derive(Debug, Clone, FromRow)]
pub struct Sessions {
    #[sqlx(flatten)]
    pub lease: LeaseSession,
    /// How many sessions the service's instances have open. A running instance has some whenever it can reach Postgres.
    pub service_sessions: i64,
}

/// The session that holds the lease. All `None` when nobody does.
#[derive(Debug, Clone, FromRow)]
pub struct LeaseSession {
    pub pid: Option<i32>,
    pub application_name: Option<String>,
    pub address: Option<String>,
    pub connected_at: Option<DateTime<Utc>>,
}

#[derive(Clone)]
pub struct OutboxReader {
    pub(super) reader: Reader,
}

impl OutboxReader {
    pub fn new(reader: Reader) -> Self {
        Self { reader }
    }

    /// What the aggregates are called whose events it holds.
    pub fn name(&self) -> Name {
        self.reader.names().name()
    }

    pub async fn numbers(&self) -> Result<OutboxNumbers, ReadError> {
        let statement = self.reader.sql(include_str!("sql/outbox.sql"));
        self.reader
            .run(async move |mut connection| {
                Ok(sqlx::query_as(statement).fetch_one(&mut *connection).await?)
            })
            .await
    }

    pub async fn quarantine(&self, limit: i64) -> Result<Vec<QuarantinedAggregate>, ReadError> {
        let query = sqlx::query_as(self.reader.sql(include_str!("sql/quarantine.sql"))).bind(limit);
        self.reader.run(async move |mut connection| Ok(query.fetch_all(&mut *connection).await?)).await
    }

    pub async fn deferred(&self) -> Result<Vec<DeferredLane>, ReadError> {
        let query = sqlx::query_as(self.reader.sql(include_str!("sql/deferred_lanes.sql")));
        self.reader.run(async move |mut connection| Ok(query.fetch_all(&mut *connection).await?)).await
    }

    pub async fn publication_progress(&self) -> Result<PublicationProgress, ReadError> {
        let query = sqlx::query_as(self.reader.sql(include_str!("sql/publication_progress.sql")));
        self.reader.run(async move |mut connection| Ok(query.fetch_one(&mut *connection).await?)).await
    }

    /// `application`: the name of the service's sessions.
    pub async fn sessions(&self, application: &str) -> Result<Sessions, ReadError> {
        let query =
            sqlx::query_as(self.reader.sql(include_str!("sql/sessions.sql"))).bind(application.to_owned());
        self.reader.run(async move |mut connection| Ok(query.fetch_one(&mut *connection).await?)).await
    }

    /// Sends the aggregate's parked events again; false when it is not quarantined.
    pub async fn release(&self, aggregate_id: AggregateId) -> Result<bool, ReadError> {
        let query =
            sqlx::query(self.reader.sql(include_str!("sql/release_aggregate.sql"))).bind(aggregate_id.0);
        self.reader
            .run(async move |mut connection| Ok(query.fetch_optional(&mut *connection).await?.is_some()))
            .await
    }
}
