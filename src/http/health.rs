//! Whether commands can be taken.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use engine::publisher::GetStatus;
use kit::schema;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::Services;
use crate::config::Mq;

/// How long the database may take to answer a readiness check.
const READY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a failed write counts, unless one succeeds meanwhile. Without commands no success would end it.
const FAILURE_MEMORY: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, ToSchema)]
pub struct ReadyView {
    /// Whether commands can be taken: that needs the database alone, and that it takes writes.
    pub ready: bool,
    /// `up` if it takes writes.
    #[schema(schema_with = up_or_down)]
    pub postgres: String,
    /// Present when events are published to Kafka. `down` while the breaker is not closed. That costs nothing but time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = up_or_down, required = false)]
    pub kafka: Option<String>,
    /// Beside Kafka it has the retry's job alone, and `down` costs nothing while Kafka is up. Without Kafka events are published to
    /// Redis, and `down` is also while the breaker is not closed.
    #[schema(schema_with = up_or_down)]
    pub redis: String,
}

fn up_or_down() -> Object {
    schema::one_of(&["up", "down"])
}

/// Whether commands can be taken. Kafka or Redis being down does not change that.
#[utoipa::path(get, path = "/readyz", tag = "operations", operation_id = "is_ready",
    responses(
        (status = 200, description = "Ready", body = ReadyView),
        (status = 503, description = "The database is away, or takes no writes", body = ReadyView),
    ))]
pub(super) async fn readyz(services: Data<Services>) -> HttpResponse {
    let up = |up: bool| if up { "up" } else { "down" }.to_owned();
    let (postgres, redis, status) = tokio::join!(
        timeout(READY_PATIENCE, services.reader.is_writable()),
        timeout(READY_PATIENCE, services.fallback.pending()),
        timeout(READY_PATIENCE, services.publisher.ask(GetStatus)),
    );
    let redis_answers = matches!(redis, Ok(Ok(_)));
    let is_published = matches!(status, Ok(Ok(status)) if status.breaker == "closed");
    let (kafka, redis) = match services.mq {
        #[cfg(feature = "kafka")]
        Mq::Kafka => (Some(up(is_published)), up(redis_answers)),
        Mq::Redis => (None, up(redis_answers && is_published)),
    };
    let is_writable = matches!(postgres, Ok(Ok(())));
    // Faults that no query shows: a full disk, a lock that another session holds.
    let ready = is_writable && !services.journal.has_failed_within(FAILURE_MEMORY);
    let view = ReadyView { ready, postgres: up(is_writable), kafka, redis };
    if ready { HttpResponse::Ok().json(view) } else { HttpResponse::ServiceUnavailable().json(view) }
}
