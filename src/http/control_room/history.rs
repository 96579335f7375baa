//! One order's events, each with how far it has come.

use actix_web::web::{Data, Json, Path};
use chrono::{DateTime, Utc};
use engine::aggregate::AggregateId;
use engine::journal::StoredEvent;
use kit::http::Problem;
use serde::Serialize;
use uuid::Uuid;

use crate::http::Services;
use crate::http::problem::{of_read, order_not_found};

#[derive(Debug, Serialize)]
pub(super) struct StagedHistory {
    order_id: Uuid,
    /// Whether the bonus service has answered. If not, it is unknown which events are credited.
    bonus_reachable: bool,
    events: Vec<StagedEvent>,
}

#[derive(Debug, Serialize)]
struct StagedEvent {
    seq: i64,
    event_id: Uuid,
    event_type: String,
    version: i64,
    occurred_at: DateTime<Utc>,
    /// `waiting`, `quarantined`, `discarded`, `published` or `credited`.
    stage: &'static str,
    /// What the bonus service has booked for it.
    points: Option<i64>,
}

pub(super) async fn read(services: Data<Services>, id: Path<Uuid>) -> Result<Json<StagedHistory>, Problem> {
    let order_id = *id;
    let (history, progress, credits) = tokio::join!(
        services.reader.history(AggregateId(order_id), i64::MAX),
        services.outbox.publication_progress(),
        services.room.bonus.credits(order_id),
    );
    let (history, progress) = (history.map_err(of_read)?, progress.map_err(of_read)?);
    if history.is_empty() {
        return Err(order_not_found());
    }
    let staged = |StoredEvent { seq, event_id, event_type, version, occurred_at, .. }: StoredEvent| {
        let points = credits.as_ref().and_then(|credits| credits.get(&event_id).copied());
        // A credited event is published, even if the cursor, which follows some milliseconds later, has not passed it yet.
        let stage = if points.is_some() { "credited" } else { progress.stage(seq) };
        StagedEvent { seq, event_id, event_type, version, occurred_at, stage, points }
    };
    let events = history.into_iter().map(staged).collect();
    Ok(Json(StagedHistory { order_id, bonus_reachable: credits.is_some(), events }))
}
