//! The messages that the page gets, and when.

use chrono::{DateTime, Utc};
use engine::publisher::Outage;
use kit::supervision::ActorReport;
use operations::http::RetryView;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use super::bonus::Summary;

/// Sent once to everybody who begins to watch.
#[derive(Debug, Serialize)]
pub(super) struct Welcome<'a> {
    /// Another one than before: the service has been restarted.
    pub(super) instance: Uuid,
    pub(super) started_at: DateTime<Utc>,
    /// The message queue that events are published to: `kafka` or `redis`.
    pub(super) mq: &'static str,
    /// Whether actors can be crashed from outside.
    pub(super) faults: bool,
    /// Those of orders that the caller may send, for whatever order.
    pub(super) commands: Vec<&'static str>,
    /// By a token.
    pub(super) signed_in: bool,
    /// The oldest first.
    pub(super) past: Vec<&'a Point>,
}

/// What the charts are drawn from. Unknown is `None`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Point {
    pub(super) at: DateTime<Utc>,
    pub(super) breaker: &'static str,
    pub(super) pending: Option<i64>,
    pub(super) oldest_pending_age_seconds: Option<f64>,
    pub(super) commands_per_second: f64,
    /// Answered 5xx since the last point.
    pub(super) failed_commands: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// Everything at one moment.
#[derive(Debug, Serialize)]
pub(super) struct Snapshot<'a> {
    pub(super) point: &'a Point,
    pub(super) is_publisher: bool,
    pub(super) retry: Option<RetryView>,
    /// `None` while the database does not answer.
    pub(super) quarantined_orders: Option<i64>,
    pub(super) published_seq: Option<i64>,
    /// The oldest first.
    pub(super) outages: Vec<Outage>,
    pub(super) actors: Vec<ActorReport>,
    /// `None` while the bonus service does not answer.
    pub(super) bonus: Option<Summary>,
    /// The newest first; `None` while the database does not answer.
    pub(super) orders: Option<Vec<LatestOrder>>,
}

#[derive(Debug, Serialize, FromRow)]
pub(super) struct LatestOrder {
    order_id: Uuid,
    status: String,
    currency: String,
    total_minor: i64,
    version: i64,
    created_at: DateTime<Utc>,
    waiting_events: i64,
}
