//! The quarantine: rows in Postgres, which the publisher reads with its next heartbeat; without one they wait.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use comfy_table::Table;
use engine::aggregate::AggregateId;
use engine::publisher::discard::{self, DiscardOutcome};
use engine::publisher::outbox::OutboxReader;
use kit::cli::{confirm, counted, table};
use kit::value::{InvalidValue, ShortText};
use serde::Serialize;
use uuid::Uuid;

use super::{OutputArgs, Service};
use crate::view::{DiscardedEvent, QuarantinedAggregate, Worded};

/// Most that are released by one `release --all`.
const RELEASED_MAX: i64 = 10_000;

#[derive(Subcommand)]
pub enum Quarantine<S: Service> {
    /// List them, the longest waiting first
    List(List<S>),
    /// Send the waiting events again, in order, once the cause is mended
    #[command(alias = "retry")]
    Release(Release<S>),
    /// Give up the first waiting event, the refused one, and send the rest
    ///
    /// The event stays in the journal, and is never published. It is named by its position, which `list` shows, so that a discard
    /// that is repeated changes nothing. Who gave it up and why is kept.
    Discard(Discard<S>),
}

#[derive(Args)]
pub struct List<S: Service> {
    /// Most to list
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    database: S::Database,
    #[command(flatten)]
    output: OutputArgs<S>,
}

#[derive(Args)]
pub struct Release<S: Service> {
    /// Whose events
    #[arg(required_unless_present = "all", value_name = "ID")]
    ids: Vec<Uuid>,
    /// All that are listed
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    database: S::Database,
    #[command(flatten)]
    output: OutputArgs<S>,
}

#[derive(Args)]
pub struct Discard<S: Service> {
    /// Whose event
    id: Uuid,
    /// Position of the event: the first waiting one
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
    database: S::Database,
    #[command(flatten)]
    output: OutputArgs<S>,
}

/// As the interface takes it.
fn text_of(text: &str) -> Result<String, InvalidValue> {
    ShortText::parse(text).map(ShortText::into_string)
}

/// Under the name of what they are: `orders`.
#[derive(Serialize)]
#[serde(transparent)]
struct ListReport(BTreeMap<&'static str, Vec<Worded<QuarantinedAggregate>>>);

#[derive(Serialize)]
struct ReleaseReport {
    released: Vec<Uuid>,
    not_quarantined: Vec<Uuid>,
}

#[derive(Serialize)]
struct DiscardReport {
    /// It had been given up before.
    repeated: bool,
    #[serde(flatten)]
    event: Worded<DiscardedEvent>,
}

async fn open<S: Service>(database: &S::Database) -> anyhow::Result<OutboxReader> {
    Ok(OutboxReader::new(S::open(database).await?))
}

impl<S: Service> Quarantine<S> {
    pub fn output(&self) -> &OutputArgs<S> {
        match self {
            Self::List(list) => &list.output,
            Self::Release(release) => &release.output,
            Self::Discard(discard) => &discard.output,
        }
    }

    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.run().await,
            Self::Release(release) => release.run().await,
            Self::Discard(discard) => discard.run().await,
        }
    }
}

impl<S: Service> List<S> {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = open::<S>(&self.database).await?;
        let name = outbox.name();
        let listed = outbox.quarantine(self.limit).await?;
        let listed = listed.into_iter().map(|of| Worded::new(name, of)).collect();
        let report = ListReport(BTreeMap::from([(name.many, listed)]));
        self.output.write(&report, |ListReport(listed)| text(name.one, listed.values().flatten()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text<'a>(one: &str, listed: impl Iterator<Item = &'a Worded<QuarantinedAggregate>>) -> Table {
    let mut table = table([one, "events", "first position", "since", "released", "refused because"]);
    for Worded { view, .. } in listed {
        table.add_row([
            view.aggregate_id.to_string(),
            view.waiting_events.to_string(),
            view.first_waiting_seq.map_or("-".to_owned(), |seq| seq.to_string()),
            view.since.to_string(),
            view.released_at.map_or("no".to_owned(), |at| at.to_string()),
            view.error.clone(),
        ]);
    }
    table
}

impl<S: Service> Release<S> {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = open::<S>(&self.database).await?;
        let ids = if self.all { quarantined(&outbox).await? } else { self.ids };
        let (mut released, mut not_quarantined) = (Vec::new(), Vec::new());
        for id in ids {
            match outbox.release(AggregateId(id)).await? {
                true => released.push(id),
                false => not_quarantined.push(id),
            }
        }
        let complete = not_quarantined.is_empty();
        self.output.write(&ReleaseReport { released, not_quarantined }, |report| {
            let released = counted(report.released.len(), outbox.name().one);
            let known = format!("{released} released: the publisher sends the waiting events.");
            let unknown = report.not_quarantined.iter().map(|id| format!("\nNot quarantined: {id}"));
            known + &unknown.collect::<String>()
        })?;
        Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn quarantined(outbox: &OutboxReader) -> anyhow::Result<Vec<Uuid>> {
    let listed = outbox.quarantine(RELEASED_MAX).await?;
    Ok(listed.into_iter().map(|of| of.aggregate_id.0).collect())
}

impl<S: Service> Discard<S> {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let outbox = open::<S>(&self.database).await?;
        let (id, seq, name) = (self.id, self.seq, outbox.name());
        let one = name.one;
        let question = format!("Give up the event at position {seq} of {one} {id}? It is never published.");
        if let Some(code) = confirm::refused(S::PROGRAM, &question, self.yes)? {
            return Ok(code);
        }
        let discard = discard::Discard {
            aggregate_id: AggregateId(id),
            seq,
            discarded_by: self.by,
            reason: self.reason,
        };
        let (repeated, event) = match outbox.discard(discard).await? {
            DiscardOutcome::Discarded(event) => (false, event),
            DiscardOutcome::Repeated(event) => (true, event),
            DiscardOutcome::NotDiscarded(reason) => bail!("{one} {id}: {reason}"),
        };
        let report = DiscardReport { repeated, event: Worded::new(name, event) };
        self.output.write(&report, |DiscardReport { repeated, event }| {
            let DiscardedEvent { seq, discarded_at, discarded_by, .. } = &event.view;
            if *repeated {
                return format!(
                    "{discarded_by} gave up the event at position {seq} already, at {discarded_at}."
                );
            }
            format!("The event at position {seq} is given up; the publisher sends the rest of the {one}'s.")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
