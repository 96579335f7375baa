//! Reading accounts and the ledger, for the HTTP interface.

use chrono::{DateTime, Utc};
use kit::postgres::Pool;
use sqlx::FromRow;
use uuid::Uuid;

use crate::error::LedgerError;

#[derive(Debug, FromRow)]
pub struct Account {
    pub customer_id: Uuid,
    pub points: i64,
    /// `None`: not VIP at the moment of reading.
    pub vip_until: Option<DateTime<Utc>>,
    /// By which policy all this is.
    pub policy_version: i16,
    pub credited_events: i64,
    pub opened_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
pub struct Entry {
    pub entry_no: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub order_id: Uuid,
    pub version: i64,
    pub points: i64,
    pub policy_version: i16,
    pub occurred_at: DateTime<Utc>,
    pub booked_at: DateTime<Utc>,
}

pub async fn read(pool: &Pool, customer_id: Uuid) -> Result<Option<Account>, LedgerError> {
    pool.run(async move |mut connection| {
        let read = sqlx::query_as(include_str!("sql/read_account.sql")).bind(customer_id);
        Ok(read.fetch_optional(&mut *connection).await?)
    })
    .await
}

/// Where a page begins: below this entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub occurred_at: DateTime<Utc>,
    pub entry_no: i64,
}

/// The newest `entries_max` entries, those below `before`.
pub async fn ledger_page(
    pool: &Pool,
    customer_id: Uuid,
    before: Option<Place>,
    entries_max: i64,
) -> Result<Vec<Entry>, LedgerError> {
    pool.run(async move |mut connection| {
        let read = sqlx::query_as(include_str!("sql/read_ledger_page.sql"));
        let read = read.bind(customer_id).bind(before.map(|place| place.occurred_at));
        let read = read.bind(before.map_or(0, |place| place.entry_no)).bind(entries_max);
        Ok(read.fetch_all(&mut *connection).await?)
    })
    .await
}

/// What is booked of one order. Its events are few: an order has a handful of steps.
pub async fn order_ledger(pool: &Pool, order_id: Uuid) -> Result<Vec<Entry>, LedgerError> {
    pool.run(async move |mut connection| {
        let read = sqlx::query_as(include_str!("sql/read_order_ledger.sql")).bind(order_id);
        Ok(read.fetch_all(&mut *connection).await?)
    })
    .await
}

/// What a customer has gained or lost.
#[derive(Debug, FromRow)]
pub struct LatestChange {
    pub customer_id: Uuid,
    pub event_type: String,
    /// Of a grade: which.
    pub grade: Option<String>,
    pub occurred_at: DateTime<Utc>,
}

/// The last changes of all customers, the newest first.
pub async fn latest_changes(pool: &Pool, changes_max: i64) -> Result<Vec<LatestChange>, LedgerError> {
    pool.run(async move |mut connection| {
        let read = sqlx::query_as(include_str!("sql/read_latest_changes.sql")).bind(changes_max);
        Ok(read.fetch_all(&mut *connection).await?)
    })
    .await
}

/// All accounts taken together.
#[derive(Debug, FromRow)]
pub struct Totals {
    pub accounts: i64,
    pub points: i64,
    pub credited_events: i64,
    /// Accounts of each grade, each by its policy.
    pub bronze: i64,
    pub silver: i64,
    pub gold: i64,
    pub platinum: i64,
    /// As of the last credit or sweep.
    pub vip: i64,
}

pub async fn totals(pool: &Pool) -> Result<Totals, LedgerError> {
    pool.run(async move |mut connection| {
        let read = sqlx::query_as(include_str!("sql/read_totals.sql"));
        Ok(read.fetch_one(&mut *connection).await?)
    })
    .await
}
