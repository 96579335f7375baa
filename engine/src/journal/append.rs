//! Writing a batch: many commands, one statement, one fsync.

use std::time::Instant;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{Append, AppendError, Appended, NewEvent, StoredEvent};
use crate::aggregate::AggregateId;
use crate::names::Names;

#[derive(FromRow)]
pub(super) struct AppendRow {
    /// The journal's last position before.
    pub(super) head: i64,
    conflicted: Vec<i32>,
    repeated: Vec<i32>,
    known: Vec<i32>,
}

impl AppendRow {
    /// Whether everything was written.
    pub(super) fn is_whole(&self) -> bool {
        self.conflicted.is_empty() && self.repeated.is_empty() && self.known.is_empty()
    }
}

/// A batch that was written: each command's outcome in its place, and the events that are now in the journal.
pub(super) struct WrittenBatch {
    /// The journal's last position before the batch.
    pub(super) head: i64,
    pub(super) outcomes: Vec<Result<Appended, AppendError>>,
    pub(super) events: Vec<StoredEvent>,
}

/// The arrays of `sql/append.sql`, column by column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    command_nos: Vec<i32>,
    event_ids: Vec<Uuid>,
    aggregate_ids: Vec<Uuid>,
    versions: Vec<i64>,
    event_types: Vec<&'a str>,
    payloads: Vec<&'a str>,
    metadatas: Vec<&'a str>,
    occurred_ats: Vec<DateTime<Utc>>,
    receipt_command_nos: Vec<i32>,
    receipt_keys: Vec<&'a str>,
    receipt_command_ids: Vec<Uuid>,
    receipt_fingerprints: Vec<&'a [u8]>,
    receipt_aggregate_ids: Vec<Uuid>,
    receipt_versions: Vec<i64>,
    receipt_refusals: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [&Append]) -> Self {
        let mut columns = Self::default();
        for (number, append) in (0_i32..).zip(batch) {
            for event in &append.events {
                columns.push(number, append.aggregate_id, event);
            }
            if let Some(receipt) = &append.receipt {
                columns.receipt_command_nos.push(number);
                columns.receipt_keys.push(&receipt.key);
                columns.receipt_command_ids.push(append.command_id);
                columns.receipt_fingerprints.push(&receipt.fingerprint);
                columns.receipt_aggregate_ids.push(append.aggregate_id.0);
                columns.receipt_versions.push(receipt.version);
                columns.receipt_refusals.push(receipt.refusal.as_deref());
            }
        }
        columns
    }

    /// `number`: of the command, among those that are written together.
    pub(super) fn push(&mut self, number: i32, aggregate_id: AggregateId, event: &'a NewEvent) {
        self.command_nos.push(number);
        self.event_ids.push(event.event_id);
        self.aggregate_ids.push(aggregate_id.0);
        self.versions.push(event.version);
        self.event_types.push(event.event_type);
        self.payloads.push(&event.payload);
        self.metadatas.push(&event.metadata);
        self.occurred_ats.push(event.occurred_at);
    }
}

/// Writes `batch` in one transaction. No two commands of a batch share an aggregate or a key (see [`super::batch`]).
pub(super) async fn write(
    connection: &mut PgConnection,
    names: &Names,
    batch: &[&Append],
    notify_publisher: bool,
) -> Result<WrittenBatch, sqlx::Error> {
    let row = call(connection, names, &Columns::of(batch), notify_publisher).await?;
    Ok(settle(batch, &row))
}

/// The statement. From here to the end of the transaction the append lock is held.
pub(super) async fn call(
    connection: &mut PgConnection,
    names: &Names,
    columns: &Columns<'_>,
    notify_publisher: bool,
) -> Result<AppendRow, sqlx::Error> {
    sqlx::query_as(names.sql(include_str!("sql/append.sql")))
        .bind(&columns.command_nos)
        .bind(&columns.event_ids)
        .bind(&columns.aggregate_ids)
        .bind(&columns.versions)
        .bind(&columns.event_types)
        .bind(&columns.payloads)
        .bind(&columns.metadatas)
        .bind(&columns.occurred_ats)
        .bind(&columns.receipt_command_nos)
        .bind(&columns.receipt_keys)
        .bind(&columns.receipt_command_ids)
        .bind(&columns.receipt_fingerprints)
        .bind(&columns.receipt_aggregate_ids)
        .bind(&columns.receipt_versions)
        .bind(&columns.receipt_refusals)
        .bind(notify_publisher)
        .fetch_one(connection)
        .await
}

/// Gives every command its outcome, and the written events the positions that the function gave them: after the head, in batch
/// order, without refused and already known commands.
fn settle(batch: &[&Append], row: &AppendRow) -> WrittenBatch {
    let (mut seq, committed_at) = (row.head, Instant::now());
    let mut events = Vec::with_capacity(batch.len());
    let outcomes = (0_i32..)
        .zip(batch)
        .map(|(number, append)| {
            // A key used before outweighs a version conflict: its first outcome is the answer to both.
            if row.repeated.contains(&number) {
                return Err(AppendError::KeyUsed);
            }
            if row.known.contains(&number) {
                return Ok(Appended);
            }
            if row.conflicted.contains(&number) {
                return Err(AppendError::VersionConflict);
            }
            for event in &append.events {
                seq += 1;
                events.push(event.stored(seq, append.aggregate_id, Some(committed_at)));
            }
            Ok(Appended)
        })
        .collect();
    WrittenBatch { head: row.head, outcomes, events }
}

impl NewEvent {
    pub(super) fn stored(
        &self,
        seq: i64,
        aggregate_id: AggregateId,
        committed_at: Option<Instant>,
    ) -> StoredEvent {
        StoredEvent {
            seq,
            event_id: self.event_id,
            aggregate_id,
            version: self.version,
            event_type: self.event_type.to_owned(),
            payload: self.payload.clone(),
            metadata: self.metadata.clone(),
            occurred_at: self.occurred_at,
            committed_at,
        }
    }
}
