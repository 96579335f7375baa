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

/// The newest `entries_max` entries with a number below `before`.
pub async fn ledger_page(
    pool: &Pool,
    customer_id: Uuid,
    before: i64,
    entries_max: i64,
) -> Result<Vec<Entry>, LedgerError> {
    pool.run(async move |mut connection| {
        let read = sqlx::query_as(include_str!("sql/read_ledger_page.sql"));
        let read = read.bind(customer_id).bind(before).bind(entries_max);
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

/// All accounts taken together.
#[derive(Debug, FromRow)]
pub struct Totals {
    pub accounts: i64,
    pub points: i64,
    pub credited_events: i64,
}

pub async fn totals(pool: &Pool) -> Result<Totals, LedgerError> {
    pool.run(async move |mut connection| {
        Ok(sqlx::query_as(include_str!("sql/read_totals.sql")).fetch_one(&mut *connection).await?)
    })
    .await
}
