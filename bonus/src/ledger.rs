//! Crediting a batch: one transaction, no statement per event. The only writer of `ledger` and `account`.
//!
//! A batch of awards, as nearly all are, is one statement and with it one round trip. With cancellations among them it is
//! 1. Insert the awards; the database says which were new.
//! 2. Read what the cancellations' orders gave, insert them with what they take back.
//! 3. Add what was new to the accounts.
//!
//! The order matters. A cancellation is booked after everything its order gave, because the topic keeps one order in one
//! partition: its earlier events are in this batch, in an earlier batch of this process, or were committed by another
//! process, whose rows step 1 waits for. So step 2 sees them all.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::query::QueryAs;
use sqlx::{Connection, FromRow, Postgres};
use tracing::debug;
use uuid::Uuid;

use crate::database;
use crate::error::LedgerError;
use crate::message::Event;
use crate::points::{self, Booked, Effect};

/// Longest that one attempt at a batch may take. Postgres may be frozen, and then nothing else ends the wait.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was unused for longer is replaced: whatever lies in between may have forgotten it without a word.
const KEPT_UNUSED_MAX: Duration = Duration::from_secs(60);

/// What a batch came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Credited {
    /// Events that the ledger did not hold before.
    pub new: usize,
    /// Deliveries of events that it held.
    pub duplicates: usize,
    /// Sum over the new ones; negative if more was taken back than given.
    pub points: i64,
}

#[derive(FromRow)]
struct NewEntry {
    customer_id: Uuid,
    points: i64,
}

#[derive(FromRow)]
struct OrderEntry {
    order_id: Uuid,
    customer_id: Uuid,
    version: i64,
    points: i64,
}

/// Credits batches on a connection of its own, made when it is first needed and kept while it is good. A pool would ask Postgres
/// before and after each batch whether it is still there: two round trips, where the batch is one.
pub struct Clerk {
    connect: PgConnectOptions,
    /// And when it was last used.
    open: Option<(PgConnection, Instant)>,
}

impl Clerk {
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

/// What a late batch came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CreditedLate {
    pub credited: Credited,
    /// Awards of orders that were cancelled at a later version: nothing would take them back any more, so they are not booked.
    pub cancelled: usize,
}

/// Credits `events` that come out of their order's turn, long after it may have been cancelled. Each at most once, as ever.
pub async fn credit_late(
    connection: &mut PgConnection,
    events: Vec<Event>,
) -> Result<CreditedLate, LedgerError> {
    let mut transaction = connection.begin().await?;
    // Nobody books a cancellation between the look at them and the awards.
    sqlx::raw_sql("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let order_ids: Vec<Uuid> = events.iter().map(|event| event.order_id).collect();
    let cancellations: Vec<(Uuid, i64)> = sqlx::query_as(include_str!("sql/cancellations.sql"))
        .bind(order_ids)
        .fetch_all(&mut *transaction)
        .await?;
    let is_cancelled = |event: &Event| {
        let later =
            |(order_id, version): &(Uuid, i64)| *order_id == event.order_id && *version > event.version;
        matches!(event.valued.effect(), Effect::Award(_)) && cancellations.iter().any(later)
    };
    let (cancelled, events): (Vec<Event>, Vec<Event>) = events.into_iter().partition(is_cancelled);
    let credited = transact(&mut transaction, &events).await?;
    transaction.commit().await?;
    Ok(CreditedLate { credited, cancelled: cancelled.len() })
}

async fn transact(connection: &mut PgConnection, events: &[Event]) -> Result<Credited, LedgerError> {
    let (mut awards, mut cancellations) = (Vec::new(), Vec::new());
    for event in events {
        match event.valued.effect() {
            Effect::Award(points) => awards.push((event, points)),
            Effect::TakeBack => cancellations.push(event),
        }
    }
    let (new, points) = if cancellations.is_empty() {
        credit_awards(connection, &awards).await?
    } else {
        let mut transaction = connection.begin().await?;
        let mut new = insert(&mut transaction, &awards).await?;
        let taken_back = take_back(&mut transaction, cancellations).await?;
        new.extend(insert(&mut transaction, &taken_back).await?);
        add_to_accounts(&mut transaction, &new).await?;
        transaction.commit().await?;
        (new.len(), new.iter().map(|entry| entry.points).sum())
    };
    Ok(Credited { new, duplicates: events.len() - new, points })
}

const INSERT_ENTRIES: &str = include_str!("sql/insert_entries.sql");
const CREDIT_AWARDS: &str = concat!(
    "WITH entry AS (\n",
    include_str!("sql/insert_entries.sql"),
    ")\n",
    include_str!("sql/credit_awards.sql")
);

/// How many were new, and their points.
async fn credit_awards(
    connection: &mut PgConnection,
    awards: &[(&Event, i64)],
) -> Result<(usize, i64), LedgerError> {
    let (new, points): (i64, i64) =
        with_entries(sqlx::query_as(CREDIT_AWARDS), awards).fetch_one(connection).await?;
    Ok((usize::try_from(new).unwrap_or_default(), points))
}

async fn insert(
    connection: &mut PgConnection,
    entries: &[(&Event, i64)],
) -> Result<Vec<NewEntry>, LedgerError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    Ok(with_entries(sqlx::query_as(INSERT_ENTRIES), entries).fetch_all(connection).await?)
}

type Question<'q, Answer> = QueryAs<'q, Postgres, Answer, PgArguments>;

/// The parameters of both statements that insert into the ledger.
fn with_entries<'q, Answer>(
    question: Question<'q, Answer>,
    entries: &[(&Event, i64)],
) -> Question<'q, Answer> {
    question
        .bind(column(entries, |(event, _)| event.event_id))
        .bind(column(entries, |(event, _)| event.order_id))
        .bind(column(entries, |(event, _)| event.version))
        .bind(column(entries, |(event, _)| event.customer_id))
        .bind(column(entries, |(event, _)| event.valued.event_type()))
        .bind(column(entries, |(_, points)| *points))
        .bind(column(entries, |(event, _)| event.occurred_at))
        .bind(points::POLICY_VERSION)
}

fn column<T, V>(rows: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

/// Finds what each cancellation takes back, the earlier ones of an order counting for its later ones.
async fn take_back<'a>(
    connection: &mut PgConnection,
    mut cancellations: Vec<&'a Event>,
) -> Result<Vec<(&'a Event, i64)>, LedgerError> {
    cancellations.sort_by_key(|event| (event.order_id, event.version));
    let booked: Vec<OrderEntry> = sqlx::query_as(include_str!("sql/order_entries.sql"))
        .bind(column(&cancellations, |event| event.order_id))
        .fetch_all(connection)
        .await?;
    let mut orders: HashMap<Uuid, Vec<Booked>> = HashMap::new();
    for OrderEntry { order_id, customer_id, version, points } in booked {
        orders.entry(order_id).or_default().push(Booked { customer_id, version, points });
    }
    let mut taken_back = Vec::with_capacity(cancellations.len());
    for event in cancellations {
        let order = orders.entry(event.order_id).or_default();
        // Booked before, or delivered twice in this batch. Of two rows of one event the insert takes either, so there must
        // be one: the second one, with nothing left to take back, would be as good to it.
        if order.iter().any(|booked| booked.version == event.version) {
            continue;
        }
        let points = points::take_back(order, event.customer_id, event.version);
        order.push(Booked { customer_id: event.customer_id, version: event.version, points });
        taken_back.push((event, points));
    }
    Ok(taken_back)
}

async fn add_to_accounts(connection: &mut PgConnection, new: &[NewEntry]) -> Result<(), LedgerError> {
    // One row a customer: ON CONFLICT DO UPDATE cannot touch a row twice in one statement.
    let mut changes: BTreeMap<Uuid, (i64, i64)> = BTreeMap::new();
    for entry in new {
        let (points, events) = changes.entry(entry.customer_id).or_default();
        *points += entry.points;
        *events += 1;
    }
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/add_to_accounts.sql"))
        .bind(changes.keys().copied().collect::<Vec<_>>())
        .bind(changes.values().map(|(points, _)| *points).collect::<Vec<_>>())
        .bind(changes.values().map(|(_, events)| *events).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
