//! The interface's description, served at `/api-docs/openapi.json` and kept in `docs/openapi.json`.

use engine::aggregate::Aggregate as _;
use kit::http::openapi::CommonProblems;
use kit::http::{FieldError, Problem};
use utoipa::{Modify, OpenApi};

use super::access::ENDPOINTS;
use super::{actors, health, listing, metrics, orders};
use crate::order::Order;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "orders",
        description = "An order service that outlives its message broker. Commands are acknowledged when their events are \
                       committed; publication to a message queue (Kafka, or Redis Streams) follows in order, whatever fails meanwhile. Every GET is answered to \
                       HEAD as well. Errors are RFC 9457 problems; a path that is none is answered 404 `not-found`, a method \
                       that a path does not have 405 `method-not-allowed` with `Allow`. What is no HTTP, or does not arrive in \
                       time before its body, is answered 400, 408 or 431 without a body, and the connection ends."
    ),
    paths(
        orders::create, orders::pay, orders::ship, orders::complete, orders::cancel, orders::read, orders::history,
        listing::list,
        kit::http::actors::list, actors::crash, kit::http::health::livez, health::readyz, metrics::read,
    ),
    components(schemas(Problem, FieldError)),
    modifiers(&Outbox, &CommonProblems, &Guard),
    tags(
        (name = "orders", description = "Commands and queries"),
        (name = "operations", description = "For those who run the service"),
    )
)]
pub struct ApiDoc;

struct Outbox;

impl Modify for Outbox {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        operations::http::describe(document, Order::NAME);
    }
}

struct Guard;

impl Modify for Guard {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        kit::http::openapi::guard(document, &ENDPOINTS);
    }
}
