//! The whole service in a few numbers, for those who look on.

use actix_web::web;
use chrono::{DateTime, Utc};
use kit::http::{DATABASE_UNAVAILABLE, Problem, STOPPING};
use kit::schema;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use uuid::Uuid;

use super::State;
use crate::account::{self, LatestChange, Totals};
use crate::health::{ConsumerState, MqState};

/// Most changes shown.
const CHANGES_MAX: i64 = 10;

/// What has been credited in all, and how far behind the topic this process is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "accounts": 12, "points": 1480, "credited_events": 31,
    "grades": { "bronze": 5, "silver": 6, "gold": 1, "platinum": 0 }, "vip": 2, "lag_messages": 0, "consumer": "running", "kafka": "connected",
    "latest_changes": [{
        "customer_id": "5b0c2f64-3f5e-4a57-9d0e-8a2f6f1c7b10", "event_type": "GradeAttained", "grade": "silver",
        "occurred_at": "2026-01-05T09:40:00.123456Z"
    }]
}))]
pub struct Summary {
    #[schema(minimum = 0)]
    pub accounts: i64,
    /// Sum over all accounts.
    pub points: i64,
    /// Events that have changed an account.
    #[schema(minimum = 0)]
    pub credited_events: i64,
    /// Accounts of each grade, each account by its policy.
    pub grades: Grades,
    /// Accounts that are VIP, as of the last credit or sweep.
    #[schema(minimum = 0)]
    pub vip: i64,
    /// Messages in this process's partitions that are not yet acknowledged, as last heard. From Redis: those of all processes.
    #[schema(minimum = 0)]
    pub lag_messages: i64,
    pub consumer: ConsumerState,
    /// Present when messages come from Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kafka: Option<MqState>,
    /// Present when messages come from Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub redis: Option<MqState>,
    /// What customers have gained and lost last, the newest first.
    #[schema(max_items = 10)]
    pub latest_changes: Vec<Change>,
}

/// A change of a customer's standing, as it is published.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    pub customer_id: Uuid,
    #[schema(schema_with = event_type)]
    pub event_type: String,
    /// Which grade; absent where it is VIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = grade)]
    pub grade: Option<String>,
    pub occurred_at: DateTime<Utc>,
}

fn event_type() -> Object {
    schema::one_of(&["GradeAttained", "GradeLost", "VipAcquired", "VipLost"])
}

fn grade() -> Object {
    schema::one_of(&["bronze", "silver", "gold", "platinum"])
}

impl From<LatestChange> for Change {
    fn from(LatestChange { customer_id, event_type, grade, occurred_at }: LatestChange) -> Self {
        Self { customer_id, event_type, grade, occurred_at }
    }
}

/// How many accounts have each grade.
#[derive(Debug, Serialize, ToSchema)]
pub struct Grades {
    #[schema(minimum = 0)]
    pub bronze: i64,
    #[schema(minimum = 0)]
    pub silver: i64,
    #[schema(minimum = 0)]
    pub gold: i64,
    #[schema(minimum = 0)]
    pub platinum: i64,
}

kit::problems!(pub SummaryProblems: DATABASE_UNAVAILABLE, STOPPING);

/// Accounts and points in all, and the consumer's lag.
#[utoipa::path(
    get, path = "/api/summary", tag = "operations", operation_id = "read_summary",
    responses((status = 200, description = "The numbers", body = Summary), SummaryProblems)
)]
pub async fn read(state: web::Data<State>) -> Result<web::Json<Summary>, Problem> {
    let totals = account::totals(&state.pool).await?;
    let latest = account::latest_changes(&state.pool, CHANGES_MAX).await?;
    let Totals { accounts, points, credited_events, bronze, silver, gold, platinum, vip } = totals;
    let health = state.health.get();
    Ok(web::Json(Summary {
        accounts,
        points,
        credited_events,
        grades: Grades { bronze, silver, gold, platinum },
        vip,
        lag_messages: health.lag_messages,
        consumer: health.consumer,
        kafka: health.of("kafka"),
        redis: health.of("redis"),
        latest_changes: latest.into_iter().map(Change::from).collect(),
    }))
}
