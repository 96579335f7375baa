//! A few connections, shared. A connection comes back after a clean answer only; after anything else it is dropped.
//!
//! sqlx's own pool returns a dropped connection by a question to the server, without a limit, while it holds the slot: a server
//! that has gone silent empties it for good. Here nothing is asked of a connection that was given up.
//!
//! - Work runs as a task of the pool's runtime, with one limit that covers the wait for a slot, connecting and the work itself.
//!   Whoever asked may go away: the task ends by its limit.
//! - After an error or a timeout all kept connections go as well. They lead to the same server: it may be silent for all of
//!   them, or have become a standby.
//! - A connection that was not used for a second is asked whether the server is there, within a fraction of the limit.
//! - No connection is kept unused for a minute, or used for ten: behind an address there may be another server by then.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::session::{ConnectError, Connector};

/// Unused for longer, a connection is asked before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// The question's share of the limit: what is left is enough for a fresh connection and the work.
const PROOF_SHARE: u32 = 8;
const UNUSED_MAX: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(600);

/// Why no work was done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// In a statement that writes the outcome is unknown.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connections are closed")]
    Closed,
}

/// Cloned cheaply; all clones share the connections.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    connector: Connector,
    limit: Duration,
    connections_max: u32,
    slots: Semaphore,
    kept: Mutex<Vec<Kept>>,
    /// Counts up with every error. A connection of an earlier generation is not kept.
    generation: AtomicU64,
}

struct Kept {
    connection: PgConnection,
    opened_at: Instant,
    used_at: Instant,
    generation: u64,
}

impl Pool {
    /// Connects when it is first used. `runtime` is where connections live: it must outlast those who ask.
    pub fn new(connector: Connector, connections_max: u32, runtime: Handle) -> Self {
        let limit = connector.limit();
        let slots = Semaphore::new(usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS));
        let (kept, generation) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { connector, limit, connections_max, slots, kept, generation });
        Self { shared, runtime }
    }

    /// Runs `work` on a connection, within the limit. `Ok` says that the server answered cleanly: the connection is kept.
    ///
    /// ```no_run
    /// # use kit::postgres::{Pool, PoolError};
    /// # #[derive(Debug, thiserror::Error)]
    /// # enum Failure { #[error(transparent)] Pool(#[from] PoolError), #[error(transparent)] Sql(#[from] sqlx::Error) }
    /// # async fn example(pool: Pool) -> Result<(), Failure> {
    /// let one: i32 = pool
    ///     .run(async move |mut connection| {
    ///         Ok::<_, Failure>(sqlx::query_scalar("SELECT 1").fetch_one(&mut *connection).await?)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<T, E, F, W>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PoolError> + Send + 'static,
        F: FnOnce(PooledConnection) -> W + Send + 'static,
        W: Future<Output = Result<T, E>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        // The limit is inside the task, so that the connection's end does not depend on who waits for the answer.
        let task = self.runtime.spawn(async move {
            let done = timeout(shared.limit, shared.carry_out(work)).await;
            let done = done.unwrap_or_else(|_| Err(PoolError::TimedOut(shared.limit).into()));
            if done.is_err() {
                shared.renew();
            }
            done
        });
        // It fails if the work panicked or the runtime ends.
        task.await.unwrap_or_else(|_| Err(PoolError::Closed.into()))
    }

    /// Lets go of every connection: the next work gets fresh ones.
    pub fn renew(&self) {
        self.shared.renew();
    }

    /// Waits for work in hand and closes. Later work fails with [`PoolError::Closed`].
    pub async fn close(&self) {
        let all = self.shared.slots.acquire_many(self.shared.connections_max).await;
        self.shared.slots.close();
        drop(all);
        let kept = std::mem::take(&mut *self.shared.kept());
        for kept in kept {
            let _ = timeout(self.shared.limit, kept.connection.close()).await;
        }
    }
}

impl Shared {
    async fn carry_out<T, E, F, W>(&self, work: F) -> Result<T, E>
    where
        E: From<PoolError>,
        F: FnOnce(PooledConnection) -> W,
        W: Future<Output = Result<T, E>>,
    {
        let _slot = self.slots.acquire().await.map_err(|_| PoolError::Closed)?;
        let (connection, opened_at, generation) = self.connection().await?;
        let (back, mut returned) = oneshot::channel();
        let lent = PooledConnection { connection: Some(connection), back: Some(back) };
        let answer = work(lent).await?;
        if let Ok(mut connection) = returned.try_recv() {
            // A transaction that was left without a commit is rolled back now, not with the next statement.
            let clean = !connection.should_flush() || connection.ping().await.is_ok();
            if clean {
                self.keep(Kept { connection, opened_at, used_at: Instant::now(), generation });
            }
        }
        Ok(answer)
    }

    /// A kept connection that is known to be good, or a fresh one.
    async fn connection(&self) -> Result<(PgConnection, Instant, u64), PoolError> {
        if let Some(mut kept) = self.last_kept() {
            let trusted = kept.used_at.elapsed() < TRUSTED;
            if trusted
                || matches!(timeout(self.limit / PROOF_SHARE, kept.connection.ping()).await, Ok(Ok(())))
            {
                return Ok((kept.connection, kept.opened_at, kept.generation));
            }
            self.renew();
        }
        // Read before connecting: if the server changes meanwhile, this connection may lead to the old one.
        let generation = self.generation.load(Ordering::Acquire);
        Ok((self.connector.connect().await?, Instant::now(), generation))
    }

    /// The one used last, so that those which are not needed grow old.
    fn last_kept(&self) -> Option<Kept> {
        let mut kept = self.kept();
        kept.retain(|kept| kept.used_at.elapsed() < UNUSED_MAX && kept.opened_at.elapsed() < AGE_MAX);
        kept.pop()
    }

    fn keep(&self, connection: Kept) {
        let mut kept = self.kept();
        // Compared under the lock that renew() empties the list under.
        if connection.generation == self.generation.load(Ordering::Acquire) {
            kept.push(connection);
        }
    }

    fn renew(&self) {
        let mut kept = self.kept();
        self.generation.fetch_add(1, Ordering::AcqRel);
        kept.clear();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        // No panic can leave the list half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan. Dropped, it goes to the work's end, where the work's outcome decides whether it is kept.
pub struct PooledConnection {
    /// `None` only while it is being dropped.
    connection: Option<PgConnection>,
    back: Option<oneshot::Sender<PgConnection>>,
}

impl Deref for PooledConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        let Some(connection) = &self.connection else { unreachable!("taken in drop() alone") };
        connection
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        let Some(connection) = &mut self.connection else { unreachable!("taken in drop() alone") };
        connection
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let (Some(connection), Some(back)) = (self.connection.take(), self.back.take()) {
            // Nobody waits for it when the work was given up: then it ends here.
            let _ = back.send(connection);
        }
    }
}
