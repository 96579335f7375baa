//! The whole service in a few numbers, for those who look on.

use actix_web::web;
use kit::http::{DATABASE_UNAVAILABLE, Problem, STOPPING};
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use crate::account::{self, Totals};
use crate::health::{ConsumerState, MqState};
use crate::policy;

/// What has been credited in all, and how far behind the topic this process is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "accounts": 12, "points": 1480, "credited_events": 31,
    "grades": { "bronze": 5, "silver": 6, "gold": 1, "platinum": 0 }, "vip": 2, "lag_messages": 0, "consumer": "running", "kafka": "connected"
}))]
pub struct Summary {
    #[schema(minimum = 0)]
    pub accounts: i64,
    /// Sum over all accounts.
    pub points: i64,
    /// Events that have changed an account.
    #[schema(minimum = 0)]
    pub credited_events: i64,
    /// Accounts of each grade.
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
    let totals = account::totals(&state.pool, policy::CURRENT).await?;
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
    }))
}
