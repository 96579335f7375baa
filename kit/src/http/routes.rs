//! Routes and their methods, and the answers when none matches.

use actix_web::web::{self, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard};

use super::kind::{MALFORMED_ID, MALFORMED_QUERY, NOT_FOUND};
use super::problem::Problem;

pub const READ: &str = "GET, HEAD";
pub const COMMAND: &str = "POST";
pub const READ_OR_COMMAND: &str = "GET, HEAD, POST";

/// HEAD is what GET answers, without the body, which actix leaves out.
pub fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource that names its methods when another one is used.
pub fn resource(path: &str, allow: &'static str) -> Resource {
    let refuse = move |request: HttpRequest| method_not_allowed(request, allow);
    web::resource(path.to_owned()).default_service(web::route().to(refuse))
}

/// The answers to a path or query that cannot be parsed, and to an unknown path.
pub fn extractors(service: &mut ServiceConfig) {
    service
        .app_data(PathConfig::default().error_handler(|error, _| {
            Problem::new(&MALFORMED_ID, format!("The id in the path is not a UUID: {error}.")).into()
        }))
        .app_data(QueryConfig::default().error_handler(|error, _| {
            Problem::new(&MALFORMED_QUERY, format!("The query cannot be read: {error}.")).into()
        }))
        .default_service(web::route().to(not_found));
}

pub async fn not_found(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let detail = format!("Nothing is served at {}; see /api-docs/openapi.json.", request.path());
    Err(Problem::new(&NOT_FOUND, detail))
}

async fn method_not_allowed(request: HttpRequest, allow: &'static str) -> Result<HttpResponse, Problem> {
    let detail = format!(
        "{} is not served at {}, only {allow}; see /api-docs/openapi.json.",
        request.method(),
        request.path()
    );
    Err(Problem::method_not_allowed(detail, allow))
}
