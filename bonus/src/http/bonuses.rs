//! Accounts and their ledger. Read only: points come from events alone.

use actix_web::web;
use chrono::{DateTime, Datelike, Utc};
use kit::http::{Caller, DATABASE_UNAVAILABLE, FOREIGN_CUSTOMER, INVALID_FIELDS, Problem, STOPPING};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::problem::{ACCOUNT_NOT_FOUND, account_not_found};
use crate::account::{self, Account, Entry, Place};
use crate::error::LedgerError;
use crate::points::Valued;
use crate::policy::{self, Grade};

const PAGE_ENTRIES_DEFAULT: i64 = 50;
const PAGE_ENTRIES_MAX: i64 = 200;

/// A customer's standing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "customer_id": "5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10", "points": 280, "grade": "Silver",
    "next_grade": { "grade": "Gold", "points": 300 }, "vip": true, "vip_until": "2026-02-07T16:20:09.998113Z", "policy_version": 1,
    "credited_events": 4, "opened_at": "2026-01-05T09:30:00.130211Z", "updated_at": "2026-01-08T16:20:10.004417Z"
}))]
pub struct Bonus {
    pub customer_id: Uuid,
    /// Lifetime points: all that was given, less what cancellations took back.
    pub points: i64,
    pub grade: Grade,
    /// `null`: there is no higher one.
    pub next_grade: Option<NextGrade>,
    /// Whether the customer is VIP now: by the points of the events of the policy's last days.
    pub vip: bool,
    /// When that ends unless more points come; `null`: the customer is not VIP.
    pub vip_until: Option<DateTime<Utc>>,
    /// The rules by which points, grade and VIP are. Others may have been put in force, and the account not yet be derived by them.
    #[schema(minimum = 1)]
    pub policy_version: i16,
    /// Events that have changed this account.
    #[schema(minimum = 1)]
    pub credited_events: i64,
    pub opened_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The grade above.
#[derive(Debug, Serialize, ToSchema)]
pub struct NextGrade {
    pub grade: Grade,
    /// Lifetime points from which on it holds.
    #[schema(minimum = 1)]
    pub points: i64,
}

/// Why an entry has the points that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Given for an order that was created.
    OrderCreated,
    /// Given for an order that was completed.
    OrderCompleted,
    /// Taken back, because the order was cancelled: what its entries below this version had given.
    OrderCancelled,
    /// The order was cancelled, and none of its entries had given points.
    NothingToTakeBack,
    /// Booked by another version of the service.
    Unknown,
}

/// One event's effect on an account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "event_id": "0197f3a2-6c1e-7d41-8a00-000000000001", "event_type": "OrderCreated",
    "order_id": "0197f3a2-6c1e-7d40-9b52-3f0a8c7e1d01", "version": 1, "points": 40,
    "reason": "order_created", "policy_version": 1,
    "occurred_at": "2026-01-05T09:30:00.123456Z", "booked_at": "2026-01-05T09:30:00.130211Z"
}))]
pub struct LedgerEntry {
    pub event_id: Uuid,
    pub event_type: String,
    pub order_id: Uuid,
    /// The event's place in its order's history.
    #[schema(minimum = 1)]
    pub version: i64,
    /// Negative when points were taken back.
    pub points: i64,
    pub reason: Reason,
    /// The rules by which the points are: the account's.
    #[schema(minimum = 1)]
    pub policy_version: i16,
    pub occurred_at: DateTime<Utc>,
    pub booked_at: DateTime<Utc>,
}

/// By the time of the events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerPage {
    pub customer_id: Uuid,
    pub entries: Vec<LedgerEntry>,
    /// Pass it as `cursor` to read on; `null` on the last page.
    #[schema(
        example = "1767605400123456-1042",
        pattern = "^(0|-[1-9][0-9]{0,15}|[1-9][0-9]{0,16})-[1-9][0-9]{0,17}$"
    )]
    pub next_cursor: Option<String>,
}

/// In the order of their versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderLedger {
    pub order_id: Uuid,
    pub entries: Vec<LedgerEntry>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// `next_cursor` of the page before; without it the newest entries.
    #[param(
        nullable = false,
        example = "1767605400123456-1042",
        pattern = "^(0|-[1-9][0-9]{0,15}|[1-9][0-9]{0,16})-[1-9][0-9]{0,17}$"
    )]
    cursor: Option<String>,
    /// Most entries to return.
    #[param(nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

impl PageQuery {
    /// The entry to start below, and how many.
    fn parse(&self) -> Result<(Option<Place>, i64), Problem> {
        let refused = || Problem::invalid_field("cursor", "must be the next_cursor of an earlier page");
        let before = match self.cursor.as_deref() {
            None => None,
            Some(cursor) => Some(place(cursor).ok_or_else(refused)?),
        };
        let entries_max = self.limit.unwrap_or(PAGE_ENTRIES_DEFAULT);
        if !(1..=PAGE_ENTRIES_MAX).contains(&entries_max) {
            let message = format!("must be between 1 and {PAGE_ENTRIES_MAX}, was {entries_max}");
            return Err(Problem::invalid_field("limit", message));
        }
        Ok((before, entries_max))
    }
}

/// `next_cursor`: the last entry's time in microseconds and its number.
fn cursor(last: &Entry) -> String {
    format!("{}-{}", last.occurred_at.timestamp_micros(), last.entry_no)
}

fn place(cursor: &str) -> Option<Place> {
    let (microseconds, entry_no) = cursor.rsplit_once('-')?;
    let occurred_at = DateTime::from_timestamp_micros(microseconds.parse().ok()?)?;
    let entry_no = entry_no.parse().ok()?;
    // What no event can have, Postgres may not be able to read.
    ((1..=9999).contains(&occurred_at.year()) && entry_no > 0).then_some(Place { occurred_at, entry_no })
}

kit::problems!(pub ReadProblems: FOREIGN_CUSTOMER, ACCOUNT_NOT_FOUND, DATABASE_UNAVAILABLE, STOPPING);
kit::problems!(pub LedgerProblems: FOREIGN_CUSTOMER, INVALID_FIELDS, ACCOUNT_NOT_FOUND, DATABASE_UNAVAILABLE, STOPPING);
kit::problems!(pub OrderProblems: DATABASE_UNAVAILABLE, STOPPING);

/// A customer's points, grade and VIP status.
#[utoipa::path(
    get, path = "/api/bonuses/{customer_id}", tag = "bonuses", operation_id = "read_account",
    params(("customer_id" = Uuid, Path, description = "The customer", example = "5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10")),
    responses((status = 200, description = "The account", body = Bonus), ReadProblems)
)]
pub async fn read(
    state: web::Data<State>,
    caller: Caller,
    customer_id: web::Path<Uuid>,
) -> Result<web::Json<Bonus>, Problem> {
    caller.may_ask_for(*customer_id)?;
    Ok(web::Json(account(&state, *customer_id).await?.try_into()?))
}

/// What a customer's points are made of.
#[utoipa::path(
    get, path = "/api/bonuses/{customer_id}/ledger", tag = "bonuses", operation_id = "read_ledger",
    params(
        ("customer_id" = Uuid, Path, description = "The customer", example = "5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10"),
        PageQuery,
    ),
    responses((status = 200, description = "A page of the ledger, newest first", body = LedgerPage), LedgerProblems)
)]
pub async fn ledger(
    state: web::Data<State>,
    caller: Caller,
    customer_id: web::Path<Uuid>,
    page: web::Query<PageQuery>,
) -> Result<web::Json<LedgerPage>, Problem> {
    let customer_id = *customer_id;
    caller.may_ask_for(customer_id)?;
    let (before, entries_max) = page.parse()?;
    // One more than asked for tells whether there is another page.
    let mut entries = account::ledger_page(&state.pool, customer_id, before, entries_max + 1).await?;
    if entries.is_empty() {
        // Past the end of a ledger is an empty page; no ledger at all is a 404.
        account(&state, customer_id).await?;
    }
    let page_entries = usize::try_from(entries_max).unwrap_or(usize::MAX);
    let more = entries.len() > page_entries;
    entries.truncate(page_entries);
    let next_cursor = entries.last().filter(|_| more).map(cursor);
    let entries = entries.into_iter().map(LedgerEntry::from).collect();
    Ok(web::Json(LedgerPage { customer_id, entries, next_cursor }))
}

/// Which events of an order are booked, and what they came to.
///
/// Empty when none is: events without value are never booked, and others may not have arrived yet.
#[utoipa::path(
    get, path = "/api/orders/{order_id}/ledger", tag = "bonuses", operation_id = "read_order_ledger",
    params(("order_id" = Uuid, Path, description = "The order", example = "0197f3a2-6c1e-7d40-9b52-3f0a8c7e1d01")),
    responses((status = 200, description = "The order's entries", body = OrderLedger), OrderProblems)
)]
pub async fn order_ledger(
    state: web::Data<State>,
    order_id: web::Path<Uuid>,
) -> Result<web::Json<OrderLedger>, Problem> {
    let entries = account::order_ledger(&state.pool, *order_id).await?;
    let entries = entries.into_iter().map(LedgerEntry::from).collect();
    Ok(web::Json(OrderLedger { order_id: *order_id, entries }))
}

async fn account(state: &State, customer_id: Uuid) -> Result<Account, Problem> {
    let account = account::read(&state.pool, customer_id).await?;
    account.ok_or_else(|| account_not_found(customer_id))
}

impl TryFrom<Account> for Bonus {
    type Error = LedgerError;

    fn try_from(account: Account) -> Result<Self, LedgerError> {
        let Account {
            customer_id,
            points,
            vip_until,
            policy_version,
            credited_events,
            opened_at,
            updated_at,
        } = account;
        let policy = policy::of_version(policy_version).ok_or(LedgerError::UnknownPolicy(policy_version))?;
        Ok(Self {
            customer_id,
            points,
            grade: policy.grade(points),
            next_grade: policy.next_grade(points).map(|(grade, points)| NextGrade { grade, points }),
            vip: vip_until.is_some(),
            vip_until,
            policy_version,
            credited_events,
            opened_at,
            updated_at,
        })
    }
}

impl Reason {
    fn of(entry: &Entry) -> Self {
        match Valued::parse(&entry.event_type) {
            Some(Valued::Created) => Self::OrderCreated,
            Some(Valued::Completed) => Self::OrderCompleted,
            Some(Valued::Cancelled) if entry.points == 0 => Self::NothingToTakeBack,
            Some(Valued::Cancelled) => Self::OrderCancelled,
            None => Self::Unknown,
        }
    }
}

impl From<Entry> for LedgerEntry {
    fn from(entry: Entry) -> Self {
        let reason = Reason::of(&entry);
        Self {
            event_id: entry.event_id,
            event_type: entry.event_type,
            order_id: entry.order_id,
            version: entry.version,
            points: entry.points,
            reason,
            policy_version: entry.policy_version,
            occurred_at: entry.occurred_at,
            booked_at: entry.booked_at,
        }
    }
}
