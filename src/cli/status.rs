//! `orders outbox status`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use comfy_table::Table;
use engine::fallback::ScheduledRetry;
use engine::publisher::outbox::LeaseSession;
use kit::cli::{counted, table};
use serde::Serialize;

use super::OutputArgs;
use super::database;
use crate::config::{Postgres, Retry};

#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    retry: Retry,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Serialize)]
struct StatusReport {
    pending: i64,
    oldest_pending_age_seconds: f64,
    published_seq: i64,
    head_seq: i64,
    quarantined_orders: i64,
    quarantined_events: i64,
    /// They wait because their partition takes nothing while others do; part of `pending`.
    deferred_events: i64,
    publisher: Option<LeaseHolder>,
    /// Whether any instance of the service is connected to this database.
    service_is_connected: bool,
    retry: Option<ScheduledRetry>,
    /// Why nothing is known of a retry.
    retry_unknown: Option<String>,
}

/// The session that holds the lease.
#[derive(Serialize)]
pub(super) struct LeaseHolder {
    pid: i32,
    application: String,
    address: Option<String>,
    connected_at: Option<DateTime<Utc>>,
}

impl LeaseHolder {
    pub(super) fn of(lease: LeaseSession) -> Option<Self> {
        let LeaseSession { pid, application_name, address, connected_at } = lease;
        Some(Self { pid: pid?, application: application_name.unwrap_or_default(), address, connected_at })
    }

    pub(super) fn describe(&self) -> String {
        let Self { pid, application, address, .. } = self;
        let address = address.as_deref().unwrap_or("a local socket");
        format!("{application} at {address} (Postgres session {pid})")
    }
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let journal = database::open(&self.database).await?;
        let numbers = journal.outbox.numbers().await?;
        let sessions = journal.outbox.sessions(crate::app::SESSIONS).await?;
        let (retry, retry_unknown) = match self.retry.fallback()?.pending().await {
            Ok(retry) => (retry, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let report = StatusReport {
            pending: numbers.pending,
            oldest_pending_age_seconds: numbers.oldest_pending_age().as_secs_f64(),
            published_seq: numbers.published_seq,
            head_seq: numbers.head_seq,
            quarantined_orders: numbers.quarantined,
            quarantined_events: numbers.quarantined_events,
            deferred_events: numbers.deferred_events,
            publisher: LeaseHolder::of(sessions.lease),
            service_is_connected: sessions.service_sessions > 0,
            retry,
            retry_unknown,
        };
        self.output.write(&report, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(report: &StatusReport) -> Table {
    let publisher = match &report.publisher {
        Some(holder) => holder.describe(),
        None if report.service_is_connected => "nobody at the moment; the service is connected".to_owned(),
        None => "nobody; no instance of the service is connected".to_owned(),
    };
    let retry = match (&report.retry, &report.retry_unknown) {
        (Some(retry), _) => format!("attempt {}, due {}", retry.attempt, retry.due_at),
        (None, Some(unknown)) => format!("unknown: {unknown}"),
        (None, None) => "none".to_owned(),
    };
    let mut table = table(["outbox", ""]);
    table.add_row(["pending".to_owned(), counted(report.pending, "event")]);
    if report.oldest_pending_age_seconds > 0.0 {
        let age = format!("waits for {:.1} s", report.oldest_pending_age_seconds);
        table.add_row(["oldest".to_owned(), age]);
    }
    let of = format!("up to position {} of {}", report.published_seq, report.head_seq);
    table.add_row(["published".to_owned(), of]);
    let set_aside = format!(
        "{} of {}",
        counted(report.quarantined_events, "event"),
        counted(report.quarantined_orders, "order")
    );
    table.add_row(["quarantined".to_owned(), set_aside]);
    if report.deferred_events > 0 {
        let deferred =
            format!("{} of partitions that take nothing", counted(report.deferred_events, "event"));
        table.add_row(["deferred".to_owned(), deferred]);
    }
    table.add_row(["publisher".to_owned(), publisher]);
    table.add_row(["retry".to_owned(), retry]);
    table
}
