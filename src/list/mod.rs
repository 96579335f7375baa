//! The list of orders: a projection that follows the journal with its own cursor, off the write path.
//!
//! - Events and cursor move in one transaction, so each event is applied once.
//! - Any instance may take a step. The row lock of the cursor decides which one does.
//! - An event that this version does not know leaves its order's status as it was. Other orders are not affected.
//! - [`rebuild`] derives it anew from the journal, beside the one that is read, and puts right what differs.
//! - The list may be behind, by [`OrderList::lag`] events. A single order is always read from its events.

mod place;
pub mod rebuild;
mod step;
mod table;

use chrono::{DateTime, Utc};
use engine::journal::{ReadError, Reader};
use engine::projection::{Projection, Step};
use sqlx::FromRow;
use uuid::Uuid;

pub use self::place::Place;
use self::table::Table;
use crate::order::Status;

#[derive(Debug, Clone, FromRow)]
pub struct ListedOrder {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub status: String,
    pub currency: String,
    pub items: String,
    pub total_minor: i64,
    pub version: i64,
    pub created_seq: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl ListedOrder {
    pub fn place(&self) -> Place {
        Place { created_at: self.created_at, created_seq: self.created_seq }
    }
}

/// Which orders, and which page of them.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub customer_id: Option<Uuid>,
    pub status: Option<Status>,
    /// Created then or later.
    pub created_from: Option<DateTime<Utc>>,
    /// Created earlier than that.
    pub created_before: Option<DateTime<Utc>>,
    /// Only orders behind this place.
    pub behind: Option<Place>,
    pub limit: i64,
}

#[derive(Clone)]
pub struct OrderList {
    reader: Reader,
}

impl OrderList {
    pub fn new(reader: Reader) -> Self {
        Self { reader }
    }

    pub async fn page(&self, query: ListQuery) -> Result<Vec<ListedOrder>, ReadError> {
        let select = sqlx::query_as(include_str!("sql/list.sql"))
            .bind(query.customer_id)
            .bind(query.status.map(Status::as_str))
            .bind(query.created_from)
            .bind(query.created_before)
            .bind(query.behind.map(|place| place.created_at))
            .bind(query.behind.map(|place| place.created_seq))
            .bind(query.limit)
            // Planned for its parameters each time: a plan for any parameters can use no index but one.
            .persistent(false);
        self.reader.run(async move |mut connection| Ok(select.fetch_all(&mut *connection).await?)).await
    }

    /// Events in the journal that the list does not show yet.
    pub async fn lag(&self) -> Result<i64, ReadError> {
        self.reader
            .run(async move |mut connection| {
                Ok(sqlx::query_scalar(include_str!("sql/lag.sql")).fetch_one(&mut *connection).await?)
            })
            .await
    }
}

impl Projection for OrderList {
    async fn step(&self) -> Result<Step, ReadError> {
        self.reader
            .run(
                async move |mut connection| Ok(step::catch_up(&mut connection, Table::Live, i64::MAX).await?),
            )
            .await
    }
}
