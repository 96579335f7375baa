//! Orders whose events the broker refuses for their own sake, and what operators do about them.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path};
use deserr::Deserr;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Services;
use super::body::Body;
use super::dto::to_required_text;
use super::json::FieldErrors;
use super::problem::Problem;
use crate::order::{InvalidValue, OrderId, ShortText};
use crate::publisher::discard::{Discard, DiscardOutcome, DiscardedEvent, NotDiscarded};
use crate::publisher::outbox::QuarantinedOrder;

/// Most quarantined orders shown at once.
const PAGE: i64 = 1_000;

/// Orders whose events the broker refuses for their own sake.
#[utoipa::path(get, path = "/api/outbox/quarantine", tag = "operations",
    responses(
        (status = 200, description = "The oldest first", body = Vec<QuarantinedOrder>),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(services: Data<Services>) -> Result<Json<Vec<QuarantinedOrder>>, Problem> {
    Ok(Json(services.outbox.quarantine(PAGE).await?))
}

/// Send a quarantined order's waiting events again, in order.
#[utoipa::path(post, path = "/api/outbox/quarantine/{id}/release", tag = "operations",
    params(("id" = Uuid, Path, description = "The order")),
    responses(
        (status = 202, description = "They are on their way"),
        (status = 404, description = "This order is not quarantined", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn release(services: Data<Services>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    if services.outbox.release(OrderId(*id)).await? {
        Ok(HttpResponse::Accepted().finish())
    } else {
        Err(not_quarantined())
    }
}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct DiscardEvent {
    /// Position of the event to give up: `first_waiting_seq` of the order in the quarantine.
    #[schema(example = 17, minimum = 1)]
    pub seq: i64,
    /// Why it is given up.
    #[deserr(try_from(String) = to_required_text -> InvalidValue)]
    #[schema(value_type = String, example = "larger than any topic takes; told the bonus team", min_length = 1, max_length = 200)]
    pub reason: ShortText,
    /// Who gives it up. The service does not know its operators: it is kept as it is given.
    #[deserr(try_from(String) = to_required_text -> InvalidValue)]
    #[schema(value_type = String, example = "kim", min_length = 1, max_length = 200)]
    pub by: ShortText,
}

/// Give up a quarantined order's first waiting event, the refused one, and send the rest in order.
///
/// The event stays in the journal and is never published. It is named by its position, so a request that is repeated is answered as
/// before and gives up nothing else.
#[utoipa::path(post, path = "/api/outbox/quarantine/{id}/discard", tag = "operations", request_body = DiscardEvent,
    params(("id" = Uuid, Path, description = "The order")),
    responses(
        (status = 202, description = "The event is given up (it stays in the journal); the rest is on its way", body = DiscardedEvent),
        (status = 400, description = "Not JSON, or a malformed id", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing of this order is quarantined", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Not the order's first waiting event, or it is on its way", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid fields, every one named", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = super::problem::Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn discard(
    services: Data<Services>,
    id: Path<Uuid>,
    body: Body<DiscardEvent>,
) -> Result<HttpResponse, Problem> {
    let DiscardEvent { seq, reason, by } = body.0;
    let (reason, discarded_by) = (reason.as_str().to_owned(), by.as_str().to_owned());
    let discard = Discard { order_id: OrderId(*id), seq, discarded_by, reason };
    let event = match services.outbox.discard(discard).await? {
        DiscardOutcome::Discarded(event) => {
            let DiscardedEvent { discarded_by, reason, .. } = &event;
            tracing::warn!(order.id = %id, seq, by = discarded_by, reason, "An operator gave up an event: it will not be published");
            event
        }
        DiscardOutcome::Repeated(event) => event,
        DiscardOutcome::NotDiscarded(reason) => return Err(reason.into()),
    };
    Ok(HttpResponse::Accepted().json(event))
}

impl From<NotDiscarded> for Problem {
    fn from(reason: NotDiscarded) -> Self {
        let detail =
            format!("Nothing was given up: {reason}. See GET /api/outbox/quarantine and decide anew.");
        let refused = |name, title| Self::new(StatusCode::CONFLICT, name, title, detail.clone());
        match reason {
            NotDiscarded::NotQuarantined => not_quarantined(),
            NotDiscarded::NotTheFirst { .. } => {
                refused("not-the-first-waiting", "The event is not the order's first waiting one")
            }
            NotDiscarded::Released { .. } => refused("already-released", "The order is released"),
            NotDiscarded::NotPassed { .. } => Self::unavailable("not-passed-yet", detail, 1),
        }
    }
}

fn not_quarantined() -> Problem {
    let detail = "No event of this order is set aside; see GET /api/outbox/quarantine.";
    Problem::new(StatusCode::NOT_FOUND, "not-quarantined", "The order is not quarantined", detail)
}
