//! One order's events, each with how far it has come.

use actix_web::web::{Data, Json, Path};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::http::Services;
use crate::http::problem::Problem;
use crate::journal::ReadError;

#[derive(Debug, Serialize)]
pub(super) struct StagedHistory {
    order_id: Uuid,
    /// Whether the bonus service has told what it booked; without it nothing is known to be credited.
    bonus_reachable: bool,
    events: Vec<StagedEvent>,
}

#[derive(Debug, Serialize, FromRow)]
struct StagedEvent {
    seq: i64,
    event_id: Uuid,
    event_type: String,
    version: i64,
    occurred_at: DateTime<Utc>,
    /// `waiting`, `quarantined`, `published` or `credited`.
    stage: String,
    /// What the bonus service has booked for it.
    #[sqlx(skip)]
    points: Option<i64>,
}

pub(super) async fn read(services: Data<Services>, id: Path<Uuid>) -> Result<Json<StagedHistory>, Problem> {
    let order_id = *id;
    let query = sqlx::query_as(include_str!("sql/staged_events.sql")).bind(order_id);
    let (events, credits) = tokio::join!(
        services.reader.run(async move |pool| Ok::<_, ReadError>(query.fetch_all(&pool).await?)),
        services.room.bonus.credits(order_id),
    );
    let mut events: Vec<StagedEvent> = events?;
    if events.is_empty() {
        return Err(Problem::order_not_found());
    }
    for event in &mut events {
        event.points = credits.as_ref().and_then(|credits| credits.get(&event.event_id).copied());
        // Even if the cursor, which follows the acknowledgements by some milliseconds, has not passed it yet.
        if event.points.is_some() {
            "credited".clone_into(&mut event.stage);
        }
    }
    Ok(Json(StagedHistory { order_id, bonus_reachable: credits.is_some(), events }))
}
