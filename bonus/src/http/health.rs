//! Whether the service does its work.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use kit::postgres::Pool;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use crate::error::LedgerError;
use crate::health::{ConsumerState, MqState};

/// Postgres counts as unreachable when it does not answer within this, or within `DATABASE_TIMEOUT_MS` if that is shorter.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostgresState {
    Reachable,
    Unreachable,
    /// It answers, but takes no writes: a standby, or set to read only.
    ReadOnly,
    /// It answers and refuses to credit the batch in hand, as on a full disk. `cause` says why.
    Refusing,
}

/// Ready means: Postgres takes writes and the consumer runs. Kafka or Redis is shown but does not count: while it is away the service
/// answers from what it has, and goes on by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "ready": true, "postgres": "reachable", "consumer": "running", "consumer_restarts": 0, "kafka": "connected", "partitions": 3
}))]
pub struct Readiness {
    pub ready: bool,
    pub postgres: PostgresState,
    /// Why the batch in hand is not credited; it is tried again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cause: Option<String>,
    pub consumer: ConsumerState,
    /// Restarts of the consumer since the process started.
    pub consumer_restarts: u64,
    /// Present when messages come from Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kafka: Option<MqState>,
    /// Present when messages come from Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub redis: Option<MqState>,
    /// Partitions of the orders topic that this process reads at the moment.
    pub partitions: usize,
}

/// Whether the service does its work, by dependency.
#[utoipa::path(get, path = "/readyz", tag = "operations", operation_id = "is_ready", responses(
    (status = 200, description = "Ready", body = Readiness),
    (status = 503, description = "Not ready; the same body says why", body = Readiness),
))]
pub async fn readyz(state: web::Data<State>) -> HttpResponse {
    let health = state.health.get();
    let postgres = match probe(&state.pool).await {
        PostgresState::Reachable if health.crediting_error.is_some() => PostgresState::Refusing,
        answer => answer,
    };
    let ready = postgres == PostgresState::Reachable && health.consumer == ConsumerState::Running;
    let readiness = Readiness {
        ready,
        postgres,
        cause: health.crediting_error.clone(),
        consumer: health.consumer,
        consumer_restarts: health.consumer_restarts,
        kafka: health.of("kafka"),
        redis: health.of("redis"),
        partitions: health.partitions,
    };
    if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() }.json(readiness)
}

async fn probe(pool: &Pool) -> PostgresState {
    let answer = pool.run(async |mut connection| {
        let read_only = sqlx::query_scalar(include_str!("../sql/is_read_only.sql"));
        Ok::<bool, LedgerError>(read_only.fetch_one(&mut *connection).await?)
    });
    match tokio::time::timeout(PROBE_TIMEOUT, answer).await {
        Ok(Ok(false)) => PostgresState::Reachable,
        Ok(Ok(true)) => {
            // Whether a session may write is decided when it is opened: the next one asks whoever is the primary then.
            pool.renew();
            PostgresState::ReadOnly
        }
        _ => PostgresState::Unreachable,
    }
}
