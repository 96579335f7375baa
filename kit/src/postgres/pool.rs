//! A few shared connections. A connection is returned only after a clean answer; otherwise it is dropped.
//!
//! sqlx's own pool pings the server before it takes back a dropped connection, without a limit, while it holds the slot. So a
//! silent server empties that pool for good. This pool does not use a connection again that was given up.
//!
//! - Work runs as a task of the pool's runtime, with one limit that covers the wait for a slot, connecting and the work itself.
//!   If the caller goes away the task still ends by its limit.
//! - After an error or a timeout all idle connections are dropped as well. They lead to the same server, which may be silent for
//!   all of them, or have become a standby.
//! - A connection that was not used for a second is pinged before use, within a fraction of the limit.
//! - No connection stays idle for a minute, or open for ten: by then the address may lead to another server.

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

/// A connection that was idle for longer is pinged before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// The ping's share of the limit. The rest is enough for a fresh connection and the work.
const PROOF_SHARE: u32 = 8;
const UNUSED_MAX: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(600);

/// Why the work was not done, or not completed.
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
    idle: Mutex<Vec<IdleConnection>>,
    /// Counts up with every error. A connection of an earlier generation is not returned.
    generation: AtomicU64,
}

struct IdleConnection {
    connection: PgConnection,
    opened_at: Instant,
    used_at: Instant,
    generation: u64,
}

impl Pool {
    /// Connects when it is first used. Connections live on `runtime`, which must outlast the callers.
    pub fn new(connector: Connector, connections_max: u32, runtime: Handle) -> Self {
        let limit = connector.limit();
        let slots = Semaphore::new(usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS));
        let (idle, generation) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { connector, limit, connections_max, slots, idle, generation });
        Self { shared, runtime }
    }

    /// Runs `work` on a connection, within the limit. `Ok` means that the server answered cleanly: the connection is returned to
    /// the pool.
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
        // The limit is inside the task, so that the connection ends even if nobody waits for the answer.
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

    /// Drops every idle connection: the next work gets a fresh one.
    pub fn renew(&self) {
        self.shared.renew();
    }

    /// Waits for running work and closes. Later work fails with [`PoolError::Closed`].
    pub async fn close(&self) {
        let all = self.shared.slots.acquire_many(self.shared.connections_max).await;
        self.shared.slots.close();
        drop(all);
        let idle = std::mem::take(&mut *self.shared.idle());
        for idle in idle {
            let _ = timeout(self.shared.limit, idle.connection.close()).await;
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
                self.keep(IdleConnection { connection, opened_at, used_at: Instant::now(), generation });
            }
        }
        Ok(answer)
    }

    /// An idle connection that is known to be good, or a fresh one.
    async fn connection(&self) -> Result<(PgConnection, Instant, u64), PoolError> {
        if let Some(mut idle) = self.last_idle() {
            let trusted = idle.used_at.elapsed() < TRUSTED;
            if trusted
                || matches!(timeout(self.limit / PROOF_SHARE, idle.connection.ping()).await, Ok(Ok(())))
            {
                return Ok((idle.connection, idle.opened_at, idle.generation));
            }
            self.renew();
        }
        // Read before connecting: if the server changes meanwhile, this connection may lead to the old one.
        let generation = self.generation.load(Ordering::Acquire);
        Ok((self.connector.connect().await?, Instant::now(), generation))
    }

    /// The one used last, so that connections that are not needed expire.
    fn last_idle(&self) -> Option<IdleConnection> {
        let mut idle = self.idle();
        idle.retain(|idle| idle.used_at.elapsed() < UNUSED_MAX && idle.opened_at.elapsed() < AGE_MAX);
        idle.pop()
    }

    fn keep(&self, connection: IdleConnection) {
        let mut idle = self.idle();
        // Compared under the lock that renew() empties the list under.
        if connection.generation == self.generation.load(Ordering::Acquire) {
            idle.push(connection);
        }
    }

    fn renew(&self) {
        let mut idle = self.idle();
        self.generation.fetch_add(1, Ordering::AcqRel);
        idle.clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        // No panic can leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan. When it is dropped, the work's outcome decides whether it is returned to the pool.
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
            // If the work was given up, nobody waits for the connection, and it ends here.
            let _ = back.send(connection);
        }
    }
}
