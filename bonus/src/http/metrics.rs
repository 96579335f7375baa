//! Metrics for Prometheus.

use actix_web::{HttpResponse, web};
use kit::http::health::prometheus_text;

use super::State;

/// Metrics in Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "read_metrics",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub async fn read(state: web::Data<State>) -> HttpResponse {
    prometheus_text(state.metrics.render())
}
