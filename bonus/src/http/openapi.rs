//! The interface's description, served at `/api-docs/openapi.json` and kept in `docs/openapi-bonus.json`.

use kit::http::openapi::CommonProblems;
use kit::http::{FieldError, Problem};
use utoipa::{Modify, OpenApi};

use super::access::ENDPOINTS;
use super::{bonuses, health, metrics, summary};
use crate::outbox::CUSTOMER;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bonus service",
        description = "Loyalty points, credited exactly once from the order events. Policy version 1: an order created gives 40 \
                       points, completed 100 more; cancelling it takes back what it gave. Grades by lifetime points: Bronze from 0, \
                       Silver from 100, Gold from 300, Platinum from 1000. VIP is who has 200 points from events of the last 30 \
                       days, which are 720 hours. Every GET is answered to HEAD as well. Errors are RFC 9457 \
                       problems; a path that is none is answered 404 `not-found`, a method that a path does not have 405 \
                       `method-not-allowed` with `Allow`. What is no HTTP, or does not arrive in time, is answered 400, 408 or \
                       431 without a body, and the connection ends."
    ),
    paths(
        bonuses::read, bonuses::ledger, bonuses::order_ledger, summary::read, kit::http::actors::list,
        kit::http::health::livez, health::readyz, metrics::read,
    ),
    components(schemas(Problem, FieldError)),
    modifiers(&Outbox, &CommonProblems, &Guard),
    tags(
        (name = "bonuses", description = "Accounts and what they are made of"),
        (name = "operations", description = "For those who run the service"),
    )
)]
pub struct ApiDoc;

struct Outbox;

impl Modify for Outbox {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        operations::http::describe(document, CUSTOMER);
    }
}

struct Guard;

impl Modify for Guard {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        kit::http::openapi::guard(document, &ENDPOINTS);
    }
}
