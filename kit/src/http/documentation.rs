//! The OpenAPI document and Swagger UI, both served by the service itself; the root leads there.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, ServiceConfig};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::endpoint::Endpoint;
use super::routes::{read, resource};

const DOCUMENT_PATH: &str = "/api-docs/openapi.json";
const SWAGGER_PATH: &str = "/swagger-ui/";
const SWAGGER_FILES: &str = "/swagger-ui/{_:.*}";
/// The interface is no secret.
pub const ENDPOINTS: [Endpoint; 4] = [
    Endpoint::open("/").apart(),
    Endpoint::open(DOCUMENT_PATH).apart(),
    Endpoint::open("/swagger-ui").apart(),
    Endpoint::open(SWAGGER_FILES).apart(),
];

pub fn routes(service: &mut ServiceConfig, description: &Data<OpenApi>) {
    service
        .app_data(description.clone())
        .service(resource("/", &ENDPOINTS).route(read().to(redirect)))
        .service(resource(DOCUMENT_PATH, &ENDPOINTS).route(read().to(document)))
        .service(resource("/swagger-ui", &ENDPOINTS).route(read().to(redirect)))
        .service(SwaggerUi::new(SWAGGER_FILES).config(Config::from(DOCUMENT_PATH)));
}

async fn document(description: Data<OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(description.get_ref())
}

async fn redirect() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, SWAGGER_PATH)).finish()
}
