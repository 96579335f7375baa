//! The list of orders.

use std::ops::RangeInclusive;

use actix_web::web::{Data, Json, Query};
use chrono::Datelike;
use kit::auth::Scope;
use kit::http::{
    Caller, DATABASE_UNAVAILABLE, FOREIGN_CUSTOMER, INTERNAL, INVALID_FIELDS, Problem, STOPPING,
};

use super::Services;
use super::dto::{ListOrders, OrderPage, OrderView};
use super::orders::unprintable;
use super::problem::of_read;
use crate::list::{ListQuery, Place};

const PAGE_MAX: i64 = 200;
const PAGE_DEFAULT: i64 = 50;
/// Times that both RFC 3339 and Postgres have.
const YEARS: RangeInclusive<i32> = 1..=9999;

kit::problems!(
    pub(super) ListProblems: FOREIGN_CUSTOMER, INVALID_FIELDS, INTERNAL, DATABASE_UNAVAILABLE, STOPPING
);

/// List orders, newest first.
#[utoipa::path(get, path = "/api/orders", tag = "orders", operation_id = "list_orders", params(ListOrders),
    responses((status = 200, description = "A page", body = OrderPage), ListProblems))]
pub(super) async fn list(
    services: Data<Services>,
    caller: Caller,
    query: Query<ListOrders>,
) -> Result<Json<OrderPage>, Problem> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("must be between 1 and {PAGE_MAX}, was {limit}");
        return Err(Problem::invalid_field("limit", message));
    }
    for (name, time) in [("created_from", query.created_from), ("created_before", query.created_before)] {
        if let Some(time) = time.filter(|time| !YEARS.contains(&time.year())) {
            return Err(Problem::invalid_field(name, format!("must be in the years 1 to 9999, was {time}")));
        }
    }
    let behind = match query.cursor.as_deref().map(str::parse::<Place>) {
        None => None,
        Some(Ok(place)) => Some(place),
        Some(Err(_)) => {
            return Err(Problem::invalid_field("cursor", "must be the next_cursor of an earlier page"));
        }
    };
    let own = match caller.scope {
        Scope::All => None,
        Scope::Customer(own) => Some(own),
    };
    if let Some(customer_id) = query.customer_id {
        caller.may_ask_for(customer_id)?;
    }
    // The lag first: what is appended between the two reads may be in the page, never missing unannounced.
    let lag_events = services.list.lag().await.map_err(of_read)?;
    let ListOrders { customer_id, status, created_from, created_before, .. } = *query;
    let customer_id = customer_id.or(own);
    // One more than asked for tells whether there is a next page.
    let page = ListQuery { customer_id, status, created_from, created_before, behind, limit: limit + 1 };
    let mut rows = services.list.page(page).await.map_err(of_read)?;
    let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = rows.last().filter(|_| more).map(|last| last.place().to_string());
    let orders = rows.into_iter().map(OrderView::of_row).collect::<Result<_, _>>().map_err(unprintable)?;
    Ok(Json(OrderPage { orders, next_cursor, lag_events }))
}
