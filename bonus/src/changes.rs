//! What customers have gained and lost, as the database tells it after a credit, a sweep or a rebuild.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use engine::aggregate::AggregateId;
use engine::journal::{Appender, NotAppended, Uncommitted};
use sqlx::{FromRow, Postgres, Transaction};
use tracing::debug;
use uuid::Uuid;

use crate::customer_event::{CustomerEvent, CustomerEventData};
use crate::policy::Grade;
use crate::standing::{self, Standing, StandingChange};
use crate::telemetry::metric;

/// One change of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountChange {
    pub customer_id: Uuid,
    pub change: StandingChange,
}

/// Accounts before and after a transaction. Parallel arrays, one element an account.
#[derive(FromRow)]
pub struct Standings {
    changed: Vec<Uuid>,
    /// As numbers of bounds reached: before the change perhaps those of another policy.
    grade_before: Vec<i32>,
    grade_after: Vec<i32>,
    vip_before: Vec<bool>,
    vip_after: Vec<bool>,
}

impl Standings {
    pub fn changes(self) -> Vec<AccountChange> {
        let standing = |(rank, vip)| Standing { grade: Grade::ranked(rank), vip };
        let before = self.grade_before.into_iter().zip(self.vip_before).map(standing);
        let after = self.grade_after.into_iter().zip(self.vip_after).map(standing);
        let accounts = self.changed.into_iter().zip(before.zip(after));
        accounts.flat_map(|(customer_id, (before, after))| of_account(customer_id, before, after)).collect()
    }
}

/// The changes of one account, in the order in which they are passed.
pub fn of_account(
    customer_id: Uuid,
    before: Standing,
    after: Standing,
) -> impl Iterator<Item = AccountChange> {
    standing::changes(before, after).into_iter().map(move |change| AccountChange { customer_id, change })
}

/// The last event of a customer about grades, or about VIP.
#[derive(FromRow)]
struct Told {
    customer_id: Uuid,
    event_type: String,
    grade: Option<String>,
}

/// What these customers were told of their standing, by the events that are published. An account may have been damaged since; nobody
/// was told of that.
pub async fn told(
    transaction: &mut Transaction<'_, Postgres>,
    customers: &[Uuid],
) -> Result<BTreeMap<Uuid, Standing>, sqlx::Error> {
    let last: Vec<Told> = sqlx::query_as(include_str!("sql/read_told_standings.sql"))
        .bind(customers)
        .fetch_all(&mut **transaction)
        .await?;
    let mut told: BTreeMap<Uuid, Standing> = BTreeMap::new();
    for Told { customer_id, event_type, grade } in last {
        let standing = told.entry(customer_id).or_insert(Standing::LOWEST);
        let grade = grade.as_deref().and_then(Grade::named);
        match (event_type.as_str(), grade) {
            ("GradeAttained", Some(grade)) => standing.grade = grade,
            ("GradeLost", Some(grade)) => standing.grade = grade.below(),
            ("VipAcquired", _) => standing.vip = true,
            _ => {}
        }
    }
    Ok(told)
}

/// An account after its change.
#[derive(FromRow)]
struct ChangedAccount {
    customer_id: Uuid,
    points: i64,
    /// By which the change was decided.
    policy_version: i16,
    /// Of a VIP whose status was just looked at: until when it lasts.
    vip_review_at: Option<DateTime<Utc>>,
}

/// Appends an event for each change, to be published, in the transaction that has made them. It holds the locks of these accounts, and
/// takes no further lock after this. After the commit [`Appender::committed`] is to be told.
pub async fn record(
    transaction: &mut Transaction<'_, Postgres>,
    appender: &Appender,
    changes: &[AccountChange],
    now: DateTime<Utc>,
) -> Result<Uncommitted, NotAppended> {
    let events = match changes {
        [] => Vec::new(),
        changes => events(transaction, changes).await?,
    };
    appender.append(transaction, now, events).await
}

async fn events(
    transaction: &mut Transaction<'_, Postgres>,
    changes: &[AccountChange],
) -> Result<Vec<(AggregateId, CustomerEvent)>, sqlx::Error> {
    let customers: Vec<Uuid> = changes.iter().map(|change| change.customer_id).collect();
    let accounts: Vec<ChangedAccount> = sqlx::query_as(include_str!("sql/read_changed_accounts.sql"))
        .bind(customers)
        .fetch_all(&mut **transaction)
        .await?;
    let accounts: BTreeMap<Uuid, ChangedAccount> =
        accounts.into_iter().map(|account| (account.customer_id, account)).collect();
    let event = |AccountChange { customer_id, change }: &AccountChange| {
        let account = accounts.get(customer_id)?;
        let data = CustomerEventData::of(*change, account.points, account.vip_review_at)?;
        Some((AggregateId(*customer_id), CustomerEvent { policy: account.policy_version, data }))
    };
    changes.iter().map(|change| event(change).ok_or(sqlx::Error::RowNotFound)).collect()
}

/// Counts the changes. A line for each is a matter of `RUST_LOG=bonus=debug`: under load there are many.
pub fn report(changes: &[AccountChange]) {
    for AccountChange { customer_id, change } in changes {
        metric::standing_change(change.name());
        debug!(customer.id = %customer_id, ?change, "A customer's standing has changed");
    }
}
