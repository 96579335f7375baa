//! Commands and queries of orders.

use std::time::Instant;

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use engine::aggregate::AggregateId;
use engine::journal::ReadError;
use engine::{CommandError, Perform, Trace};
use kit::http::{Body, Caller, DATABASE_UNAVAILABLE, FOREIGN_CUSTOMER, INTERNAL, Problem, STOPPING};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Services;
use super::dto::{
    CancelOrder, CompleteOrder, CreateOrder, EventHistory, EventView, IntoCommand, OrderView, PayOrder,
    ShipOrder,
};
use super::headers::{CommandHeaders, ETag, Location, Replayed};
use super::ownership::{may_know, may_know_history, may_know_unreadable, visibility};
use super::problem::{
    BUSY, IDEMPOTENCY_KEY_REUSED, ILLEGAL_TRANSITION, INVALID_IDEMPOTENCY_KEY, INVALID_IF_MATCH,
    ORDER_NOT_FOUND, OUTCOME_UNKNOWN, UNREADABLE_HISTORY, VERSION_MISMATCH, of_command, of_read,
    order_not_found,
};
use super::request;
use super::trace;
use crate::order::{Order, OrderId, Placed};
use crate::telemetry::metric;

kit::problems!(
    pub(super) CreateProblems:
    FOREIGN_CUSTOMER,
    INVALID_IF_MATCH,
    INVALID_IDEMPOTENCY_KEY,
    VERSION_MISMATCH,
    IDEMPOTENCY_KEY_REUSED,
    UNREADABLE_HISTORY,
    INTERNAL,
    BUSY,
    OUTCOME_UNKNOWN,
    DATABASE_UNAVAILABLE,
);
kit::problems!(
    pub(super) CommandProblems:
    INVALID_IF_MATCH,
    INVALID_IDEMPOTENCY_KEY,
    ORDER_NOT_FOUND,
    ILLEGAL_TRANSITION,
    VERSION_MISMATCH,
    IDEMPOTENCY_KEY_REUSED,
    UNREADABLE_HISTORY,
    INTERNAL,
    BUSY,
    OUTCOME_UNKNOWN,
    DATABASE_UNAVAILABLE,
);
kit::problems!(
    pub(super) ReadProblems: ORDER_NOT_FOUND, UNREADABLE_HISTORY, INTERNAL, DATABASE_UNAVAILABLE, STOPPING
);
kit::problems!(
    pub(super) HistoryProblems: ORDER_NOT_FOUND, INTERNAL, DATABASE_UNAVAILABLE, STOPPING
);

/// Create an order.
///
/// Acknowledged when its event is committed; publication follows on its own.
#[utoipa::path(post, path = "/api/orders", tag = "orders", operation_id = "create_order", request_body = CreateOrder,
    params(CommandHeaders),
    responses(
        (status = 201, description = "The order", body = OrderView, headers(
            ("ETag" = inline(ETag), description = "The order's version, for `If-Match`."),
            ("Location" = inline(Location), description = "Where the order is read."),
            ("Idempotent-Replayed" = inline(Replayed), description = "Only there if this is the first outcome of the key again."),
        )),
        CreateProblems,
    ))]
pub(super) async fn create(
    services: Data<Services>,
    request: HttpRequest,
    caller: Caller,
    body: Body<CreateOrder>,
) -> Result<HttpResponse, Problem> {
    caller.may_ask_for(body.0.customer_id.0)?;
    let done = perform(&services, &request, &caller, OrderId(Uuid::now_v7()), body.0).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, format!("/api/orders/{}", done.order.order_id)));
    answer(response, &done)
}

/// The four commands of an existing order differ in their body alone.
macro_rules! command_of_existing_order {
    ($(#[$doc:meta])* $name:ident, $operation:literal, $body:ty, $path:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "orders", operation_id = $operation, request_body(content = Option<$body>, content_type = "application/json"),
            params(("id" = Uuid, Path, description = "The order"), CommandHeaders),
            responses(
                (status = 200, description = "The order as it is now", body = OrderView, headers(
                    ("ETag" = inline(ETag), description = "The order's version, for `If-Match`."),
                    ("Idempotent-Replayed" = inline(Replayed), description = "Only there if this is the first outcome of the key again."),
                )),
                CommandProblems,
            ))]
        pub(super) async fn $name(
            services: Data<Services>,
            request: HttpRequest,
            caller: Caller,
            id: Path<Uuid>,
            body: Body<$body>,
        ) -> Result<HttpResponse, Problem> {
            let done = perform(&services, &request, &caller, OrderId(*id), body.0).await?;
            answer(HttpResponse::Ok(), &done)
        }
    };
}

command_of_existing_order!(
    /// Pay a created order.
    pay, "pay_order", PayOrder, "/api/orders/{id}/pay");
command_of_existing_order!(
    /// Ship a paid order.
    ship, "ship_order", ShipOrder, "/api/orders/{id}/ship");
command_of_existing_order!(
    /// Complete a shipped order.
    complete, "complete_order", CompleteOrder, "/api/orders/{id}/complete");
command_of_existing_order!(
    /// Cancel an order that has not been shipped.
    cancel, "cancel_order", CancelOrder, "/api/orders/{id}/cancel");

/// A command was carried out, now or when its key was first used.
struct CommandOutcome {
    order: Placed,
    replayed: bool,
}

async fn perform<T: IntoCommand>(
    services: &Services,
    request: &HttpRequest,
    caller: &Caller,
    order_id: OrderId,
    body: T,
) -> Result<CommandOutcome, Problem> {
    let asked = serde_json::to_vec(&body).unwrap_or_default();
    let expected_version = request::expected_version(request.headers())?;
    let trace = Trace {
        correlation_id: request::correlation_id(request.headers()),
        context: trace::context(request),
    };
    let command = body.into_command();
    let (name, started) = (command.name(), Instant::now());
    let key = request::idempotency_key(request.headers(), caller, &place(name, order_id), &asked)?;
    let aggregate_id = AggregateId::from(order_id);
    let visibility = visibility(caller.scope);
    let perform = Perform { aggregate_id, command, expected_version, key, trace, visibility };
    let mut result = services.orders.perform(perform).await;
    if let Err(CommandError::Unreadable(_)) = &result
        && !may_know_unreadable(caller.scope, &services.reader, aggregate_id).await.map_err(of_read)?
    {
        result = Err(CommandError::NotFound);
    }
    let took = started.elapsed();
    metric::command(name, result.as_ref().map_or_else(|error| error.label(), |_| "ok"), took);
    let answer = result.map_err(of_command).and_then(|outcome| match outcome.current.state {
        Order::Placed(order) => Ok(CommandOutcome { order, replayed: outcome.replayed }),
        Order::Unplaced => Err(broken("an order without events")),
    });
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

fn answer(mut response: HttpResponseBuilder, done: &CommandOutcome) -> Result<HttpResponse, Problem> {
    let CommandOutcome { order, replayed } = done;
    if *replayed {
        response.insert_header(("Idempotent-Replayed", "true"));
    }
    let view = OrderView::of(order).map_err(unprintable)?;
    Ok(response.insert_header((ETAG, format!("\"{}\"", order.version))).json(view))
}

pub(super) fn unprintable(error: serde_json::Error) -> Problem {
    broken(&error.to_string())
}

fn broken(cause: &str) -> Problem {
    of_command(CommandError::Broken(cause.to_owned()))
}

/// Read an order: folded from its events, so always what is committed.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", operation_id = "read_order",
    params(("id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order", body = OrderView, headers(
            ("ETag" = inline(ETag), description = "The order's version, for `If-Match`."),
        )),
        ReadProblems,
    ))]
pub(super) async fn read(
    services: Data<Services>,
    caller: Caller,
    id: Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let (reader, id) = (&services.reader, AggregateId(*id));
    let current = match reader.load::<Order>(id).await {
        Err(ReadError::Unreadable(_))
            if !may_know_unreadable(caller.scope, reader, id).await.map_err(of_read)? =>
        {
            return Err(order_not_found());
        }
        loaded => loaded.map_err(of_read)?,
    };
    match current.state {
        order if !may_know(caller.scope, &order) => Err(order_not_found()),
        Order::Placed(order) => answer(HttpResponse::Ok(), &CommandOutcome { order, replayed: false }),
        Order::Unplaced => Err(order_not_found()),
    }
}

/// Read an order's history.
#[utoipa::path(get, path = "/api/orders/{id}/events", tag = "orders", operation_id = "read_history",
    params(("id" = Uuid, Path, description = "The order")),
    responses((status = 200, description = "Every event, the first first", body = EventHistory), HistoryProblems))]
pub(super) async fn history(
    services: Data<Services>,
    caller: Caller,
    id: Path<Uuid>,
) -> Result<Json<EventHistory>, Problem> {
    let stored = services.reader.history(AggregateId(*id), i64::MAX).await.map_err(of_read)?;
    if stored.is_empty() || !may_know_history(caller.scope, &stored) {
        return Err(order_not_found());
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
