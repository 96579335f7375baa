//! Commands and queries of orders.

use std::time::Instant;

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Services;
use super::body::{self, Body};
use super::dto::{
    CancelOrder, CompleteOrder, CreateOrder, EventHistory, EventView, IntoCommand, ListOrders, OrderPage,
    OrderView, PayOrder, ShipOrder,
};
use super::problem::{FieldError, Problem};
use super::trace;
use crate::actor::{Outcome, Perform, Trace};
use crate::order::{Order, OrderId, Placed};
use crate::projection::ListQuery;
use crate::telemetry::metric;

const PAGE_MAX: i64 = 200;
const PAGE_DEFAULT: i64 = 50;

/// Create an order.
///
/// Acknowledged when its event is committed; publication follows on its own.
#[utoipa::path(post, path = "/api/orders", tag = "orders", request_body = CreateOrder,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats its first outcome"),
        ("If-Match" = Option<String>, Header, description = "The order must be at this version"),
    ),
    responses(
        (status = 201, description = "The order", body = OrderView, headers(("ETag" = String), ("Location" = String))),
        (status = 400, description = "Not JSON, or a malformed header", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 412, description = "`If-Match` does not hold", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid fields, every one named; or a reused key", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away or the service at its bound; see `Retry-After`", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    services: Data<Services>,
    request: HttpRequest,
    body: Body<CreateOrder>,
) -> Result<HttpResponse, Problem> {
    let outcome = perform(&services, &request, OrderId(Uuid::now_v7()), body.0).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, format!("/api/orders/{}", outcome.order.order_id)));
    answer(response, &outcome.order, outcome.replayed)
}

/// The four commands of an existing order differ in their body alone.
macro_rules! command_of_existing_order {
    ($(#[$doc:meta])* $name:ident, $body:ty, $path:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "orders", request_body(content = Option<$body>, content_type = "application/json"),
            params(
                ("id" = Uuid, Path, description = "The order"),
                ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats its first outcome"),
                ("If-Match" = Option<String>, Header, description = "The order must be at this version"),
            ),
            responses(
                (status = 200, description = "The order as it is now", body = OrderView, headers(("ETag" = String))),
                (status = 400, description = "Not JSON, or a malformed id or header", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 404, description = "There is no such order", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 409, description = "The order's status does not allow it", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 412, description = "`If-Match` does not hold", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 413, description = "The body is too large", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 415, description = "The body is not declared as JSON", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 422, description = "Invalid fields, every one named; or a reused key", body = super::problem::Problem, content_type = "application/problem+json"),
                (status = 503, description = "The database is away or the service at its bound; see `Retry-After`", body = super::problem::Problem, content_type = "application/problem+json"),
            ))]
        pub(super) async fn $name(
            services: Data<Services>,
            request: HttpRequest,
            id: Path<Uuid>,
            body: Body<$body>,
        ) -> Result<HttpResponse, Problem> {
            let outcome = perform(&services, &request, OrderId(*id), body.0).await?;
            answer(HttpResponse::Ok(), &outcome.order, outcome.replayed)
        }
    };
}

command_of_existing_order!(
    /// Pay a created order.
    pay, PayOrder, "/api/orders/{id}/pay");
command_of_existing_order!(
    /// Ship a paid order.
    ship, ShipOrder, "/api/orders/{id}/ship");
command_of_existing_order!(
    /// Complete a shipped order.
    complete, CompleteOrder, "/api/orders/{id}/complete");
command_of_existing_order!(
    /// Cancel an order that has not been shipped.
    cancel, CancelOrder, "/api/orders/{id}/cancel");

async fn perform<T: IntoCommand>(
    services: &Services,
    request: &HttpRequest,
    order_id: OrderId,
    body: T,
) -> Result<Outcome, Problem> {
    let asked = serde_json::to_vec(&body).unwrap_or_default();
    let expected_version = body::expected_version(request.headers())?;
    let trace =
        Trace { correlation_id: body::correlation_id(request.headers()), context: trace::context(request) };
    let command = body.into_command(order_id);
    let (name, started) = (command.name(), Instant::now());
    let key = body::idempotency_key(request.headers(), &place(name, order_id), &asked)?;
    let result = services.orders.perform(Perform { order_id, command, expected_version, key, trace }).await;
    let took = started.elapsed();
    metric::command(name, result.as_ref().map_or_else(|error| error.label(), |_| "ok"), took);
    let answer = result.map_err(Problem::from);
    services.room.meter.record(took, answer.as_ref().is_err_and(|problem| problem.status >= 500));
    answer
}

/// The command's address as the documents spell it. An id has other spellings, and a path has more: they are the same request.
fn place(command: &str, order_id: OrderId) -> String {
    match command {
        "create" => "/api/orders".to_owned(),
        _ => format!("/api/orders/{order_id}/{command}"),
    }
}

fn answer(
    mut response: HttpResponseBuilder,
    order: &Placed,
    replayed: bool,
) -> Result<HttpResponse, Problem> {
    if replayed {
        response.insert_header(("Idempotent-Replayed", "true"));
    }
    let view = OrderView::of(order).map_err(unprintable)?;
    Ok(response.insert_header((ETAG, format!("\"{}\"", order.version))).json(view))
}

fn unprintable(error: serde_json::Error) -> Problem {
    crate::error::CommandError::Broken(error.to_string()).into()
}

/// Read an order: folded from its events, so always what is committed.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", params(("id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order", body = OrderView, headers(("ETag" = String))),
        (status = 400, description = "Not an id", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such order", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn read(services: Data<Services>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    match services.reader.order(OrderId(*id)).await? {
        Order::Placed(order) => answer(HttpResponse::Ok(), &order, false),
        Order::Unplaced => Err(Problem::order_not_found()),
    }
}

/// Read an order's history.
#[utoipa::path(get, path = "/api/orders/{id}/events", tag = "orders", params(("id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "Every event, the first first", body = EventHistory),
        (status = 400, description = "Not an id", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such order", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn history(services: Data<Services>, id: Path<Uuid>) -> Result<Json<EventHistory>, Problem> {
    let stored = services.reader.history(OrderId(*id), i64::MAX).await?;
    if stored.is_empty() {
        return Err(Problem::order_not_found());
    }
    let events = stored
        .into_iter()
        .map(|event| {
            Ok(EventView {
                seq: event.seq,
                event_id: event.event_id,
                event_type: event.event_type,
                version: event.version,
                occurred_at: event.occurred_at,
                data: RawValue::from_string(event.payload)?,
                metadata: RawValue::from_string(event.metadata)?,
            })
        })
        .collect::<Result<_, serde_json::Error>>()
        .map_err(unprintable)?;
    Ok(Json(EventHistory { order_id: *id, events }))
}

/// List orders, newest first.
#[utoipa::path(get, path = "/api/orders", tag = "orders", params(ListOrders),
    responses(
        (status = 200, description = "A page", body = OrderPage),
        (status = 400, description = "An unknown or malformed parameter", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter out of its bounds", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    services: Data<Services>,
    query: Query<ListOrders>,
) -> Result<Json<OrderPage>, Problem> {
    let invalid = |field: &str, message: String| {
        Problem::invalid_fields(vec![FieldError { field: field.to_owned(), message }], 0)
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {PAGE_MAX}, was {limit}")));
    }
    let before =
        match &query.cursor {
            Some(cursor) => {
                Some(cursor.parse().ok().filter(|seq| *seq > 0).ok_or_else(|| {
                    invalid("cursor", "must be the next_cursor of an earlier page".to_owned())
                })?)
            }
            None => None,
        };
    // The lag first: what is appended between the two reads may be in the page, never missing unannounced.
    let lag_events = services.list.lag().await?;
    let (customer_id, status) = (query.customer_id, query.status);
    // One more than asked for tells whether there is a next page.
    let mut rows = services.list.page(ListQuery { customer_id, status, before, limit: limit + 1 }).await?;
    let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = rows.last().filter(|_| more).map(|last| last.created_seq.to_string());
    let orders = rows.into_iter().map(OrderView::of_row).collect::<Result<_, _>>().map_err(unprintable)?;
    Ok(Json(OrderPage { orders, next_cursor, lag_events }))
}
