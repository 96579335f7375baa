//! Exactly one publisher in the whole deployment, by a lease that Postgres keeps.
//!
//! The lease is a session-level advisory lock on a connection of its own. A holder that is killed loses it at once, with
//! its connection. One that is frozen loses it when the session has been idle for `idle_session_timeout`; a heartbeat renews
//! it before that.
//!
//! Others ask for it in statements of two seconds, in which the server itself tries the lock every 50 ms. (Waiting inside
//! `pg_advisory_lock` would be quicker by 25 ms on average, and blind: on a connection that has gone silent, as after a failover
//! by address, a waiter would stand in line at a server that no longer exists.)
//!
//! The cursor is moved on this same session: whoever has lost the lease has lost the means to move it. The holder's own
//! clock ([`Lease::is_valid`]) runs out before the server's, so that a holder who wakes from a freeze stops sending before
//! it asks anyone.

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

use self::keeper::Keeper;
use self::tenure::Task;
use super::machine::{Progress, Source};
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::names::Names;

/// One statement's wait for the lease. Within this, and two fifths of the lease's timeout, a silent server is noticed.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Progress on its way; the writer folds what has piled up. Events that are sent one by one are reported one by one, some thousands a
/// second: this many pile up only behind a server that has been silent for about as long as the holder trusts it.
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

    /// How long after a statement was sent the holder may trust that the server still sees it as the holder.
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
    /// `error` is `None` when the lease was given up on purpose.
    Lost { error: Option<String> },
    /// From a heartbeat.
    Seen { head: i64 },
    /// An operator released these aggregates, and not all of their events are delivered yet.
    Released(Vec<AggregateId>),
    /// The answer to [`Lease::read_rows`].
    Rows { of: Source, token: u64, events: Vec<StoredEvent> },
    /// The lease is wanted but the database cannot be reached.
    Unreachable(String),
    /// The lease is wanted but the server takes no writes. Advisory locks work there all the same, and exclude nobody elsewhere.
    ReadOnly { standby: bool },
}

/// The publisher's end of the lease. Dropping it gives the lease up.
pub struct Lease {
    wish: watch::Sender<Wish>,
    tasks: mpsc::Sender<Task>,
    /// Partitions of the topic; 0 when that is not known.
    partitions: Arc<AtomicU32>,
    clock: Arc<Clock>,
    task: AbortHandle,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lease {
    /// Starts wanting nothing. Events come through `tell`, which must not block.
    pub fn start(
        settings: LeaseSettings,
        runtime: &Handle,
        tell: impl Fn(LeaseEvent) + Send + Sync + 'static,
    ) -> Self {
        let (wish, wishes) = watch::channel(Wish::default());
        let (tasks, given) = mpsc::channel(PROGRESS_MAX);
        let partitions = Arc::new(AtomicU32::new(0));
        let clock = Arc::new(Clock::new());
        let keeper = Keeper {
            settings,
            wishes,
            tasks: given,
            partitions: Arc::clone(&partitions),
            clock: Arc::clone(&clock),
            tell: Box::new(tell),
        };
        let task = runtime.spawn(keeper.run()).abort_handle();
        Self { wish, tasks, partitions, clock, task }
    }

    pub fn want(&self, wanted: bool) {
        self.wish.send_modify(|wish| wish.wanted = wanted);
    }

    /// Ends the present tenure, even if the lease is wanted again before the keeper has looked.
    pub fn forfeit(&self) {
        self.wish.send_modify(|wish| wish.forfeits += 1);
    }

    /// Whether this instance can be sure that nobody else holds the lease.
    pub fn is_valid(&self) -> bool {
        self.clock.is_valid()
    }

    /// Queues progress to be written under the lease; false when the queue is full, as when the database hangs.
    pub fn record(&self, progress: Progress) -> bool {
        self.tasks.try_send(Task::Record(progress)).is_ok()
    }

    /// Reads at most `limit` events that were set aside, behind position `after`, once all progress up to here is written.
    pub fn read_rows(&self, of: Source, after: i64, limit: usize, token: u64) -> bool {
        self.tasks.try_send(Task::ReadRows { of, after, limit, token }).is_ok()
    }

    /// From the next tenure on what is deferred is divided by so many partitions.
    pub fn divide_by(&self, partitions: u32) {
        self.partitions.store(partitions, Ordering::Release);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Wish {
    wanted: bool,
    /// Counts up; a tenure ends when it is no longer what it was at its beginning.
    forfeits: u64,
}

/// Why there is no lease, or none any more.
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

/// Until when the lease is certain. Monotonic, and it runs on while the process is stopped.
struct Clock {
    base: Instant,
    valid_until_ms: AtomicU64,
}

impl Clock {
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
