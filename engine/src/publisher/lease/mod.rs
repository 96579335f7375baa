//! Exactly one publisher in the whole deployment, by a lease that Postgres keeps.
//!
//! The lease is a session-level advisory lock on its own connection. A holder that is killed loses it at once, with the connection.
//! A holder that is frozen loses it when the session has been idle for `idle_session_timeout`. A heartbeat renews it before that.
//!
//! Other instances ask for it in statements of two seconds, in which the server tries the lock every 50 ms. (Waiting inside
//! `pg_advisory_lock` would be 25 ms quicker on average. But on a connection that has gone silent, as after a failover by address,
//! the waiter would not notice that its server no longer exists.)
//!
//! The cursor is moved on the same session, so an instance that has lost the lease cannot move it. The holder's own clock
//! ([`Lease::is_valid`]) expires before the server's, so a holder that was frozen stops sending without asking the server.

mod aside;
mod keeper;
pub(super) mod tenure;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kit::postgres::{ConnectError, Connector};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use self::keeper::LeaseKeeper;
use self::tenure::Task;
use super::machine::{Progress, Source};
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::names::Names;

/// One statement's wait for the lease. A silent server is noticed within this time and two fifths of the lease's timeout.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Most tasks in the queue. The writer merges progress that has queued up. At some thousands of reports a second, this many queue
/// up only if the server has been silent for about as long as the lease is valid.
const PROGRESS_MAX: usize = 16_384;

#[derive(Clone)]
pub struct LeaseSettings {
    pub names: Names,
    /// Sessions that end when they have been idle for `timeout`.
    pub connector: Connector,
    /// A frozen holder loses the lease after this long.
    pub timeout: Duration,
}

impl LeaseSettings {
    /// How long one statement waits for the lease.
    fn wait(&self) -> Duration {
        WAIT_MAX.min(self.timeout / 2)
    }

    fn heartbeat(&self) -> Duration {
        self.timeout / 5
    }

    /// How long after sending a statement the holder may assume that it still has the lease.
    fn validity(&self) -> Duration {
        self.timeout * 4 / 5
    }
}

#[derive(Debug)]
pub enum LeaseEvent {
    Gained {
        published: i64,
        head: i64,
        quarantined: Vec<AggregateId>,
        /// Of the server that gave the lease.
        timeline: Option<String>,
        /// See [`super::machine::Input::LeaseGained`].
        partitions: u32,
        deferred: Vec<(u32, i64)>,
    },
    /// `error` is `None` when the lease was released on purpose.
    Lost { error: Option<String> },
    /// From a heartbeat.
    Seen { head: i64 },
    /// Aggregates that an operator has released, and whose events are not all delivered yet.
    Released(Vec<AggregateId>),
    /// The answer to [`Lease::read_rows`].
    Rows { of: Source, token: u64, events: Vec<StoredEvent> },
    /// The lease is wanted but the database cannot be reached.
    Unreachable(String),
    /// The lease is wanted but the server takes no writes. Advisory locks work there too, but exclude nobody on the primary.
    ReadOnly { standby: bool },
}

/// The publisher's handle of the lease. Dropping it releases the lease.
pub struct Lease {
    request: watch::Sender<LeaseRequest>,
    tasks: mpsc::Sender<Task>,
    /// Partitions of the topic; 0 when that is not known.
    partitions: Arc<AtomicU32>,
    clock: Arc<ValidityClock>,
    task: AbortHandle,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lease {
    /// Starts without wanting the lease. Events are passed to `tell`, which must not block.
    pub fn start(
        settings: LeaseSettings,
        runtime: &Handle,
        tell: impl Fn(LeaseEvent) + Send + Sync + 'static,
    ) -> Self {
        let (request, requests) = watch::channel(LeaseRequest::default());
        let (tasks, given) = mpsc::channel(PROGRESS_MAX);
        let partitions = Arc::new(AtomicU32::new(0));
        let clock = Arc::new(ValidityClock::new());
        let keeper = LeaseKeeper {
            settings,
            requests,
            tasks: given,
            partitions: Arc::clone(&partitions),
            clock: Arc::clone(&clock),
            tell: Box::new(tell),
        };
        let task = runtime.spawn(keeper.run()).abort_handle();
        Self { request, tasks, partitions, clock, task }
    }

    pub fn want(&self, wanted: bool) {
        self.request.send_modify(|request| request.wanted = wanted);
    }

    /// Ends the present tenure, even if the lease is wanted again before the keeper has looked.
    pub fn forfeit(&self) {
        self.request.send_modify(|request| request.forfeits += 1);
    }

    /// Whether this instance certainly holds the lease.
    pub fn is_valid(&self) -> bool {
        self.clock.is_valid()
    }

    /// Queues progress to be written under the lease. False if the queue is full, as when the database hangs.
    pub fn record(&self, progress: Progress) -> bool {
        self.tasks.try_send(Task::Record(progress)).is_ok()
    }

    /// Reads at most `limit` events that are set aside, after position `after`, once all progress recorded so far is written.
    pub fn read_rows(&self, of: Source, after: i64, limit: usize, token: u64) -> bool {
        self.tasks.try_send(Task::ReadRows { of, after, limit, token }).is_ok()
    }

    /// From the next tenure on, deferred events are divided into the lanes of so many partitions.
    pub fn divide_by(&self, partitions: u32) {
        self.partitions.store(partitions, Ordering::Release);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct LeaseRequest {
    wanted: bool,
    /// Counts up. A tenure ends when this is not what it was at its beginning.
    forfeits: u64,
}

/// Why the lease could not be acquired, or was lost.
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

/// Until when the lease is certainly held. Monotonic; it continues while the process is stopped.
struct ValidityClock {
    base: Instant,
    valid_until_ms: AtomicU64,
}

impl ValidityClock {
    fn new() -> Self {
        Self { base: Instant::now(), valid_until_ms: AtomicU64::new(0) }
    }

    fn renew(&self, sent_at: Instant, validity: Duration) {
        let until = (sent_at + validity).duration_since(self.base);
        self.valid_until_ms.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn expire(&self) {
        self.valid_until_ms.store(0, Ordering::Release);
    }

    fn is_valid(&self) -> bool {
        self.base.elapsed().as_millis() < u128::from(self.valid_until_ms.load(Ordering::Acquire))
    }
}
