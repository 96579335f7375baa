//! `bonus rebuild`: derives every account anew from the ledger, which is authoritative.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::Args;
use kit::cli::{Progress, counted, table};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::OutputArgs;
use crate::config::Database;
use crate::error::LedgerError;
use crate::policy::{self, Grade, Policy};
use crate::rebuild::{Difference, Rebuild, STEP_ACCOUNTS_MAX, accounts, in_force, put_in_force};
use crate::{database, outbox};

/// Most accounts in the table, and in the JSON document: memory, some 20 MB.
const ROWS_MAX: usize = 50;
const DIFFERENCES_MAX: usize = 100_000;

#[derive(Args)]
pub struct RebuildArgs {
    /// Put this version of the policy in force, and derive every account anew by it. Credits work by it from then on
    #[arg(long, value_name = "VERSION", value_parser = parse_policy)]
    policy: Option<&'static Policy>,

    /// Tell what would change, and change nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

fn parse_policy(version: &str) -> Result<&'static Policy, String> {
    let known = version.parse().ok().and_then(policy::of_version);
    known.ok_or_else(|| {
        let known: Vec<String> = policy::ALL.iter().map(ToString::to_string).collect();
        format!("there is no such policy; this version knows {}", known.join(" and "))
    })
}

#[derive(Serialize)]
struct RebuildReport {
    /// Nothing was changed: what is said of accounts would have happened.
    dry_run: bool,
    /// By which policy accounts were derived.
    policy: i16,
    /// The policy that was in force before.
    policy_before: i16,
    /// Accounts that there were.
    accounts: i64,
    /// How many of them were by another policy.
    behind: i64,
    /// Accounts that this run has derived. With `--policy`: those that were by another one, but for what credits and sweeps have derived
    /// meanwhile.
    derived: i64,
    /// How many of them were something else.
    different: usize,
    /// What customers have gained and lost by that.
    changes: BTreeMap<&'static str, u64>,
    /// Those that were something else, in the order of the customers; the first 100,000.
    differences: Vec<Difference>,
}

impl RebuildArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let place = self.database.place();
        let mut connection = database::connect_patiently(&self.database)
            .await
            .with_context(|| format!("{place} cannot be reached"))?;
        let schema = &self.database.db_schema;
        let mut report = self.begin(&mut connection).await.with_context(|| {
            format!("the accounts in the schema {schema} of {place} were left as they are")
        })?;
        self.rebuild(&mut connection, &mut report).await.with_context(|| {
            let derived = counted(report.derived, "account");
            format!("{derived} in the schema {schema} of {place} are done; the same command does the rest")
        })?;
        match self.policy {
            Some(policy) => self.output.write(&report, |report| text_of_policy(report, policy)),
            None => self.output.write(&report, text),
        }
    }

    async fn begin(&self, connection: &mut PgConnection) -> anyhow::Result<RebuildReport> {
        let version = in_force(connection).await?;
        let policy = match self.policy {
            Some(policy) => policy,
            None => policy::of_version(version).ok_or(LedgerError::UnknownPolicy(version))?,
        };
        let policy_before = match self.policy {
            Some(policy) if !self.dry_run => put_in_force(connection, policy).await?,
            _ => version,
        };
        let accounts = accounts(connection, policy).await?;
        Ok(RebuildReport {
            dry_run: self.dry_run,
            policy: policy.version,
            policy_before,
            accounts: accounts.all,
            behind: accounts.behind,
            derived: 0,
            different: 0,
            changes: ["grade_attained", "grade_lost", "vip_acquired", "vip_lost"]
                .map(|name| (name, 0))
                .into(),
            differences: Vec::new(),
        })
    }

    /// Step by step, from the first customer to the last. Customers that appear meanwhile are by the policy in force.
    async fn rebuild(
        &self,
        connection: &mut PgConnection,
        report: &mut RebuildReport,
    ) -> Result<(), LedgerError> {
        let policy = policy::of_version(report.policy).ok_or(LedgerError::UnknownPolicy(report.policy))?;
        let rebuild = Rebuild { policy, behind_only: self.policy.is_some(), dry: self.dry_run };
        let appender = outbox::appender();
        let mut progress = Progress::new("accounts derived");
        let of = if rebuild.behind_only { report.behind } else { report.accounts };
        let mut begin_at = Some(Uuid::nil());
        while let Some(at) = begin_at {
            let step = rebuild.step(connection, &appender, at, STEP_ACCOUNTS_MAX, None).await?;
            report.derived += step.accounts;
            report.add(step.differences);
            begin_at = step.next_at;
            progress.show(report.derived, of.max(report.derived));
        }
        Ok(())
    }
}

impl RebuildReport {
    fn add(&mut self, differences: Vec<Difference>) {
        self.different += differences.len();
        for change in differences.iter().flat_map(Difference::changes) {
            *self.changes.entry(change.change.name()).or_default() += 1;
        }
        let room = DIFFERENCES_MAX.saturating_sub(self.differences.len());
        self.differences.extend(differences.into_iter().take(room));
    }
}

fn text(report: &RebuildReport) -> String {
    let accounts = counted(report.derived, "account");
    match (report.different, report.dry_run) {
        (0, _) => format!("{accounts}: every one is what its ledger rows come to."),
        (different, true) => format!(
            "Dry run, nothing was changed. {accounts}; {different} not what the ledger rows come to:\n{}",
            shown(report)
        ),
        (different, false) => {
            format!("{accounts}; {different} not what the ledger rows came to, until now:\n{}", shown(report))
        }
    }
}

fn text_of_policy(report: &RebuildReport, policy: &Policy) -> String {
    let RebuildReport { accounts, derived, changes, .. } = report;
    let number = |name: &str| changes.get(name).copied().unwrap_or_default();
    let gained_and_lost = format!(
        "grades attained {}, lost {}; VIP acquired {}, lost {}",
        number("grade_attained"),
        number("grade_lost"),
        number("vip_acquired"),
        number("vip_lost")
    );
    let accounts = counted(*accounts, "account");
    let head = match report.dry_run {
        true => format!(
            "Dry run, nothing was changed: policy {} is in force. By policy {policy}, of {accounts} {derived} would be derived anew: \
             {gained_and_lost}.",
            report.policy_before
        ),
        false => format!(
            "Policy {policy} is in force. Of {accounts} {derived} were derived anew: {gained_and_lost}."
        ),
    };
    match report.different {
        0 => head,
        _ => format!("{head}\n{}", shown(report)),
    }
}

/// The differences as a table.
fn shown(report: &RebuildReport) -> String {
    let number = |value: Option<i64>| value.map_or("no account".to_owned(), |value| value.to_string());
    let grade = |value: Option<Grade>| value.map_or(String::new(), |grade| format!("{grade:?}"));
    let vip = |value: Option<bool>| if value == Some(true) { "VIP" } else { "" };
    let mut table = table([
        "customer",
        "points before",
        "points after",
        "events before",
        "events after",
        "grade before",
        "grade after",
        "VIP before",
        "VIP after",
    ]);
    for difference in report.differences.iter().take(ROWS_MAX) {
        table.add_row([
            difference.customer_id.to_string(),
            number(difference.points_before),
            number(difference.points_after),
            number(difference.events_before),
            number(difference.events_after),
            grade(difference.grade_before),
            grade(difference.grade_after),
            vip(difference.vip_before).to_owned(),
            vip(difference.vip_after).to_owned(),
        ]);
    }
    let more = report.different.saturating_sub(ROWS_MAX);
    let more = if more > 0 { format!("\n… and {more} more: see --json") } else { String::new() };
    format!("{table}{more}")
}
