//! Accounts derived anew from the ledger alone, while crediting goes on: by the policy in force, or by another one, which is put in
//! force first.
//!
//! A step is one transaction over a bounded number of accounts and ledger rows, in the order of the customers. It locks these accounts
//! as a credit does, derives them, writes what differs, and appends to the outbox what customers gain and lose by that, compared with
//! what they were told last: of an account that was lost or damaged nobody was told. So whoever credits waits for one step at most.
//!
//! From the moment at which a policy is in force, credits and sweeps work by it. They derive an account that is by another one in their
//! own transaction. So an account changes once, whoever comes first. Each account says by which policy it is, and nothing else has to be
//! remembered: a rebuild that was interrupted is continued by the next one, and two at once share the work.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use engine::journal::Appender;
use serde::Serialize;
use sqlx::{Connection, FromRow, PgConnection};
use uuid::Uuid;

use crate::changes::{self, AccountChange};
use crate::error::LedgerError;
use crate::policy::{Grade, Policy};
use crate::standing::Standing;

/// Most accounts in a step, and ledger rows unless one account has more: some fifty milliseconds.
pub const STEP_ACCOUNTS_MAX: i64 = 500;
const STEP_ENTRIES_MAX: i64 = 10_000;

/// What is rebuilt, and how.
#[derive(Debug, Clone, Copy)]
pub struct Rebuild {
    pub policy: &'static Policy,
    /// Only accounts that are by another policy; else all, and the customers whose account is missing.
    pub behind_only: bool,
    /// Change nothing. The policy need not be in force.
    pub dry: bool,
}

/// The result of a step.
#[derive(Debug)]
pub struct Step {
    /// Where the next one begins; `None`: this was the last one.
    pub next_at: Option<Uuid>,
    /// Accounts that were looked at.
    pub accounts: i64,
    /// Those that were something else.
    pub differences: Vec<Difference>,
}

/// An account before and after. Absent values: there was no account before, or there are no ledger rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub customer_id: Uuid,
    pub policy_before: Option<i16>,
    pub points_before: Option<i64>,
    pub points_after: Option<i64>,
    pub events_before: Option<i64>,
    pub events_after: Option<i64>,
    pub grade_before: Option<Grade>,
    pub grade_after: Option<Grade>,
    pub vip_before: Option<bool>,
    pub vip_after: Option<bool>,
    /// By what was published.
    #[serde(skip)]
    told: Standing,
}

impl Difference {
    /// What the customer gains and loses, beyond what was told. Without ledger rows there is no account to tell of.
    pub fn changes(&self) -> impl Iterator<Item = AccountChange> + use<> {
        let after = self.points_after.map(|_| Standing {
            grade: self.grade_after.unwrap_or(Grade::Bronze),
            vip: self.vip_after.unwrap_or_default(),
        });
        changes::of_account(self.customer_id, self.told, after.unwrap_or(self.told))
    }
}

/// Parallel arrays, one element an account that was something else.
#[derive(FromRow)]
struct StepRow {
    next_at: Option<Uuid>,
    looked_at: i64,
    different: Vec<Uuid>,
    policy_before: Vec<Option<i16>>,
    points_before: Vec<Option<i64>>,
    points_after: Vec<Option<i64>>,
    events_before: Vec<Option<i64>>,
    events_after: Vec<Option<i64>>,
    grade_before: Vec<Option<i32>>,
    grade_after: Vec<Option<i32>>,
    vip_before: Vec<Option<bool>>,
    vip_after: Vec<Option<bool>>,
}

impl StepRow {
    fn differences(&self, told: &BTreeMap<Uuid, Standing>) -> Vec<Difference> {
        fn at<T: Copy>(values: &[Option<T>], place: usize) -> Option<T> {
            values.get(place).copied().flatten()
        }
        let difference = |(place, customer_id): (usize, &Uuid)| Difference {
            customer_id: *customer_id,
            policy_before: at(&self.policy_before, place),
            points_before: at(&self.points_before, place),
            points_after: at(&self.points_after, place),
            events_before: at(&self.events_before, place),
            events_after: at(&self.events_after, place),
            grade_before: at(&self.grade_before, place).map(Grade::ranked),
            grade_after: at(&self.grade_after, place).map(Grade::ranked),
            vip_before: at(&self.vip_before, place),
            vip_after: at(&self.vip_after, place),
            told: told.get(customer_id).copied().unwrap_or(Standing::LOWEST),
        };
        self.different.iter().enumerate().map(difference).collect()
    }
}

impl Rebuild {
    /// `accounts_max` accounts from `begin_at` on, fewer if they have many ledger rows. `as_of`: the moment for which VIP is decided; `None`: the server's
    /// clock.
    pub async fn step(
        &self,
        connection: &mut PgConnection,
        appender: &Appender,
        begin_at: Uuid,
        accounts_max: i64,
        as_of: Option<DateTime<Utc>>,
    ) -> Result<Step, LedgerError> {
        let begin = if self.dry { "BEGIN READ ONLY" } else { "BEGIN" };
        let mut transaction = connection.begin_with(begin).await?;
        let row: StepRow = sqlx::query_as(include_str!("sql/rebuild_accounts.sql"))
            .bind(self.policy.version)
            .bind(begin_at)
            .bind(self.behind_only)
            .bind(self.dry)
            .bind(accounts_max)
            .bind(STEP_ENTRIES_MAX)
            .bind(as_of)
            .fetch_one(&mut *transaction)
            .await?;
        // The accounts are locked: what was told of them stays the last.
        let told = changes::told(&mut transaction, &row.different).await?;
        let differences = row.differences(&told);
        if self.dry {
            transaction.rollback().await?;
        } else {
            let changes: Vec<AccountChange> = differences.iter().flat_map(Difference::changes).collect();
            let now = as_of.unwrap_or_else(Utc::now);
            let recorded = changes::record(&mut transaction, appender, &changes, now).await?;
            transaction.commit().await?;
            appender.committed(recorded);
        }
        Ok(Step { next_at: row.next_at, accounts: row.looked_at, differences })
    }
}

/// The version of the policy in force, which may be one that is not known here.
pub async fn in_force(connection: &mut PgConnection) -> Result<i16, LedgerError> {
    Ok(sqlx::query_scalar("SELECT policy_version_in_force()").fetch_one(connection).await?)
}

/// How many accounts there are.
#[derive(Debug, FromRow)]
pub struct Accounts {
    pub all: i64,
    /// Of these: by another policy.
    pub behind: i64,
}

pub async fn accounts(connection: &mut PgConnection, policy: &Policy) -> Result<Accounts, LedgerError> {
    let count = sqlx::query_as(include_str!("sql/count_accounts.sql")).bind(policy.version);
    Ok(count.fetch_one(connection).await?)
}

/// Credits and sweeps work by it from now on. Returns the version that was in force.
pub async fn put_in_force(connection: &mut PgConnection, policy: &Policy) -> Result<i16, LedgerError> {
    let put = sqlx::query_scalar(include_str!("sql/put_policy_in_force.sql")).bind(policy.version);
    Ok(put.fetch_one(connection).await?)
}
