//! The OpenAPI document and Swagger UI, both served by the service itself.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{bonuses, ops, summary};

const DOCUMENT_PATH: &str = "/api-docs/openapi.json";
const SWAGGER_PATH: &str = "/swagger-ui/";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bonus service",
        description = "Loyalty points, credited exactly once from the order events. Policy version 1: an order created gives 40 \
                       points, completed 100 more; cancelling it takes back what it gave. Grades by lifetime points: Bronze from 0, \
                       Silver from 100, Gold from 300, Platinum from 1000. Errors are RFC 9457 problem details."
    ),
    paths(bonuses::read, bonuses::ledger, bonuses::order_ledger, summary::read, ops::livez, ops::readyz, ops::metrics),
    tags(
        (name = "bonuses", description = "Accounts and what they are made of"),
        (name = "operations", description = "For those who run the service"),
    )
)]
pub struct ApiDoc;

pub async fn document() -> web::Json<utoipa::openapi::OpenApi> {
    web::Json(ApiDoc::openapi())
}

pub async fn redirect() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, SWAGGER_PATH)).finish()
}

pub fn swagger_ui() -> SwaggerUi {
    SwaggerUi::new("/swagger-ui/{_:.*}").config(Config::from(DOCUMENT_PATH))
}
