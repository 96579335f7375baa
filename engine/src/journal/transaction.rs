//! Appending in a transaction of the caller's: its events are committed with the rows that they tell of, or not at all.
//!
//! The invariants of the journal hold here too, if the caller keeps three rules:
//! - It has locked each aggregate, in a way that whoever else appends events of that aggregate has to lock it. So the last version that is
//!   read here stays the last one until the commit.
//! - It appends once, as the transaction's last statement. From then on every other append waits for its commit, and it waits for no lock.
//! - After the commit it says so ([`Appender::committed`]). If it does not, the publisher finds the events within a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::{FromRow, Postgres, Transaction};
use uuid::Uuid;

use super::actor::announce;
use super::append::{self, Columns};
use super::{Follower, JournalState, NewEvent, StoredEvent};
use crate::aggregate::{AggregateId, Recorded};
use crate::names::Names;

/// What happened, for a service whose state is not the engine's.
pub trait OutboxEvent: Sized {
    /// The event's name in the journal and on the wire. Part of the contract.
    fn event_type(&self) -> &'static str;

    /// The event as JSON: what the table holds and the broker carries, byte for byte.
    ///
    /// # Errors
    /// When it cannot be written as JSON. Then nothing is appended.
    fn encode(event: &Recorded<Self>) -> Result<String, serde_json::Error>;
}

/// Why nothing was appended. The transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum NotAppended {
    #[error("the events cannot be appended: {0}")]
    Postgres(#[from] sqlx::Error),
    /// Somebody appends without the caller's lock, or the journal has lost events. A repetition reads the last versions anew.
    #[error("the events cannot be appended: a version is taken, or its predecessor is gone")]
    VersionConflict,
    #[error("an event cannot be written as JSON: {0}")]
    Encoding(#[from] serde_json::Error),
}

/// Events that are in the journal once the caller's transaction is committed.
#[must_use = "the publisher is told after the commit"]
#[derive(Debug)]
pub struct Uncommitted {
    /// What was known to be committed before.
    known: i64,
    head: i64,
    events: Vec<StoredEvent>,
}

/// The end of an aggregate's history.
#[derive(Clone, Copy, Default, FromRow)]
struct LastEvent {
    version: i64,
    occurred_at: DateTime<Utc>,
}

/// Appends in transactions of others. Cheap to clone.
#[derive(Clone)]
pub struct Appender {
    names: Names,
    state: Arc<JournalState>,
    followers: Arc<[Follower]>,
}

impl Appender {
    /// `followers` are told of commits.
    pub fn new(names: Names, state: Arc<JournalState>, followers: Vec<Follower>) -> Self {
        Self { names, state, followers: followers.into() }
    }

    /// Gives each event its id, version, time and position, in this order, and writes them. A time before an aggregate's last event
    /// becomes the time of that event: a history never runs back.
    ///
    /// # Errors
    /// See [`NotAppended`]: the transaction must be rolled back.
    pub async fn append<E: OutboxEvent>(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        now: DateTime<Utc>,
        events: Vec<(AggregateId, E)>,
    ) -> Result<Uncommitted, NotAppended> {
        // Before the append: what is committed by then is below the head that it finds.
        let known = self.state.head.load(Ordering::Acquire);
        if events.is_empty() {
            return Ok(Uncommitted { known, head: known, events: Vec::new() });
        }
        let events = self.number(transaction, now.trunc_subsecs(6), events).await?;
        let mut columns = Columns::default();
        for (aggregate_id, event) in &events {
            // One number for all: they are written together or not at all.
            columns.push(0, *aggregate_id, event);
        }
        let notify = self.state.notify_wanted();
        let row = append::call(transaction, &self.names, &columns, notify).await?;
        if !row.is_whole() {
            return Err(NotAppended::VersionConflict);
        }
        let stored = (row.head + 1..).zip(&events).map(|(seq, (id, event))| event.stored(seq, *id, None));
        Ok(Uncommitted { known, head: row.head, events: stored.collect() })
    }

    /// The transaction is committed: the publisher of this process is told.
    pub fn committed(&self, mut appended: Uncommitted) {
        if appended.events.is_empty() {
            return;
        }
        self.state.answered(appended.known, appended.head);
        let at = Instant::now();
        for event in &mut appended.events {
            event.committed_at = Some(at);
        }
        announce(&self.state, &self.followers, appended.events);
    }

    async fn number<E: OutboxEvent>(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        now: DateTime<Utc>,
        events: Vec<(AggregateId, E)>,
    ) -> Result<Vec<(AggregateId, NewEvent)>, NotAppended> {
        let mut last = self.last_events(transaction, &events).await?;
        let mut numbered = Vec::with_capacity(events.len());
        for (aggregate_id, data) in events {
            let last = last.entry(aggregate_id).or_default();
            *last = LastEvent { version: last.version + 1, occurred_at: now.max(last.occurred_at) };
            let LastEvent { version, occurred_at } = *last;
            let recorded = Recorded { event_id: Uuid::now_v7(), aggregate_id, version, occurred_at, data };
            let payload = E::encode(&recorded)?;
            let Recorded { event_id, data, .. } = recorded;
            let (event_type, metadata) = (data.event_type(), "{}".to_owned());
            numbered.push((
                aggregate_id,
                NewEvent { event_id, version, event_type, payload, metadata, occurred_at },
            ));
        }
        Ok(numbered)
    }

    async fn last_events<E>(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        events: &[(AggregateId, E)],
    ) -> Result<BTreeMap<AggregateId, LastEvent>, sqlx::Error> {
        let mut ids: Vec<Uuid> = events.iter().map(|(id, _)| id.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let rows: Vec<(Uuid, i64, DateTime<Utc>)> =
            sqlx::query_as(self.names.sql(include_str!("sql/last_events.sql")))
                .bind(ids)
                .fetch_all(&mut **transaction)
                .await?;
        let of = |(id, version, occurred_at)| (AggregateId(id), LastEvent { version, occurred_at });
        Ok(rows.into_iter().map(of).collect())
    }
}
