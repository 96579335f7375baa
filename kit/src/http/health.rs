//! The answers to probes and Prometheus that are the same for every service.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Liveness {
    #[schema(schema_with = alive)]
    status: &'static str,
}

fn alive() -> utoipa::openapi::schema::Object {
    schema::one_of(&["alive"])
}

/// The process is alive. Depends on nothing else.
#[utoipa::path(get, path = "/livez", tag = "operations", operation_id = "is_alive",
    responses((status = 200, description = "Alive", body = Liveness)))]
pub async fn livez() -> Json<Liveness> {
    Json(Liveness { status: "alive" })
}

/// Metrics in Prometheus' text format.
pub fn prometheus_text(text: String) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4")).body(text)
}
