//! Crediting a batch: one transaction, and in it one call for the credits. The only writer of `ledger`; of `account` beside [`crate::sweep`] and
//! [`crate::rebuild`].
//!
//! The statement is a function in the database (`migrations/0008…`), because its steps each need their own snapshot: the locks of the
//! batch's orders, the rows, the VIP status of accounts. It books the change of an order's [`crate::points::contribution`] by the policy in
//! force, if this version knows that, and derives anew what was by another one. So an account depends only on the set of events received
//! and the policy, and VIP on the moment as well. What customers gain and lose is appended to the outbox in the same
//! transaction ([`changes::record`]).

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use engine::journal::Appender;
use kit::postgres::Connector;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, FromRow};
use tracing::debug;
use uuid::Uuid;

use crate::batch::DeadLetter;
use crate::changes::{self, AccountChange, Standings};
use crate::dead_letter;
use crate::error::LedgerError;
use crate::message::Event;
use crate::policy;

/// A connection that was unused for longer is replaced: a device in between may have dropped it silently.
const KEPT_UNUSED_MAX: Duration = Duration::from_secs(60);

/// The result of a batch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Credited {
    /// Events that were not in the ledger before.
    pub new: usize,
    /// Deliveries of events that were in it.
    pub duplicates: usize,
    /// The sum of the changes of all accounts.
    pub points: i64,
    /// Of the new ones: awards that were worth no points, because their order's cancellation was booked earlier.
    pub cancelled: usize,
    /// Not booked: the ledger holds another event in their place.
    pub forks: Vec<Fork>,
    /// Grades and VIP statuses that customers have gained and lost.
    pub changes: Vec<AccountChange>,
}

/// Two events of an order with the same version: one of them must be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    pub event_id: Uuid,
    /// The event that the ledger holds for the same order and version.
    pub booked: Uuid,
}

/// An event whose values the database refuses.
#[derive(Debug)]
pub struct RefusedEvent {
    pub event_id: Uuid,
    pub refusal: String,
}

impl Credited {
    fn add(&mut self, more: Self) {
        self.new += more.new;
        self.duplicates += more.duplicates;
        self.points += more.points;
        self.cancelled += more.cancelled;
        self.forks.extend(more.forks);
        self.changes.extend(more.changes);
    }
}

#[derive(FromRow)]
struct CreditRow {
    new_events: i64,
    new_points: i64,
    cancelled: i64,
    forked: Vec<Uuid>,
    booked: Vec<Uuid>,
    #[sqlx(flatten)]
    standings: Standings,
}

/// Credits batches on its own connection, opened when it is first needed and kept while it is good. A pool would ping Postgres
/// before each batch, and the batch itself is only a few round trips.
pub struct LedgerConnection {
    connector: Connector,
    appender: Appender,
    /// And when it was last used.
    open: Option<(PgConnection, Instant)>,
}

impl LedgerConnection {
    pub fn new(connector: Connector, appender: Appender) -> Self {
        Self { connector, appender, open: None }
    }

    /// Credits `events` at most once each. After an error nothing is known: call again with the same events.
    pub async fn credit(&mut self, events: &[Event]) -> Result<Credited, LedgerError> {
        if events.is_empty() {
            return Ok(Credited::default());
        }
        if let Some(kept) = self.kept() {
            match self.credit_on(kept, events).await {
                // Nothing is booked twice, so it does not matter whether the first attempt has booked.
                Err(error) if !error.is_of_the_values() => {
                    debug!(%error, "The connection was good for the last batch; trying once more on a fresh one");
                }
                done => return done,
            }
        }
        let fresh = self.connector.connect().await?;
        self.credit_on(fresh, events).await
    }

    /// Credits each event by itself, after all together were refused. Returns those that are at fault.
    pub async fn credit_each(
        &mut self,
        events: &[Event],
    ) -> Result<(Credited, Vec<RefusedEvent>), LedgerError> {
        let (mut credited, mut refused) = (Credited::default(), Vec::new());
        for event in events {
            match self.credit(std::slice::from_ref(event)).await {
                Ok(more) => credited.add(more),
                Err(error) if error.is_of_the_values() => {
                    refused.push(RefusedEvent { event_id: event.event_id, refusal: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((credited, refused))
    }

    /// Keeps dead letters until they are sent. After an error call again with all of them.
    pub async fn keep(&mut self, letters: &[DeadLetter], group_id: &str) -> Result<(), LedgerError> {
        let mut connection = match self.kept() {
            Some(kept) => kept,
            None => self.connector.connect().await?,
        };
        for letter in letters {
            let keeping = dead_letter::keep(&mut connection, letter, group_id);
            self.within_the_limit(keeping).await?;
        }
        self.open = Some((connection, Instant::now()));
        Ok(())
    }

    /// Taken out, so that a connection with an error is dropped with the attempt.
    fn kept(&mut self) -> Option<PgConnection> {
        self.open
            .take()
            .filter(|(_, used_at)| used_at.elapsed() < KEPT_UNUSED_MAX)
            .map(|(connection, _)| connection)
    }

    async fn credit_on(
        &mut self,
        mut connection: PgConnection,
        events: &[Event],
    ) -> Result<Credited, LedgerError> {
        let credited = self.within_the_limit(transact(&mut connection, &self.appender, events, None)).await?;
        self.open = Some((connection, Instant::now()));
        Ok(credited)
    }

    /// If Postgres is frozen, nothing else ends the wait.
    async fn within_the_limit<T, E: Into<LedgerError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LedgerError> {
        let limit = self.connector.limit();
        let done = tokio::time::timeout(limit, work).await;
        done.map_err(|_| LedgerError::Timeout(limit))?.map_err(Into::into)
    }
}

/// Credits `events`, each at most once, in one transaction of its own, and appends what customers have gained and lost. VIP is decided as
/// of a moment; `None`: the server's clock.
pub async fn transact(
    connection: &mut PgConnection,
    appender: &Appender,
    events: &[Event],
    as_of: Option<DateTime<Utc>>,
) -> Result<Credited, LedgerError> {
    let mut transaction = connection.begin().await?;
    let credited = credit(&mut transaction, events, as_of).await?;
    let now = as_of.unwrap_or_else(Utc::now);
    let recorded = changes::record(&mut transaction, appender, &credited.changes, now).await?;
    transaction.commit().await?;
    appender.committed(recorded);
    Ok(credited)
}

async fn credit(
    connection: &mut PgConnection,
    events: &[Event],
    as_of: Option<DateTime<Utc>>,
) -> Result<Credited, LedgerError> {
    let row: CreditRow = sqlx::query_as(include_str!("sql/credit_events.sql"))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.order_id))
        .bind(column(events, |event| event.version))
        .bind(column(events, |event| event.customer_id))
        .bind(column(events, |event| event.valued.event_type()))
        .bind(column(events, |event| event.occurred_at))
        .bind(policy::VERSIONS)
        .bind(as_of)
        .fetch_one(connection)
        .await?;
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    let forks = row.forked.into_iter().zip(row.booked);
    let forks: Vec<Fork> = forks.map(|(event_id, booked)| Fork { event_id, booked }).collect();
    let new = count(row.new_events);
    Ok(Credited {
        new,
        duplicates: events.len().saturating_sub(new + forks.len()),
        points: row.new_points,
        cancelled: count(row.cancelled),
        forks,
        changes: row.standings.changes(),
    })
}

fn column<V>(events: &[Event], value: impl Fn(&Event) -> V) -> Vec<V> {
    events.iter().map(value).collect()
}
