//! The list derived anew from the journal alone, while the service goes on.
//!
//! The same steps as the projection's fill a second table, with a cursor of its own. When that has caught up, one transaction holds the
//! live cursor, takes in the rest, and makes the live list equal to it. So:
//!
//! - Whoever reads sees the former list or the new one, whole. Neither commands nor readers wait; the list lags during that transaction.
//! - Each step is committed. A rebuild that was interrupted is continued by the next one: the journal is only ever added to.
//! - One rebuild at a time: a lock of the session, which ends with it.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::step;
use super::table::Table;

/// How long the session of a rebuild that was killed may take to end. Postgres looks for its client every second.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another rebuild of the list is at work; wait for it, or end it")]
    AtWork,
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
}

/// What a rebuild came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Orders in the list.
    pub orders: i64,
    /// The last position of the journal that it shows.
    pub projected_seq: i64,
    /// Where an earlier rebuild had been interrupted, and this one has continued.
    pub resumed_from: Option<i64>,
    /// Orders that the list lacked.
    pub added: i64,
    /// Orders that the list had and the journal has not.
    pub removed: i64,
    /// Orders that the list had in another form.
    pub corrected: i64,
    /// Events of this run that were passed over, because this version does not know them.
    pub unknown_events: i64,
}

/// Rebuilds the list on a session of its own, without a limit to its statements. `restart`: what an interrupted rebuild has left is
/// not continued. `progress` is told which of how many events are done.
///
/// # Errors
/// The list is as it was. What is done so far is kept for the next rebuild.
pub async fn rebuild(
    connection: &mut PgConnection,
    restart: bool,
    mut progress: impl FnMut(i64, i64),
) -> Result<Rebuilt, RebuildError> {
    lock(connection).await?;
    let begun_at = begin(connection, restart).await?;
    let mut unknown_events = 0;
    loop {
        let step = step::catch_up(connection, Table::Rebuilt, i64::MAX).await?;
        unknown_events += step.unknown.iter().map(|unknown| unknown.events).sum::<i64>();
        let done = projected(connection).await?;
        progress(done, done + step.lag);
        if step.lag <= 0 {
            break;
        }
        // Somebody holds the cursor by hand: nobody else can have it.
        if !step.moved {
            return Err(RebuildError::AtWork);
        }
    }
    let swapped = swap(connection).await?;
    // After the swap: from here on these rows are nothing, and the next rebuild would remove them.
    clear(connection).await?;
    let resumed_from = (begun_at > 0).then_some(begun_at);
    Ok(Rebuilt { resumed_from, unknown_events: unknown_events + swapped.unknown_events, ..swapped })
}

async fn lock(connection: &mut PgConnection) -> Result<(), RebuildError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let locked =
            sqlx::query_scalar(include_str!("sql/lock_rebuild.sql")).fetch_one(&mut *connection).await?;
        if locked {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(RebuildError::AtWork);
        }
        sleep(LOCK_PAUSE).await;
    }
}

/// The position at which this rebuild begins: 0, with an empty table, or where an earlier one was interrupted.
async fn begin(connection: &mut PgConnection, restart: bool) -> Result<i64, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let at = projected(&mut transaction).await?;
    let head: i64 = sqlx::query_scalar(include_str!("sql/head.sql")).fetch_one(&mut *transaction).await?;
    // Beyond the journal's end: events are gone, of which the table has orders.
    if at > 0 && at <= head && !restart {
        return Ok(at);
    }
    clear(&mut transaction).await?;
    advance(&mut transaction, Table::Rebuilt, 0).await?;
    transaction.commit().await?;
    Ok(0)
}

async fn clear(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let may_truncate = sqlx::query_scalar(include_str!("sql/may_truncate.sql")).fetch_one(&mut *connection);
    let statement = match may_truncate.await? {
        true => include_str!("sql/truncate_rebuilt.sql"),
        false => include_str!("sql/clear_rebuilt.sql"),
    };
    sqlx::query(statement).execute(connection).await.map(drop)
}

async fn projected(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(Table::Rebuilt.sql(include_str!("sql/projected.sql"))).fetch_one(connection).await
}

async fn advance(connection: &mut PgConnection, table: Table, to: i64) -> Result<(), sqlx::Error> {
    let advance = sqlx::query(table.sql(include_str!("sql/advance.sql"))).bind(to);
    advance.execute(connection).await.map(drop)
}

/// Makes the live list equal to the rebuilt one, in one transaction. Only what differs is written.
async fn swap(connection: &mut PgConnection) -> Result<Rebuilt, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // First: from here on no instance writes the list, so that the two are compared at one position.
    let live: i64 = sqlx::query_scalar(include_str!("sql/hold.sql")).fetch_one(&mut *transaction).await?;
    let mut unknown_events = 0;
    let mut projected_seq = projected(&mut transaction).await?;
    if live < projected_seq {
        // What the list only lags is not wrong. One step, as long as the projector is at work; more would hold its cursor for long.
        step::catch_up(&mut transaction, Table::Live, projected_seq).await?;
    }
    while projected_seq < live {
        let step = step::catch_up(&mut transaction, Table::Rebuilt, live).await?;
        unknown_events += step.unknown.iter().map(|unknown| unknown.events).sum::<i64>();
        projected_seq = projected(&mut transaction).await?;
        // The live cursor is beyond the journal's end.
        if !step.moved {
            break;
        }
    }
    let wrong = sqlx::query_as(include_str!("sql/remove_wrong.sql"));
    // Before the missing ones are added: an order may be wrong by having another's position, and that is unique.
    let (wrong, corrected): (i64, i64) = wrong.fetch_one(&mut *transaction).await?;
    let added = sqlx::query(include_str!("sql/add_missing.sql")).execute(&mut *transaction).await?;
    let added = i64::try_from(added.rows_affected()).unwrap_or(i64::MAX) - corrected;
    let orders = sqlx::query_scalar(include_str!("sql/count.sql")).fetch_one(&mut *transaction).await?;
    advance(&mut transaction, Table::Live, projected_seq).await?;
    advance(&mut transaction, Table::Rebuilt, 0).await?;
    transaction.commit().await?;
    let removed = wrong - corrected;
    Ok(Rebuilt { orders, projected_seq, resumed_from: None, added, removed, corrected, unknown_events })
}
