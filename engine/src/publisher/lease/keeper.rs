//! The task that owns the lease's connection: waits for the lock, keeps it, writes progress under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{debug, error};
use uuid::Uuid;

use super::super::machine::{Progress, Source};
use super::aside;
use super::tenure::{Input, Step, Task, Tenure};
use super::{LeaseError, LeaseEvent, LeaseRequest, LeaseSettings, ValidityClock};
use crate::aggregate::AggregateId;

/// Between two moves of the cursor, which share the disk with the journal. Events delivered in this time are delivered again after
/// a kill.
const PROGRESS_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a broken lease connection is replaced.
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);
/// Pause before a server that takes no writes is asked again.
const READ_ONLY_PAUSE: Duration = Duration::from_secs(1);

/// Between two tries of the server, as in `wait_for_lease.sql`.
const TRY_INTERVAL_MS: u128 = 50;

pub(super) struct LeaseKeeper {
    pub(super) settings: LeaseSettings,
    pub(super) requests: watch::Receiver<LeaseRequest>,
    pub(super) tasks: mpsc::Receiver<Task>,
    pub(super) partitions: Arc<AtomicU32>,
    pub(super) clock: Arc<ValidityClock>,
    pub(super) tell: Box<dyn Fn(LeaseEvent) + Send + Sync>,
}

impl LeaseKeeper {
    pub(super) async fn run(mut self) {
        // Ends when the publisher drops its handle.
        while self.requests.wait_for(|request| request.wanted).await.is_ok() {
            match self.wait_for_lock().await {
                Ok(Some(connection)) => {
                    let held = self.hold(connection).await;
                    self.clock.expire();
                    // Progress that was not written in time belongs to a window that was dropped.
                    while self.tasks.try_recv().is_ok() {}
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
        // The answer may be as late as a holder's heartbeat may be. After that the server counts as gone.
        let answer_within = self.settings.wait() + self.settings.timeout * 2 / 5;
        loop {
            let wait =
                sqlx::query(self.settings.names.sql(include_str!("../sql/wait_for_lease.sql"))).bind(tries);
            let taken = tokio::select! {
                taken = timeout(answer_within, wait.fetch_optional(&mut connection)) => taken??,
                // If the client is gone, the server ends the statement within a second.
                _ = self.requests.wait_for(|request| !request.wanted) => return Ok(None),
            };
            if taken.is_some() {
                break;
            }
        }
        // Once more: the server may have become read-only during the wait.
        refuse_read_only(&mut connection, self.settings.timeout).await?;
        Ok(Some(connection))
    }

    /// Holds the lease until it is lost (an error) or no longer wanted.
    async fn hold(&mut self, mut connection: PgConnection) -> Result<(), LeaseError> {
        let forfeits = self.requests.borrow().forfeits;
        let sent_at = Instant::now();
        let rewind = sqlx::query_as(self.settings.names.sql(include_str!("../sql/rewind_cursor.sql")))
            .fetch_optional(&mut connection);
        let rewound: Option<(i64, i64)> = timeout(self.settings.validity(), rewind).await??;
        if let Some((cursor, head)) = rewound {
            error!(
                cursor,
                head,
                "The cursor was beyond the journal's end, and is set back to it: events are gone from the journal"
            );
        }
        let query = sqlx::query_as(self.settings.names.sql(include_str!("../sql/gain.sql")))
            .fetch_one(&mut connection);
        let (published, head, quarantined, timeline): (i64, i64, Vec<Uuid>, Option<String>) =
            timeout(self.settings.validity(), query).await??;
        self.clock.renew(sent_at, self.settings.validity());
        let known = self.partitions.load(Ordering::Acquire);
        let (partitions, deferred) = aside::divide(
            &mut connection,
            &self.settings.names,
            known,
            self.settings.validity(),
            &self.clock,
        )
        .await?;
        let quarantined = quarantined.into_iter().map(AggregateId).collect();
        (self.tell)(LeaseEvent::Gained { published, head, quarantined, timeline, partitions, deferred });

        let mut heartbeat = interval(self.settings.heartbeat());
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tenure, mut write_not_before) = (Tenure::default(), Instant::now());
        loop {
            let input = tokio::select! {
                task = self.tasks.recv() => task.map(Input::Task),
                () = sleep_until(write_not_before.into()), if tenure.has_unwritten() => Some(Input::WriteDue),
                _ = self.requests.wait_for(|request| !request.wanted || request.forfeits != forfeits) => None,
                _ = heartbeat.tick() => Some(Input::HeartbeatDue),
            };
            let input = input.unwrap_or_else(|| Input::GiveUp { left: self.tasks_left() });
            for step in tenure.handle(input) {
                match step {
                    Step::Write(progress) => {
                        self.write_progress(&mut connection, progress).await?;
                        write_not_before = Instant::now() + PROGRESS_PAUSE;
                    }
                    Step::ReadRows { of, after, limit, token } => {
                        self.read_rows(&mut connection, of, after, limit, token).await?;
                    }
                    Step::Heartbeat => self.send_heartbeat(&mut connection).await?,
                    // The lock ends with the session, and the next waiter gets it at once.
                    Step::Release => {
                        timeout(self.settings.validity(), connection.close()).await??;
                        return Ok(());
                    }
                }
            }
        }
    }

    fn tasks_left(&mut self) -> Vec<Task> {
        std::iter::from_fn(|| self.tasks.try_recv().ok()).collect()
    }

    async fn send_heartbeat(&self, connection: &mut PgConnection) -> Result<(), LeaseError> {
        let sent_at = Instant::now();
        let query = sqlx::query_as(self.settings.names.sql(include_str!("../sql/heartbeat.sql")))
            .fetch_one(&mut *connection);
        let (head, released): (i64, Vec<Uuid>) = timeout(self.settings.validity(), query).await??;
        self.clock.renew(sent_at, self.settings.validity());
        (self.tell)(LeaseEvent::Seen { head });
        if !released.is_empty() {
            (self.tell)(LeaseEvent::Released(released.into_iter().map(AggregateId).collect()));
        }
        Ok(())
    }

    async fn read_rows(
        &self,
        connection: &mut PgConnection,
        of: Source,
        after: i64,
        limit: usize,
        token: u64,
    ) -> Result<(), LeaseError> {
        let sent_at = Instant::now();
        let page = aside::page(connection, &self.settings.names, of, after, limit);
        let events = timeout(self.settings.validity(), page).await??;
        self.clock.renew(sent_at, self.settings.validity());
        (self.tell)(LeaseEvent::Rows { of, token, events });
        Ok(())
    }

    async fn write_progress(
        &self,
        connection: &mut PgConnection,
        progress: Progress,
    ) -> Result<(), LeaseError> {
        let sent_at = Instant::now();
        let write = aside::write(connection, &self.settings.names, &progress);
        timeout(self.settings.validity(), write).await??;
        self.clock.renew(sent_at, self.settings.validity());
        debug!(
            published = progress.published,
            parked = progress.parked.len(),
            deferred = progress.deferred.len(),
            "The cursor moved"
        );
        Ok(())
    }
}

/// A standby grants its own advisory locks. A holder there could not move the cursor. It would publish its window again and again,
/// besides the publisher on the primary.
async fn refuse_read_only(connection: &mut PgConnection, patience: Duration) -> Result<(), LeaseError> {
    let query = sqlx::query_as(include_str!("../sql/server_role.sql")).fetch_one(connection);
    let (standby, read_only): (bool, bool) = timeout(patience, query).await??;
    if standby || read_only {
        return Err(LeaseError::ReadOnly { standby });
    }
    Ok(())
}
