//! `orders events`

use std::process::ExitCode;

use anyhow::ensure;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use comfy_table::Table;
use engine::aggregate::AggregateId;
use engine::journal::StoredEvent;
use engine::publisher::outbox::PublicationProgress;
use kit::cli::table;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::OutputArgs;
use super::database;
use crate::config::Postgres;

#[derive(Args)]
pub struct Events {
    /// The order
    order_id: Uuid,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Serialize)]
struct EventsReport {
    order_id: Uuid,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    seq: i64,
    event_id: Uuid,
    event_type: String,
    version: i64,
    occurred_at: DateTime<Utc>,
    publication: &'static str,
    data: Box<RawValue>,
    metadata: Box<RawValue>,
}

impl Events {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let journal = database::open(&self.database).await?;
        let history = journal.reader.history(AggregateId(self.order_id), i64::MAX).await?;
        ensure!(!history.is_empty(), "there is no order {}", self.order_id);
        let progress = journal.outbox.publication_progress().await?;
        let events =
            history.into_iter().map(|event| Event::of(event, &progress)).collect::<Result<_, _>>()?;
        self.output.write(&EventsReport { order_id: self.order_id, events }, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Event {
    fn of(stored: StoredEvent, progress: &PublicationProgress) -> serde_json::Result<Self> {
        Ok(Self {
            seq: stored.seq,
            event_id: stored.event_id,
            event_type: stored.event_type,
            version: stored.version,
            occurred_at: stored.occurred_at,
            publication: progress.stage(stored.seq),
            data: RawValue::from_string(stored.payload)?,
            metadata: RawValue::from_string(stored.metadata)?,
        })
    }
}

fn text(report: &EventsReport) -> Table {
    let mut table = table(["position", "version", "event", "occurred at", "publication", "event id"]);
    for event in &report.events {
        table.add_row([
            event.seq.to_string(),
            event.version.to_string(),
            event.event_type.clone(),
            event.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            event.publication.to_owned(),
            event.event_id.to_string(),
        ]);
    }
    table
}
