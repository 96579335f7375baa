//! `bonus rebuild`: computes every account again from the ledger, which is authoritative.

use anyhow::Context;
use clap::Args;
use kit::cli::{counted, table};
use serde::Serialize;
use sqlx::{Connection, FromRow, PgConnection};
use uuid::Uuid;

use super::OutputArgs;
use crate::config::Database;
use crate::{database, policy};

/// Most accounts in the table; the JSON document has all.
const ROWS_MAX: usize = 50;

#[derive(Args)]
pub struct Rebuild {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Serialize)]
struct RebuildReport {
    /// Accounts there are now.
    accounts: i64,
    /// Accounts that differed from the sum of their ledger rows. They are corrected now.
    differences: Vec<Difference>,
}

/// Absent values: there was no account before, or there are no ledger rows.
#[derive(Serialize, FromRow)]
struct Difference {
    customer_id: Uuid,
    points_before: Option<i64>,
    points_after: Option<i64>,
    events_before: Option<i64>,
    events_after: Option<i64>,
    vip_before: Option<bool>,
    vip_after: Option<bool>,
}

impl Rebuild {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let place = self.database.place();
        let mut connection = database::connect_patiently(&self.database)
            .await
            .with_context(|| format!("{place} cannot be reached"))?;
        let report = rebuild(&mut connection).await.with_context(|| {
            format!("the accounts in the schema {} of {place} were left as they are", self.database.db_schema)
        })?;
        self.output.write(&report, text)
    }
}

async fn rebuild(connection: &mut PgConnection) -> sqlx::Result<RebuildReport> {
    let mut transaction = connection.begin().await?;
    // Waits for a batch that is being credited, and makes the next one wait, so that the statement sees a consistent ledger and
    // accounts.
    sqlx::raw_sql("LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let differences = sqlx::query_as(include_str!("../sql/rebuild_accounts.sql"))
        .bind(policy::CURRENT.vip_points)
        .bind(policy::CURRENT.vip_window)
        .fetch_all(&mut *transaction)
        .await?;
    let accounts = sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(RebuildReport { accounts, differences })
}

fn text(report: &RebuildReport) -> String {
    let (accounts, differences) = (counted(report.accounts, "account"), &report.differences);
    if differences.is_empty() {
        return format!("{accounts}: every one is what its ledger rows come to.");
    }
    let number = |value: Option<i64>| value.map_or("no account".to_owned(), |value| value.to_string());
    let vip = |value: Option<bool>| match value {
        Some(true) => "VIP",
        Some(false) => "",
        None => "no account",
    };
    let mut table = table([
        "customer",
        "points before",
        "points now",
        "events before",
        "events now",
        "VIP before",
        "VIP now",
    ]);
    for difference in differences.iter().take(ROWS_MAX) {
        table.add_row([
            difference.customer_id.to_string(),
            number(difference.points_before),
            number(difference.points_after),
            number(difference.events_before),
            number(difference.events_after),
            vip(difference.vip_before).to_owned(),
            vip(difference.vip_after).to_owned(),
        ]);
    }
    let more = differences.len().saturating_sub(ROWS_MAX);
    let more = if more > 0 { format!("\n… and {more} more: see --json") } else { String::new() };
    format!("{accounts}; {} not what the ledger rows came to, until now:\n{table}{more}", differences.len())
}
