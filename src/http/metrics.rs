//! Metrics for Prometheus.

use actix_web::HttpResponse;
use actix_web::web::Data;
use kit::http::health::prometheus_text;

use super::Services;
use crate::telemetry::metric;

/// Metrics in Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "read_metrics",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub(super) async fn read(services: Data<Services>) -> HttpResponse {
    engine::metric::journal_queue(services.journal.commands());
    metric::connections(kit::http::open());
    prometheus_text(services.metrics.render())
}
