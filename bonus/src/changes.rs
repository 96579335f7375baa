//! What customers have gained and lost, as the database tells it after a credit or a sweep.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use engine::aggregate::AggregateId;
use engine::journal::{Appender, NotAppended, Uncommitted};
use sqlx::{FromRow, Postgres, Transaction};
use tracing::debug;
use uuid::Uuid;

use crate::customer_event::{CustomerEvent, CustomerEventData};
use crate::policy::Policy;
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
    points_before: Vec<i64>,
    points_after: Vec<i64>,
    vip_before: Vec<bool>,
    vip_after: Vec<bool>,
}

impl Standings {
    pub fn changes(self, policy: &Policy) -> Vec<AccountChange> {
        let standing = |(points, vip)| Standing { grade: policy.grade(points), vip };
        let before = self.points_before.into_iter().zip(self.vip_before).map(standing);
        let after = self.points_after.into_iter().zip(self.vip_after).map(standing);
        let accounts = self.changed.into_iter().zip(before.zip(after));
        let changes = accounts.flat_map(|(customer_id, (before, after))| {
            let changes = standing::changes(before, after).into_iter();
            changes.map(move |change| AccountChange { customer_id, change })
        });
        changes.collect()
    }
}

/// An account after its change.
#[derive(FromRow)]
struct ChangedAccount {
    customer_id: Uuid,
    points: i64,
    /// Of a VIP whose status was just looked at: until when it lasts.
    vip_review_at: Option<DateTime<Utc>>,
}

/// Appends an event for each change, to be published, in the transaction that has made them. It holds the locks of these accounts, and
/// takes no further lock after this. After the commit [`Appender::committed`] is to be told.
pub async fn record(
    transaction: &mut Transaction<'_, Postgres>,
    appender: &Appender,
    policy: &Policy,
    changes: &[AccountChange],
    now: DateTime<Utc>,
) -> Result<Uncommitted, NotAppended> {
    let events = match changes {
        [] => Vec::new(),
        changes => events(transaction, policy, changes).await?,
    };
    appender.append(transaction, now, events).await
}

async fn events(
    transaction: &mut Transaction<'_, Postgres>,
    policy: &Policy,
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
        Some((AggregateId(*customer_id), CustomerEvent { policy: policy.version, data }))
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
