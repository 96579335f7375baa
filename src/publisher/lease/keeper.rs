//! The task that owns the lease's connection: waits for the lock, keeps it, writes progress under it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::postgres::ConnectError;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{debug, error};
use uuid::Uuid;

use super::super::machine::Progress;
use super::{Clock, LeaseEvent, LeaseSettings, Wish};
use crate::order::OrderId;

/// Between two moves of the cursor. They share the disk with the journal; what is delivered in this time and not yet covered is
/// what a kill makes come twice.
const PROGRESS_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a broken lease connection is tried anew.
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);
/// Pause before a server that takes no writes is asked again.
const READ_ONLY_PAUSE: Duration = Duration::from_secs(1);

/// Between two tries of the server's, as in `wait_for_lease.sql`.
const TRY_INTERVAL_MS: u128 = 50;

/// What the holder does next.
enum Next {
    Take(Progress),
    Write,
    Beat,
    GiveUp,
}

/// Progress that was taken from the queue, which is never left to fill during a pause, and not written yet.
#[derive(Default)]
struct Unwritten {
    progress: Progress,
    records: u64,
}

impl Unwritten {
    /// One cursor move for all of it.
    fn add(&mut self, more: Progress) {
        self.records += 1;
        self.progress.published = self.progress.published.max(more.published);
        self.progress.parked.extend(more.parked);
        self.progress.unparked.extend(more.unparked);
        self.progress.unquarantined.extend(more.unquarantined);
    }
}

pub(super) struct Keeper {
    pub(super) settings: LeaseSettings,
    pub(super) wishes: watch::Receiver<Wish>,
    pub(super) progress: mpsc::Receiver<Progress>,
    pub(super) clock: Arc<Clock>,
    pub(super) tell: Box<dyn Fn(LeaseEvent) + Send + Sync>,
    /// Records written in this tenure.
    pub(super) written: u64,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        // Ends when the publisher drops its end.
        while self.wishes.wait_for(|wish| wish.wanted).await.is_ok() {
            match self.wait_for_lock().await {
                Ok(Some(connection)) => {
                    let held = self.hold(connection).await;
                    self.clock.expire();
                    // What was not written in time belongs to a window that is gone.
                    while self.progress.try_recv().is_ok() {}
                    let error = held.err().map(|error| error.to_string());
                    let pause = error.is_some();
                    (self.tell)(LeaseEvent::Lost { error });
                    if pause {
                        sleep(RECONNECT_PAUSE).await;
                    }
                }
                Ok(None) => {}
                Err(LeaseError::ReadOnly { standby }) => {
                    (self.tell)(LeaseEvent::ReadOnly { standby });
                    sleep(READ_ONLY_PAUSE).await;
                }
                Err(error) => {
                    (self.tell)(LeaseEvent::Unreachable(error.to_string()));
                    sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    /// Waits for the lock; `None` when the lease is no longer wanted.
    async fn wait_for_lock(&mut self) -> Result<Option<PgConnection>, LeaseError> {
        let mut connection = self.settings.connector.connect().await?;
        refuse_read_only(&mut connection, self.settings.timeout).await?;
        let tries = i32::try_from(self.settings.wait().as_millis() / TRY_INTERVAL_MS).unwrap_or(1).max(1);
        // The server's answer may be late by as much as a holder's heartbeat may; after that it counts as gone.
        let answer_within = self.settings.wait() + self.settings.timeout * 2 / 5;
        loop {
            let wait = sqlx::query(include_str!("../sql/wait_for_lease.sql")).bind(tries);
            let taken = tokio::select! {
                taken = timeout(answer_within, wait.fetch_optional(&mut connection)) => taken??,
                // The server ends the statement of a client that has gone, within a second.
                _ = self.wishes.wait_for(|wish| !wish.wanted) => return Ok(None),
            };
            if taken.is_some() {
                break;
            }
        }
        // Once more: it may have become so during the wait.
        refuse_read_only(&mut connection, self.settings.timeout).await?;
        Ok(Some(connection))
    }

    /// Holds the lease until it is lost (an error) or no longer wanted.
    async fn hold(&mut self, mut connection: PgConnection) -> Result<(), LeaseError> {
        let forfeits = self.wishes.borrow().forfeits;
        let sent_at = Instant::now();
        let rewind = sqlx::query_as(include_str!("../sql/rewind_cursor.sql")).fetch_optional(&mut connection);
        let rewound: Option<(i64, i64)> = timeout(self.settings.validity(), rewind).await??;
        if let Some((cursor, head)) = rewound {
            error!(
                cursor,
                head,
                "The cursor was beyond the journal's end, and is set back to it: events are gone from the journal"
            );
        }
        let query = sqlx::query_as(include_str!("../sql/gain.sql")).fetch_one(&mut connection);
        let (published, head, quarantined, timeline): (i64, i64, Vec<Uuid>, Option<String>) =
            timeout(self.settings.validity(), query).await??;
        self.clock.renew(sent_at, self.settings.validity());
        self.written = 0;
        let quarantined = quarantined.into_iter().map(OrderId).collect();
        (self.tell)(LeaseEvent::Gained { published, head, quarantined, timeline });

        let mut heartbeat = interval(self.settings.heartbeat());
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut unwritten, mut write_not_before) = (Unwritten::default(), Instant::now());
        loop {
            let next = tokio::select! {
                made = self.progress.recv() => made.map_or(Next::GiveUp, Next::Take),
                () = sleep_until(write_not_before.into()), if unwritten.records > 0 => Next::Write,
                _ = self.wishes.wait_for(|wish| !wish.wanted || wish.forfeits != forfeits) => Next::GiveUp,
                _ = heartbeat.tick() => Next::Beat,
            };
            match next {
                Next::Take(progress) => unwritten.add(progress),
                Next::Write => {
                    self.write_progress(&mut connection, std::mem::take(&mut unwritten)).await?;
                    write_not_before = Instant::now() + PROGRESS_PAUSE;
                }
                Next::Beat => self.beat(&mut connection).await?,
                Next::GiveUp => break,
            }
        }
        // Given up on purpose: what was achieved is written first, then the next in line goes on at once.
        while let Ok(progress) = self.progress.try_recv() {
            unwritten.add(progress);
        }
        if unwritten.records > 0 {
            self.write_progress(&mut connection, unwritten).await?;
        }
        timeout(self.settings.validity(), connection.close()).await??;
        Ok(())
    }

    async fn beat(&self, connection: &mut PgConnection) -> Result<(), LeaseError> {
        let sent_at = Instant::now();
        let query = sqlx::query_as(include_str!("../sql/heartbeat.sql")).fetch_one(&mut *connection);
        let (head, released): (i64, Vec<Uuid>) = timeout(self.settings.validity(), query).await??;
        self.clock.renew(sent_at, self.settings.validity());
        (self.tell)(LeaseEvent::Seen { head });
        for order_id in released {
            let parked = sqlx::query_as(include_str!("../sql/parked_events.sql"))
                .bind(order_id)
                .fetch_all(&mut *connection);
            let events = timeout(self.settings.validity(), parked).await??;
            (self.tell)(LeaseEvent::Released { order_id: OrderId(order_id), events, written: self.written });
        }
        Ok(())
    }

    async fn write_progress(
        &mut self,
        connection: &mut PgConnection,
        Unwritten { progress, records }: Unwritten,
    ) -> Result<(), LeaseError> {
        let sent_at = Instant::now();
        timeout(self.settings.validity(), write(connection, &progress)).await??;
        self.clock.renew(sent_at, self.settings.validity());
        self.written += records;
        debug!(published = progress.published, parked = progress.parked.len(), "The cursor moved");
        Ok(())
    }
}

async fn write(connection: &mut PgConnection, progress: &Progress) -> Result<(), sqlx::Error> {
    if progress.parked.is_empty() && progress.unparked.is_empty() && progress.unquarantined.is_empty() {
        sqlx::query(include_str!("../sql/move_cursor.sql"))
            .bind(progress.published)
            .execute(connection)
            .await?;
        return Ok(());
    }
    let (order_ids, errors): (Vec<Uuid>, Vec<&str>) = progress
        .parked
        .iter()
        .filter_map(|parked| parked.error.as_deref().map(|error| (parked.order_id.0, error)))
        .unzip();
    let (seqs, orders): (Vec<i64>, Vec<Uuid>) =
        progress.parked.iter().map(|parked| (parked.seq, parked.order_id.0)).unzip();
    let mut transaction = connection.begin().await?;
    // Orders before their events (a foreign key), and both before the cursor passes them.
    sqlx::query(include_str!("../sql/park_orders.sql"))
        .bind(&order_ids)
        .bind(&errors)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(include_str!("../sql/park_events.sql"))
        .bind(&seqs)
        .bind(&orders)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(include_str!("../sql/unpark_events.sql"))
        .bind(&progress.unparked)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(include_str!("../sql/unpark_orders.sql")).execute(&mut *transaction).await?;
    sqlx::query(include_str!("../sql/move_cursor.sql"))
        .bind(progress.published)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// A standby grants advisory locks of its own. Whoever held the lease there could not move the cursor, and would publish its window over
/// and over, beside the publisher at the primary.
async fn refuse_read_only(connection: &mut PgConnection, patience: Duration) -> Result<(), LeaseError> {
    let query = sqlx::query_as(include_str!("../sql/server_role.sql")).fetch_one(connection);
    let (standby, read_only): (bool, bool) = timeout(patience, query).await??;
    if standby || read_only {
        return Err(LeaseError::ReadOnly { standby });
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the server takes no writes")]
    ReadOnly { standby: bool },
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("the database did not answer in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}
