//! Routes and their methods, and the answers when none matches.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse, Resource, Route, guard};

use super::access;
use super::endpoint::Endpoint;
use super::kind::{MALFORMED_ID, MALFORMED_QUERY};
use super::problem::Problem;

/// HEAD is what GET answers, without the body, which actix leaves out.
pub fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A resource, of which `table` says who may use it by which methods. Every other method is refused, with those that are served.
pub fn resource(
    path: &str,
    table: &[Endpoint],
) -> Resource<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let endpoints: Arc<[Endpoint]> = table.iter().filter(|endpoint| endpoint.path == path).copied().collect();
    web::resource(path.to_owned()).wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
        access::admit(Arc::clone(&endpoints), request, next)
    }))
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
    Err(Problem::nothing_at(request.path()))
}
