//! `orders rebuild`: derives a read model anew from the journal.

use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use kit::cli::{Progress, counted};
use kit::postgres::Purpose;
use serde::Serialize;

use super::OutputArgs;
use super::database::SESSIONS;
use crate::config::Postgres;
use crate::list::rebuild::{Rebuilt, rebuild};

#[derive(Subcommand)]
pub enum Rebuild {
    /// The list of orders
    ///
    /// Derives it beside the one that is read, by the same steps, while the service runs; then puts right what differs, in one
    /// transaction. Commands and readers do not wait. If it is interrupted, the next rebuild continues it.
    List(RebuildList),
}

#[derive(Args)]
pub struct RebuildList {
    /// Begin with the first event, even if an earlier rebuild was interrupted. Needed if the journal has lost events since
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct RebuildReport {
    /// Orders in the list.
    orders: i64,
    /// The last position of the journal that it shows.
    projected_seq: i64,
    /// Where an interrupted rebuild was continued; absent if there was none.
    resumed_from: Option<i64>,
    /// Orders that the list lacked.
    added: i64,
    /// Orders that the list had and the journal has not.
    removed: i64,
    /// Orders that the list had in another form.
    corrected: i64,
    /// Events that this version does not know.
    unknown_events: i64,
}

impl Rebuild {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.run().await,
        }
    }

    pub(super) fn output(&self) -> &OutputArgs {
        match self {
            Self::List(list) => &list.output,
        }
    }
}

impl RebuildList {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let database = self.database.sessions();
        let place = database.place();
        let connector = database.connector(SESSIONS, Purpose::Unbounded);
        let connected = connector.connect().await;
        let mut connection = connected.with_context(|| format!("{place} cannot be reached"))?;
        let there: bool = sqlx::query_scalar("SELECT to_regclass('order_summary_rebuilt') IS NOT NULL")
            .fetch_one(&mut connection)
            .await?;
        ensure!(
            there,
            "{place} has no tables of this version of the order service: is DATABASE_URL right? `orders migrate` makes them"
        );
        let mut progress = Progress::new("events applied");
        let rebuilt = rebuild(&mut connection, self.restart, |done, of| progress.show(done, of)).await;
        drop(progress);
        let rebuilt = rebuilt.context("the list is as it was")?;
        self.output.write(&RebuildReport::from(rebuilt), text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl From<Rebuilt> for RebuildReport {
    fn from(rebuilt: Rebuilt) -> Self {
        let Rebuilt { orders, projected_seq, resumed_from, added, removed, corrected, unknown_events } =
            rebuilt;
        Self { orders, projected_seq, resumed_from, added, removed, corrected, unknown_events }
    }
}

fn text(report: &RebuildReport) -> String {
    let RebuildReport { orders, projected_seq, resumed_from, added, removed, corrected, unknown_events } =
        report;
    let found = match (added, removed, corrected) {
        (0, 0, 0) => "the list was what the journal says".to_owned(),
        _ => format!("put right: {added} missing, {removed} that the journal has not, {corrected} different"),
    };
    let mut text = format!("{} up to position {projected_seq}; {found}.", counted(*orders, "order"));
    if let Some(from) = resumed_from {
        text += &format!("\nContinued at position {from}, where an earlier rebuild had been interrupted.");
    }
    if *unknown_events > 0 {
        let events = counted(*unknown_events, "event");
        text += &format!(
            "\n{events} passed over: this version does not know them. Rebuild with the newest version that runs."
        );
    }
    text
}
