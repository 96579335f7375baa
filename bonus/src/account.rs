//! Reading accounts and the ledger, for the HTTP interface.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::postgres::PgPool;
use uuid::Uuid;

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

pub async fn read(pool: &PgPool, customer_id: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as(include_str!("sql/read_account.sql")).bind(customer_id).fetch_optional(pool).await
}

/// The newest `entries_max` entries with a number below `before`.
pub async fn ledger_page(
    pool: &PgPool,
    customer_id: Uuid,
    before: i64,
    entries_max: i64,
) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(include_str!("sql/read_ledger_page.sql"))
        .bind(customer_id)
        .bind(before)
        .bind(entries_max)
        .fetch_all(pool)
        .await
}

/// What is booked of one order. Its events are few: an order has a handful of steps.
pub async fn order_ledger(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(include_str!("sql/read_order_ledger.sql")).bind(order_id).fetch_all(pool).await
}

/// All accounts taken together.
#[derive(Debug, FromRow)]
pub struct Totals {
    pub accounts: i64,
    pub points: i64,
    pub credited_events: i64,
}

pub async fn totals(pool: &PgPool) -> sqlx::Result<Totals> {
    sqlx::query_as(include_str!("sql/read_totals.sql")).fetch_one(pool).await
}
