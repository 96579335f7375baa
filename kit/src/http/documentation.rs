//! The OpenAPI document and Swagger UI, both served by the service itself; the root leads there.

use std::convert::Infallible;

use actix_web::HttpResponse;
use actix_web::body::{MessageBody, SizedStream};
use actix_web::http::header::{ContentType, LOCATION};
use actix_web::web::{Bytes, Data, ServiceConfig};
use futures_util::stream;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::endpoint::Endpoint;
use super::routes::{read, resource};

const DOCUMENT_PATH: &str = "/api-docs/openapi.json";
const PART_BYTES: usize = 16_384;
const SWAGGER_PATH: &str = "/swagger-ui/";
const SWAGGER_FILES: &str = "/swagger-ui/{_:.*}";
/// The interface is no secret.
pub const ENDPOINTS: [Endpoint; 4] = [
    Endpoint::open("/").apart(),
    Endpoint::open(DOCUMENT_PATH).apart(),
    Endpoint::open("/swagger-ui").apart(),
    Endpoint::open(SWAGGER_FILES).apart(),
];

/// Made once: it is large, and whoever asks for it asks with a hundred bytes.
pub fn json(description: &OpenApi) -> serde_json::Result<Data<Bytes>> {
    Ok(Data::new(serde_json::to_vec(description)?.into()))
}

pub fn routes(service: &mut ServiceConfig, json: Data<Bytes>) {
    service
        .app_data(json)
        .service(resource("/", &ENDPOINTS).route(read().to(redirect)))
        .service(resource(DOCUMENT_PATH, &ENDPOINTS).route(read().to(document)))
        .service(resource("/swagger-ui", &ENDPOINTS).route(read().to(redirect)))
        .service(SwaggerUi::new(SWAGGER_FILES).config(Config::from(DOCUMENT_PATH)));
}

async fn document(json: Data<Bytes>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(in_parts(Bytes::clone(&json)))
}

/// A connection that reads nothing holds one part, and not a copy of everything.
fn in_parts(all: Bytes) -> impl MessageBody + 'static {
    let length = all.len();
    let parts =
        (0..length).step_by(PART_BYTES).map(move |start| all.slice(start..length.min(start + PART_BYTES)));
    SizedStream::new(length as u64, stream::iter(parts.map(Ok::<_, Infallible>)))
}

async fn redirect() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, SWAGGER_PATH)).finish()
}
