//! `LISTEN` that notices a silent server: between notifications it pings the server every few seconds.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::time::timeout;

use super::session::{ConnectError, Connector};

/// Between two pings while no notification comes.
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
        // sqlx reads notifications only through a pool, so this is a pool of one connection that never expires.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(limit).max_lifetime(None);
        let pool = pool.idle_timeout(None).test_before_acquire(false);
        let pool = pool.connect_lazy_with(connector.session_options()?);
        let opening = async {
            let connected = PgListener::connect_with(&pool).await;
            let mut listener = connected.map_err(|error| connector.failure(error))?;
            // A lost connection is an error and is not replaced silently: notifications may have been missed.
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok(Self { listener, limit })
        };
        timeout(limit, opening).await.unwrap_or(Err(ListenError::TimedOut(limit)))
    }

    /// The next notification. Waits as long as it takes, while the server answers.
    ///
    /// (When a listener is dropped, sqlx closes it in a task of its own. On a silent connection this task ends by the kernel's
    /// timeout, after some minutes. It holds only a socket.)
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
