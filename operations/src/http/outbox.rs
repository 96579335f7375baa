//! What awaits publication, and how publication fares.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use engine::publisher::machine::lane::lanes;
use engine::publisher::outbox::DeferredLane;
use engine::publisher::{GetStatus, RetryStatus, StuckLane};
use kit::http::{DATABASE_UNAVAILABLE, Problem, STOPPING};
use kit::schema;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::{Outbox, of_read};
use crate::view::Worded;

#[derive(Debug, Default, ToSchema)]
pub struct OutboxView {
    /// Events committed and not yet published.
    pub pending: i64,
    pub oldest_pending_age_seconds: f64,
    pub published_seq: i64,
    pub head_seq: i64,
    /// As this instance sees it.
    #[schema(schema_with = breaker)]
    pub breaker: String,
    /// Whether this instance holds the lease.
    pub is_publisher: bool,
    /// The next try of the present outage; null when there is none.
    pub retry: Option<RetryView>,
    pub quarantined_aggregates: i64,
    pub quarantined_events: i64,
    /// Partitions that take nothing while others do. Their aggregates' events wait, in order; all others go on.
    pub stuck_partitions: Vec<StuckView>,
}

impl Serialize for Worded<OutboxView> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("pending", &self.view.pending)?;
        map.serialize_entry("oldest_pending_age_seconds", &self.view.oldest_pending_age_seconds)?;
        map.serialize_entry("published_seq", &self.view.published_seq)?;
        map.serialize_entry("head_seq", &self.view.head_seq)?;
        map.serialize_entry("breaker", &self.view.breaker)?;
        map.serialize_entry("is_publisher", &self.view.is_publisher)?;
        map.serialize_entry("retry", &self.view.retry)?;
        map.serialize_entry(&self.quarantined(), &self.view.quarantined_aggregates)?;
        map.serialize_entry("quarantined_events", &self.view.quarantined_events)?;
        map.serialize_entry("stuck_partitions", &self.view.stuck_partitions)?;
        map.end()
    }
}

fn breaker() -> Object {
    schema::one_of(&["closed", "half_open", "open"])
}

fn retry_place() -> Object {
    schema::one_of(&["memory", "redis"])
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StuckView {
    /// One, or on a topic with more than sixteen those that share a producer.
    #[schema(example = json!([3]))]
    pub partitions: Vec<u32>,
    pub since: DateTime<Utc>,
    pub waiting_events: i64,
    /// Why the last attempt failed. Known where the publisher is; elsewhere null, as what follows.
    pub cause: Option<String>,
    pub attempt: Option<u32>,
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// What waits according to the database, and what the publisher says of it, if it is here.
fn stuck_partitions(deferred: &[DeferredLane], stuck: Vec<StuckLane>) -> Vec<StuckView> {
    let mut views: BTreeMap<u32, StuckView> = BTreeMap::new();
    for of in deferred {
        let (lane, partitions) = (of.lane.unsigned_abs(), of.partitions.unsigned_abs());
        let partitions = (0..partitions).filter(|partition| partition % lanes(partitions) == lane).collect();
        let (since, waiting_events) = (of.since, of.events);
        let (cause, attempt, next_attempt_at) = (None, None, None);
        let view = StuckView { partitions, since, waiting_events, cause, attempt, next_attempt_at };
        views.insert(lane, view);
    }
    for StuckLane { lane, partitions, since, cause, attempt, next_attempt_at } in stuck {
        let waiting_events = views.get(&lane).map_or(0, |view| view.waiting_events);
        let (cause, attempt, next_attempt_at) = (Some(cause), Some(attempt), Some(next_attempt_at));
        let view = StuckView { partitions, since, waiting_events, cause, attempt, next_attempt_at };
        views.insert(lane, view);
    }
    views.into_values().collect()
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RetryView {
    #[serde(rename = "where")]
    #[schema(schema_with = retry_place)]
    pub place: String,
    pub attempt: u32,
    pub next_attempt_at: DateTime<Utc>,
}

impl From<RetryStatus> for RetryView {
    fn from(RetryStatus { place, attempt, next_attempt_at }: RetryStatus) -> Self {
        Self { place: place.to_owned(), attempt, next_attempt_at }
    }
}

kit::problems!(pub(super) OutboxProblems: DATABASE_UNAVAILABLE, STOPPING);

/// What awaits publication, and how publication fares.
#[utoipa::path(get, path = "/api/outbox", tag = "operations", operation_id = "read_outbox",
    responses((status = 200, description = "The outbox", body = OutboxView), OutboxProblems))]
pub(super) async fn read(outbox: Data<Outbox>) -> Result<Json<Worded<OutboxView>>, Problem> {
    let numbers = outbox.reader.numbers().await.map_err(of_read)?;
    // Nearly always there are none.
    let deferred = if numbers.deferred_events > 0 {
        outbox.reader.deferred().await.map_err(of_read)?
    } else {
        Vec::new()
    };
    let mut status = outbox.publisher.ask(GetStatus).await.ok();
    let stuck = status.as_mut().map(|status| std::mem::take(&mut status.stuck)).unwrap_or_default();
    let age = numbers.oldest_pending_age();
    let retry = status.as_ref().and_then(|status| status.retry.clone()).map(RetryView::from);
    let view = OutboxView {
        pending: numbers.pending,
        oldest_pending_age_seconds: age.as_secs_f64(),
        published_seq: numbers.published_seq,
        head_seq: numbers.head_seq,
        // A publisher that is being restarted sends nothing: open, in effect.
        breaker: status.as_ref().map_or("open", |status| status.breaker).to_owned(),
        is_publisher: status.as_ref().is_some_and(|status| status.is_publisher),
        retry,
        quarantined_aggregates: numbers.quarantined,
        quarantined_events: numbers.quarantined_events,
        stuck_partitions: stuck_partitions(&deferred, stuck),
    };
    Ok(Json(Worded::new(outbox.name(), view)))
}
