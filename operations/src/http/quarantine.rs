//! Aggregates whose events the broker refuses for their own sake, and what operators do about them.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use deserr::Deserr;
use engine::aggregate::{AggregateId, Name};
use engine::publisher::discard::{Discard, DiscardOutcome, NotDiscarded};
use kit::http::json::FieldErrors;
use kit::http::{Body, DATABASE_UNAVAILABLE, Kind, Problem, STOPPING};
use kit::value::{InvalidValue, ShortText};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Outbox, of_read};
use crate::view::{DiscardedEvent, QuarantinedAggregate, Worded};

/// Most quarantined aggregates shown at once.
const PAGE: i64 = 1_000;

const NOT_QUARANTINED: Kind = Kind::new(
    404,
    "not-quarantined",
    "Nothing of it is quarantined",
    "No event of this aggregate is set aside; see GET /api/outbox/quarantine.",
);
const NOT_THE_FIRST_WAITING: Kind = Kind::new(
    409,
    "not-the-first-waiting",
    "Another event is the first waiting one",
    "Nothing was given up: the event at position 18 is not the aggregate's first waiting event; that is the one at position 17. \
     See GET /api/outbox/quarantine and decide anew.",
);
const ALREADY_RELEASED: Kind = Kind::new(
    409,
    "already-released",
    "It is released already",
    "Nothing was given up: the aggregate is released: its waiting events are on their way, the first at position 17. \
     See GET /api/outbox/quarantine and decide anew.",
);
const NOT_PASSED_YET: Kind = Kind::unavailable(
    "not-passed-yet",
    "Nothing was given up: publication has not passed position 17 yet. See GET /api/outbox/quarantine and decide anew.",
    1,
);

kit::problems!(pub(super) ListProblems: DATABASE_UNAVAILABLE, STOPPING);
kit::problems!(pub(super) ReleaseProblems: NOT_QUARANTINED, DATABASE_UNAVAILABLE, STOPPING);
kit::problems!(
    pub(super) DiscardProblems:
    NOT_QUARANTINED,
    NOT_THE_FIRST_WAITING,
    ALREADY_RELEASED,
    NOT_PASSED_YET,
    DATABASE_UNAVAILABLE,
    STOPPING,
);

/// Aggregates whose events the broker refuses for their own sake.
#[utoipa::path(get, path = "/api/outbox/quarantine", tag = "operations", operation_id = "list_quarantine",
    responses((status = 200, description = "The oldest first, 1,000 at most", body = Vec<QuarantinedAggregate>), ListProblems))]
pub(super) async fn list(outbox: Data<Outbox>) -> Result<Json<Vec<Worded<QuarantinedAggregate>>>, Problem> {
    let quarantine = outbox.reader.quarantine(PAGE).await.map_err(of_read)?;
    Ok(Json(quarantine.into_iter().map(|of| Worded::new(outbox.name(), of)).collect()))
}

/// Send a quarantined aggregate's waiting events again, in order.
#[utoipa::path(post, path = "/api/outbox/quarantine/{id}/release", tag = "operations", operation_id = "release_aggregate",
    params(("id" = Uuid, Path, description = "The aggregate")),
    responses((status = 202, description = "They are on their way"), ReleaseProblems))]
pub(super) async fn release(outbox: Data<Outbox>, id: Path<Uuid>) -> Result<HttpResponse, Problem> {
    if outbox.reader.release(AggregateId(*id)).await.map_err(of_read)? {
        Ok(HttpResponse::Accepted().finish())
    } else {
        Err(not_quarantined(outbox.name()))
    }
}

#[derive(Debug, Serialize, Deserr, ToSchema)]
#[deserr(error = FieldErrors, deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct DiscardEvent {
    /// Position of the event to give up: `first_waiting_seq` of the aggregate in the quarantine.
    #[schema(example = 17, minimum = 1)]
    pub seq: i64,
    /// Why it is given up.
    #[deserr(try_from(String) = text -> InvalidValue)]
    #[schema(value_type = String, example = "larger than any topic takes; told its consumers", pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", min_length = 1, max_length = 200)]
    pub reason: ShortText,
    /// Who gives it up. The service does not know its operators: it is kept as it is given.
    #[deserr(try_from(String) = text -> InvalidValue)]
    #[schema(value_type = String, example = "kim", pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", min_length = 1, max_length = 200)]
    pub by: ShortText,
}

/// Give up a quarantined aggregate's first waiting event, the refused one, and send the rest in order.
///
/// The event stays in the journal and is never published. It is named by its position, so a request that is repeated is answered as
/// before and gives up nothing else.
#[utoipa::path(post, path = "/api/outbox/quarantine/{id}/discard", tag = "operations", operation_id = "discard_event", request_body = DiscardEvent,
    params(("id" = Uuid, Path, description = "The aggregate")),
    responses(
        (status = 202, description = "The event is given up (it stays in the journal); the rest is on its way", body = DiscardedEvent),
        DiscardProblems,
    ))]
pub(super) async fn discard(
    outbox: Data<Outbox>,
    id: Path<Uuid>,
    body: Body<DiscardEvent>,
) -> Result<HttpResponse, Problem> {
    let DiscardEvent { seq, reason, by } = body.0;
    let (reason, discarded_by) = (reason.into_string(), by.into_string());
    let discard = Discard { aggregate_id: AggregateId(*id), seq, discarded_by, reason };
    let event = match outbox.reader.discard(discard).await.map_err(of_read)? {
        DiscardOutcome::Discarded(event) => {
            let (discarded_by, reason) = (&event.discarded_by, &event.reason);
            tracing::warn!(aggregate = outbox.name().one, %id, seq, by = discarded_by, reason, "An operator gave up an event: it will not be published");
            event
        }
        DiscardOutcome::Repeated(event) => event,
        DiscardOutcome::NotDiscarded(reason) => return Err(not_discarded(outbox.name(), reason)),
    };
    Ok(HttpResponse::Accepted().json(Worded::<DiscardedEvent>::new(outbox.name(), event)))
}

fn text(text: String) -> Result<ShortText, InvalidValue> {
    ShortText::parse(&text)
}

fn not_discarded(name: Name, reason: NotDiscarded) -> Problem {
    let one = name.one;
    let (kind, why) = match reason {
        NotDiscarded::NotQuarantined => return not_quarantined(name),
        NotDiscarded::NotTheFirst { asked, first } => (
            &NOT_THE_FIRST_WAITING,
            format!(
                "the event at position {asked} is not the {one}'s first waiting event; that is the one at position {first}"
            ),
        ),
        NotDiscarded::Released { first } => (
            &ALREADY_RELEASED,
            format!(
                "the {one} is released: its waiting events are on their way, the first at position {first}"
            ),
        ),
        NotDiscarded::NotPassed { .. } => (&NOT_PASSED_YET, reason.to_string()),
    };
    Problem::new(
        kind,
        format!("Nothing was given up: {why}. See GET /api/outbox/quarantine and decide anew."),
    )
}

fn not_quarantined(name: Name) -> Problem {
    let detail = format!("No event of this {} is set aside; see GET /api/outbox/quarantine.", name.one);
    Problem::new(&NOT_QUARANTINED, detail)
}
