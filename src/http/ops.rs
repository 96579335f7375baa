//! For those who run the service: the outbox, the actors, health, metrics. The quarantine has a file of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Json, Path};
use chrono::{DateTime, Utc};
use kit::supervision::{ActorReport, CrashChild, Report};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Services;
use super::problem::Problem;
use crate::order::OrderId;
use crate::publisher::machine::lane::lanes;
use crate::publisher::outbox::DeferredLane;
use crate::publisher::{RetryStatus, Status, StuckLane};
use crate::telemetry::metric;

/// How long the database may take to answer a readiness check.
const READY_PATIENCE: Duration = Duration::from_secs(1);
/// For how long a failed write counts, unless one succeeds meanwhile. Without commands nothing shows that it is over.
const FAILURE_MEMORY: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, ToSchema)]
pub struct OutboxView {
    /// Events committed and not yet published.
    pub pending: i64,
    pub oldest_pending_age_seconds: f64,
    pub published_seq: i64,
    pub head_seq: i64,
    /// `closed`, `open` or `half_open`, as this instance sees it.
    #[schema(example = "closed")]
    pub breaker: String,
    /// Whether this instance holds the lease.
    pub is_publisher: bool,
    /// The next try of the present outage; null when there is none.
    pub retry: Option<RetryView>,
    pub quarantined_orders: i64,
    pub quarantined_events: i64,
    /// Partitions that take nothing while others do. Their orders' events wait, in order; all others go on.
    pub stuck_partitions: Vec<StuckView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StuckView {
    /// One, or on a topic with more than sixteen those that share a producer.
    #[schema(example = json!([3]))]
    pub partitions: Vec<u32>,
    pub since: DateTime<Utc>,
    pub waiting_events: i64,
    /// Why the last attempt failed. Known where the publisher is; elsewhere null, as what follows.
    pub cause: Option<String>,
    pub attempt: Option<u32>,
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// What waits according to the database, and what the publisher says of it, if it is here.
fn stuck_partitions(deferred: &[DeferredLane], stuck: Vec<StuckLane>) -> Vec<StuckView> {
    let mut views: BTreeMap<u32, StuckView> = BTreeMap::new();
    for of in deferred {
        let (lane, partitions) = (of.lane.unsigned_abs(), of.partitions.unsigned_abs());
        let partitions = (0..partitions).filter(|partition| partition % lanes(partitions) == lane).collect();
        let (since, waiting_events) = (of.since, of.events);
        let (cause, attempt, next_attempt_at) = (None, None, None);
        let view = StuckView { partitions, since, waiting_events, cause, attempt, next_attempt_at };
        views.insert(lane, view);
    }
    for StuckLane { lane, partitions, since, cause, attempt, next_attempt_at } in stuck {
        let waiting_events = views.get(&lane).map_or(0, |view| view.waiting_events);
        let (cause, attempt, next_attempt_at) = (Some(cause), Some(attempt), Some(next_attempt_at));
        let view = StuckView { partitions, since, waiting_events, cause, attempt, next_attempt_at };
        views.insert(lane, view);
    }
    views.into_values().collect()
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RetryView {
    /// `redis` or `memory`.
    #[serde(rename = "where")]
    #[schema(example = "redis")]
    pub place: String,
    pub attempt: u32,
    pub next_attempt_at: DateTime<Utc>,
}

impl From<RetryStatus> for RetryView {
    fn from(RetryStatus { place, attempt, next_attempt_at }: RetryStatus) -> Self {
        Self { place: place.to_owned(), attempt, next_attempt_at }
    }
}

/// What awaits publication, and how publication fares.
#[utoipa::path(get, path = "/api/outbox", tag = "operations",
    responses(
        (status = 200, description = "The outbox", body = OutboxView),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn outbox(services: Data<Services>) -> Result<Json<OutboxView>, Problem> {
    let numbers = services.outbox.numbers().await?;
    // Nearly always there are none.
    let deferred = if numbers.deferred_events > 0 { services.outbox.deferred().await? } else { Vec::new() };
    let mut status = services.publisher.ask(Status).await.ok();
    let stuck = status.as_mut().map(|status| std::mem::take(&mut status.stuck)).unwrap_or_default();
    let age = numbers.oldest_pending_age();
    let retry = status.as_ref().and_then(|status| status.retry.clone()).map(RetryView::from);
    Ok(Json(OutboxView {
        pending: numbers.pending,
        oldest_pending_age_seconds: age.as_secs_f64(),
        published_seq: numbers.published_seq,
        head_seq: numbers.head_seq,
        // A publisher that is being restarted sends nothing: open, in effect.
        breaker: status.as_ref().map_or("open", |status| status.breaker).to_owned(),
        is_publisher: status.as_ref().is_some_and(|status| status.is_publisher),
        retry,
        quarantined_orders: numbers.quarantined_orders,
        quarantined_events: numbers.quarantined_events,
        stuck_partitions: stuck_partitions(&deferred, stuck),
    }))
}

/// The supervision tree.
#[utoipa::path(get, path = "/api/actors", tag = "operations",
    responses((status = 200, description = "One row an actor", body = Vec<ActorReport>)))]
pub(super) async fn actors(services: Data<Services>) -> Result<Json<Vec<ActorReport>>, Problem> {
    services.guardian.send(Report).await.map(Json).map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The service is stopping", "Try again.")
    })
}

/// Make an actor panic, to see it restarted. Only where faults are enabled.
#[utoipa::path(post, path = "/api/actors/{name}/crash", tag = "operations",
    params(("name" = String, Path, description = "An actor's name, or a live order's id")),
    responses(
        (status = 202, description = "The actor has got the message"),
        (status = 404, description = "No such actor, or faults are not enabled", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn crash(services: Data<Services>, name: Path<String>) -> Result<HttpResponse, Problem> {
    if services.enable_faults {
        let crashed = match Uuid::parse_str(&name) {
            Ok(order_id) => services.orders.crash(OrderId(order_id)).await,
            Err(_) => services.guardian.send(CrashChild(name.into_inner())).await.unwrap_or(false),
        };
        if crashed {
            return Ok(HttpResponse::Accepted().finish());
        }
    }
    let detail = "See GET /api/actors for their names; crashing needs ENABLE_FAULTS=true.";
    Err(Problem::new(StatusCode::NOT_FOUND, "no-such-actor", "There is no such actor to crash", detail))
}

/// The process is alive.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "Alive")))]
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReadyView {
    /// Whether commands can be taken: that needs the database alone, and that it takes writes.
    pub ready: bool,
    /// `up` if it takes writes, else `down`.
    pub postgres: String,
    /// `up`, or `down` while the breaker is not closed. Down, it costs nothing but time.
    pub kafka: String,
    /// `up` or `down`. Down, it costs nothing while Kafka is up.
    pub redis: String,
}

/// Whether commands can be taken. Kafka or Redis being down does not change that.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "Ready", body = ReadyView),
        (status = 503, description = "The database is away", body = ReadyView),
    ))]
pub(super) async fn readyz(services: Data<Services>) -> HttpResponse {
    let up = |up: bool| if up { "up" } else { "down" }.to_owned();
    let (postgres, redis, status) = tokio::join!(
        timeout(READY_PATIENCE, services.reader.is_writable()),
        timeout(READY_PATIENCE, services.fallback.pending()),
        timeout(READY_PATIENCE, services.publisher.ask(Status)),
    );
    let is_writable = matches!(postgres, Ok(Ok(())));
    // What no question shows: a full disk, a lock that somebody holds.
    let ready = is_writable && !services.journal.has_failed_within(FAILURE_MEMORY);
    let view = ReadyView {
        ready,
        postgres: up(is_writable),
        kafka: up(matches!(status, Ok(Ok(status)) if status.breaker == "closed")),
        redis: up(matches!(redis, Ok(Ok(_)))),
    };
    if ready { HttpResponse::Ok().json(view) } else { HttpResponse::ServiceUnavailable().json(view) }
}

/// Metrics in Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub(super) async fn metrics(services: Data<Services>) -> HttpResponse {
    metric::journal_queue(services.journal.commands());
    metric::connections(kit::http::open());
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4"))
        .body(services.metrics.render())
}
