//! Crediting a batch: one call, one transaction, one round trip. The only writer of `ledger` and `account`.
//!
//! The statement is a function in the database (`migrations/0003…`), because it has two steps that each need a snapshot of their
//! own: first the locks of the batch's orders, then the rows. What it books of an order is the change of
//! [`crate::points::contribution`], so an account depends on the set of events that were received, and on nothing else.

use std::time::{Duration, Instant};

use sqlx::FromRow;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tracing::debug;
use uuid::Uuid;

use crate::database;
use crate::error::LedgerError;
use crate::message::Event;
use crate::points;

/// Longest that one attempt at a batch may take. Postgres may be frozen, and then nothing else ends the wait.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was unused for longer is replaced: whatever lies in between may have forgotten it without a word.
const KEPT_UNUSED_MAX: Duration = Duration::from_secs(60);

/// What a batch came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Credited {
    /// Events that the ledger did not hold before.
    pub new: usize,
    /// Deliveries of events that it held.
    pub duplicates: usize,
    /// By how much the accounts have changed, taken together.
    pub points: i64,
    /// Of the new ones: awards that were worth nothing, because their order's cancellation was booked before them.
    pub cancelled: usize,
    /// Not booked: the ledger holds another event in their place.
    pub forks: Vec<Fork>,
}

/// An event that cannot be right, or whose rival cannot: an order has one event at each version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    pub event_id: Uuid,
    /// The event that the ledger holds for the same order and version.
    pub booked: Uuid,
}

#[derive(FromRow)]
struct Answer {
    new_events: i64,
    new_points: i64,
    cancelled: i64,
    forked: Vec<Uuid>,
    booked: Vec<Uuid>,
}

/// Credits batches on a connection of its own, made when it is first needed and kept while it is good. A pool would ask Postgres
/// before and after each batch whether it is still there: two round trips, where the batch is one.
pub struct LedgerConnection {
    connect: PgConnectOptions,
    /// And when it was last used.
    open: Option<(PgConnection, Instant)>,
}

impl LedgerConnection {
    pub fn new(connect: PgConnectOptions) -> Self {
        Self { connect, open: None }
    }

    /// Credits `events` at most once each. After an error nothing is known: call again with the same events.
    pub async fn credit(&mut self, events: &[Event]) -> Result<Credited, LedgerError> {
        if events.is_empty() {
            return Ok(Credited::default());
        }
        // A connection that is given up on goes with the attempt: in the middle of a statement it would be good for nothing.
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, self.attempt(events)).await;
        attempt.unwrap_or(Err(LedgerError::Timeout(ATTEMPT_TIMEOUT)))
    }

    async fn attempt(&mut self, events: &[Event]) -> Result<Credited, LedgerError> {
        let kept = self.open.take().filter(|(_, used_at)| used_at.elapsed() < KEPT_UNUSED_MAX);
        if let Some((connection, _)) = kept {
            match self.credit_on(connection, events).await {
                Err(LedgerError::Postgres(error)) if is_loss(&error) => {
                    debug!(%error, "The connection broke since the last batch; trying once more on a fresh one");
                }
                done => return done,
            }
        }
        let fresh = database::connect(&self.connect).await?;
        self.credit_on(fresh, events).await
    }

    async fn credit_on(
        &mut self,
        mut connection: PgConnection,
        events: &[Event],
    ) -> Result<Credited, LedgerError> {
        let credited = transact(&mut connection, events).await?;
        self.open = Some((connection, Instant::now()));
        Ok(credited)
    }
}

/// Whether it says something of the connection, not of the statement. 57P: the server ended the session.
fn is_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => true,
    }
}

/// Credits `events`, each at most once, in one transaction of its own.
pub async fn transact(connection: &mut PgConnection, events: &[Event]) -> Result<Credited, LedgerError> {
    let answer: Answer = sqlx::query_as(include_str!("sql/credit_events.sql"))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.order_id))
        .bind(column(events, |event| event.version))
        .bind(column(events, |event| event.customer_id))
        .bind(column(events, |event| event.valued.event_type()))
        .bind(column(events, |event| event.valued.worth()))
        .bind(column(events, |event| event.occurred_at))
        .bind(points::POLICY_VERSION)
        .fetch_one(connection)
        .await?;
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    let forks = answer.forked.into_iter().zip(answer.booked);
    let forks: Vec<Fork> = forks.map(|(event_id, booked)| Fork { event_id, booked }).collect();
    let new = count(answer.new_events);
    Ok(Credited {
        new,
        duplicates: events.len().saturating_sub(new + forks.len()),
        points: answer.new_points,
        cancelled: count(answer.cancelled),
        forks,
    })
}

fn column<V>(events: &[Event], value: impl Fn(&Event) -> V) -> Vec<V> {
    events.iter().map(value).collect()
}
