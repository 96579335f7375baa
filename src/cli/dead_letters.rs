//! `orders dead-letters`: the quarantine. Rows in Postgres, which the publisher reads with its next heartbeat; without one they wait.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use comfy_table::Table;
use engine::aggregate::AggregateId;
use engine::publisher::discard::{self, DiscardOutcome};
use engine::publisher::outbox::OutboxReader;
use kit::cli::{confirm, counted, table};
use kit::settings::Postgres;
use serde::Serialize;
use uuid::Uuid;

use super::OutputArgs;
use super::database;
use crate::order::{InvalidValue, ShortText};
use crate::quarantine::{DiscardedEvent, QuarantinedOrder};

/// Most orders that are released by one `retry --all`.
const RETRIED_MAX: i64 = 10_000;

#[derive(Subcommand)]
pub enum DeadLetters {
    /// List the quarantined orders, the oldest first
    List(List),
    /// Send an order's waiting events again, in order, once the cause is mended
    Retry(Retry),
    /// Give up an order's first waiting event, the refused one, and send the rest
    ///
    /// The event stays in the journal, and is never published. It is named by its position, which `list` shows, so that a discard
    /// that is repeated changes nothing. Who gave it up and why is kept.
    Discard(Discard),
}

#[derive(Args)]
pub struct List {
    /// Most orders to list
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub struct Retry {
    /// The orders
    #[arg(required_unless_present = "all", value_name = "ORDER_ID")]
    order_ids: Vec<Uuid>,
    /// Every quarantined order
    #[arg(long, conflicts_with = "order_ids")]
    all: bool,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub struct Discard {
    /// The order
    order_id: Uuid,
    /// Position of the event: the order's first waiting one
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    seq: i64,
    /// Why it is given up
    #[arg(long, value_parser = text_of)]
    reason: String,
    /// Who gives it up; the user of this process if the environment tells it
    #[arg(long, env = "USER", value_parser = text_of)]
    by: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct ListReport {
    orders: Vec<QuarantinedOrder>,
}

#[derive(Serialize)]
struct RetryReport {
    released: Vec<Uuid>,
    not_quarantined: Vec<Uuid>,
}

#[derive(Serialize)]
struct DiscardReport {
    /// It had been given up before.
    repeated: bool,
    #[serde(flatten)]
    event: DiscardedEvent,
}

/// As the interface takes it.
fn text_of(text: &str) -> Result<String, InvalidValue> {
    ShortText::parse(text).map(|text| text.as_str().to_owned())
}

impl DeadLetters {
    pub(super) fn output(&self) -> &OutputArgs {
        match self {
            Self::List(list) => &list.output,
            Self::Retry(retry) => &retry.output,
            Self::Discard(discard) => &discard.output,
        }
    }

    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.run().await,
            Self::Retry(retry) => retry.run().await,
            Self::Discard(discard) => discard.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = database::open(&self.database).await?.outbox;
        let orders = outbox.quarantine(self.limit).await?.into_iter().map(QuarantinedOrder::from).collect();
        self.output.write(&ListReport { orders }, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(listed: &ListReport) -> Table {
    let mut table = table(["order", "events", "first position", "since", "released", "refused because"]);
    for order in &listed.orders {
        table.add_row([
            order.order_id.to_string(),
            order.waiting_events.to_string(),
            order.first_waiting_seq.map_or("-".to_owned(), |seq| seq.to_string()),
            order.since.to_string(),
            order.released_at.map_or("no".to_owned(), |at| at.to_string()),
            order.error.clone(),
        ]);
    }
    table
}

impl Retry {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = database::open(&self.database).await?.outbox;
        let order_ids = if self.all { quarantined(&outbox).await? } else { self.order_ids };
        let (mut released, mut not_quarantined) = (Vec::new(), Vec::new());
        for order_id in order_ids {
            match outbox.release(AggregateId(order_id)).await? {
                true => released.push(order_id),
                false => not_quarantined.push(order_id),
            }
        }
        let complete = not_quarantined.is_empty();
        self.output.write(&RetryReport { released, not_quarantined }, |retried| {
            let released = counted(retried.released.len(), "order");
            let known = format!("{released} released: the publisher sends the waiting events.");
            let unknown = retried.not_quarantined.iter().map(|id| format!("\nNot quarantined: {id}"));
            known + &unknown.collect::<String>()
        })?;
        Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn quarantined(outbox: &OutboxReader) -> anyhow::Result<Vec<Uuid>> {
    let orders = outbox.quarantine(RETRIED_MAX).await?;
    Ok(orders.into_iter().map(|order| order.aggregate_id.0).collect())
}

impl Discard {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = database::open(&self.database).await?.outbox;
        let (order_id, seq) = (self.order_id, self.seq);
        let question =
            format!("Give up the event at position {seq} of order {order_id}? It is never published.");
        if let Some(code) = confirm::refused("orders", &question, self.yes)? {
            return Ok(code);
        }
        let discard = discard::Discard {
            aggregate_id: AggregateId(order_id),
            seq,
            discarded_by: self.by,
            reason: self.reason,
        };
        let (repeated, event) = match outbox.discard(discard).await? {
            DiscardOutcome::Discarded(event) => (false, event),
            DiscardOutcome::Repeated(event) => (true, event),
            DiscardOutcome::NotDiscarded(reason) => bail!("order {order_id}: {reason}"),
        };
        self.output.write(
            &DiscardReport { repeated, event: event.into() },
            |DiscardReport { repeated, event }| {
                let DiscardedEvent { seq, discarded_at, discarded_by, .. } = event;
                if *repeated {
                    return format!(
                        "{discarded_by} gave up the event at position {seq} already, at {discarded_at}."
                    );
                }
                format!("The event at position {seq} is given up; the publisher sends the rest of the order.")
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}
