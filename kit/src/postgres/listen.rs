//! `LISTEN` that notices a silent server: between notifications it asks every few seconds.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::time::timeout;

use super::session::{ConnectError, Connector};

/// Between two questions while no notification comes.
const PROOF_INTERVAL: Duration = Duration::from_secs(3);

/// A session that listens. After an error open another one; notifications sent meanwhile are lost.
pub struct Listener {
    listener: PgListener,
    limit: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the connection was lost")]
    Lost,
    #[error("{0}")]
    Postgres(#[from] sqlx::Error),
}

impl Listener {
    pub async fn open(connector: &Connector, channel: &str) -> Result<Self, ListenError> {
        let limit = connector.limit();
        // sqlx reads notifications through a pool alone: one of a single connection, which is never taken for old.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(limit).max_lifetime(None);
        let pool = pool.idle_timeout(None).test_before_acquire(false);
        let pool = pool.connect_lazy_with(connector.options().clone());
        let opening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // A lost connection is an error, not a silent new one: who listens has missed something.
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok(Self { listener, limit })
        };
        timeout(limit, opening).await.unwrap_or(Err(ListenError::TimedOut(limit)))
    }

    /// The next notification, however long that takes, as long as the server is there.
    ///
    /// (sqlx says goodbye to a listener that is dropped, in a task of its own. On a silent connection this task ends with the
    /// kernel's patience, after some minutes; it holds a socket and nothing else.)
    pub async fn recv(&mut self) -> Result<PgNotification, ListenError> {
        loop {
            match timeout(PROOF_INTERVAL, self.listener.try_recv()).await {
                Ok(received) => return received?.ok_or(ListenError::Lost),
                Err(_) => {
                    let question = sqlx::query("SELECT 1").execute(&mut self.listener);
                    timeout(self.limit, question).await.map_err(|_| ListenError::TimedOut(self.limit))??;
                }
            }
        }
    }
}
