//! `bonus quarantine`: customers one of whose events the message queue refuses. Rows in Postgres, which the publisher reads with its next
//! heartbeat; without one they wait.

use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use comfy_table::Table;
use engine::aggregate::AggregateId;
use engine::publisher::discard::{self, DiscardOutcome, DiscardedEvent};
use engine::publisher::outbox::{OutboxReader, QuarantinedAggregate};
use kit::cli::{confirm, counted, table};
use kit::settings::not_blank;
use serde::Serialize;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::OutputArgs;
use crate::config::Database;
use crate::{database, outbox};

/// Most customers that are released by one `release --all`.
const RELEASED_MAX: i64 = 10_000;

#[derive(Subcommand)]
pub enum Quarantine {
    /// List the customers, the longest waiting first
    List(List),
    /// Send a customer's waiting events again, in order, once the cause is mended
    Release(Release),
    /// Give up a customer's first waiting event, the refused one, and send the rest
    ///
    /// The event stays in the journal, and is never published. It is named by its position, which `list` shows, so that a discard
    /// that is repeated changes nothing. Who gave it up and why is kept.
    Discard(Discard),
}

#[derive(Args)]
pub struct List {
    /// Most customers to list
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub struct Release {
    /// The customers
    #[arg(required_unless_present = "all", value_name = "CUSTOMER_ID")]
    customer_ids: Vec<Uuid>,
    /// Every customer that is listed
    #[arg(long, conflicts_with = "customer_ids")]
    all: bool,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub struct Discard {
    /// The customer
    customer_id: Uuid,
    /// Position of the event: the customer's first waiting one
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    seq: i64,
    /// Why it is given up
    #[arg(long, value_parser = not_blank)]
    reason: String,
    /// Who gives it up; the user of this process if the environment tells it
    #[arg(long, env = "USER", value_parser = not_blank)]
    by: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct ListReport {
    customers: Vec<QuarantinedCustomer>,
}

#[derive(Serialize)]
struct QuarantinedCustomer {
    customer_id: Uuid,
    /// Why the message queue refused the first of the waiting events.
    error: String,
    since: DateTime<Utc>,
    /// Their events are on their way.
    released_at: Option<DateTime<Utc>>,
    waiting_events: i64,
    first_waiting_seq: Option<i64>,
}

impl From<QuarantinedAggregate> for QuarantinedCustomer {
    fn from(of: QuarantinedAggregate) -> Self {
        let QuarantinedAggregate { error, since, released_at, waiting_events, first_waiting_seq, .. } = of;
        let customer_id = of.aggregate_id.0;
        Self { customer_id, error, since, released_at, waiting_events, first_waiting_seq }
    }
}

#[derive(Serialize)]
struct ReleaseReport {
    released: Vec<Uuid>,
    not_quarantined: Vec<Uuid>,
}

#[derive(Serialize)]
struct DiscardReport {
    /// It had been given up before.
    repeated: bool,
    customer_id: Uuid,
    seq: i64,
    discarded_at: DateTime<Utc>,
    discarded_by: String,
    reason: String,
    /// Why the message queue had refused it.
    error: String,
}

fn opened(database: &Database) -> OutboxReader {
    outbox::reader(database::pool(database, 1, Handle::current()))
}

impl Quarantine {
    pub(super) fn output(&self) -> &OutputArgs {
        match self {
            Self::List(list) => &list.output,
            Self::Release(release) => &release.output,
            Self::Discard(discard) => &discard.output,
        }
    }

    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.run().await,
            Self::Release(release) => release.run().await,
            Self::Discard(discard) => discard.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let listed = opened(&self.database).quarantine(self.limit).await;
        let listed = listed.with_context(|| self.database.place())?;
        let customers = listed.into_iter().map(QuarantinedCustomer::from).collect();
        self.output.write(&ListReport { customers }, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(listed: &ListReport) -> Table {
    let mut table = table(["customer", "events", "first position", "since", "released", "refused because"]);
    for customer in &listed.customers {
        table.add_row([
            customer.customer_id.to_string(),
            customer.waiting_events.to_string(),
            customer.first_waiting_seq.map_or("-".to_owned(), |seq| seq.to_string()),
            customer.since.to_string(),
            customer.released_at.map_or("no".to_owned(), |at| at.to_string()),
            customer.error.clone(),
        ]);
    }
    table
}

impl Release {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = opened(&self.database);
        let mut customer_ids = self.customer_ids;
        if self.all {
            let listed = outbox.quarantine(RELEASED_MAX).await.with_context(|| self.database.place())?;
            customer_ids = listed.into_iter().map(|customer| customer.aggregate_id.0).collect();
        }
        let mut report = ReleaseReport { released: Vec::new(), not_quarantined: Vec::new() };
        for customer_id in customer_ids {
            let released = outbox.release(AggregateId(customer_id)).await;
            match released.with_context(|| self.database.place())? {
                true => report.released.push(customer_id),
                false => report.not_quarantined.push(customer_id),
            }
        }
        self.output.write(&report, |ReleaseReport { released, not_quarantined }| {
            let released = counted(released.len(), "customer");
            let unknown = not_quarantined.iter().map(|id| format!("\nNot quarantined: {id}"));
            format!(
                "{released} released: the publisher sends the waiting events.{}",
                unknown.collect::<String>()
            )
        })?;
        Ok(if report.not_quarantined.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Discard {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let (customer_id, seq) = (self.customer_id, self.seq);
        let question =
            format!("Give up the event at position {seq} of customer {customer_id}? It is never published.");
        if let Some(code) = confirm::refused("bonus", &question, self.yes)? {
            return Ok(code);
        }
        let aggregate_id = AggregateId(customer_id);
        let discard = discard::Discard { aggregate_id, seq, discarded_by: self.by, reason: self.reason };
        let outcome = opened(&self.database).discard(discard).await;
        let (repeated, event) = match outcome.with_context(|| self.database.place())? {
            DiscardOutcome::Discarded(event) => (false, event),
            DiscardOutcome::Repeated(event) => (true, event),
            DiscardOutcome::NotDiscarded(reason) => bail!("customer {customer_id}: {reason}"),
        };
        let DiscardedEvent { discarded_at, discarded_by, reason, error, .. } = event;
        let report = DiscardReport { repeated, customer_id, seq, discarded_at, discarded_by, reason, error };
        self.output.write(
            &report,
            |DiscardReport { repeated, seq, discarded_at, discarded_by, .. }| {
                if *repeated {
                    return format!(
                        "{discarded_by} gave up the event at position {seq} already, at {discarded_at}."
                    );
                }
                format!(
                    "The event at position {seq} is given up; the publisher sends the rest of the customer's."
                )
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}
