//! Listens for appends of other processes.

use std::time::Duration;

use actix::prelude::*;
use kit::postgres::{Connector, ListenError, Listener};
use tokio::time::timeout;
use tracing::debug;

/// Pause before a lost session is replaced.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Another process has appended, or may have: a new session cannot know what was sent while there was none.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct JournalNotified;

/// Passes on the NOTIFYs of instances that append but do not publish. A lost one delays publication until the next heartbeat, no
/// more.
pub(super) async fn listen(connector: Connector, publisher: Recipient<JournalNotified>) {
    while publisher.connected() {
        if let Err(error) = pass_on(&connector, &publisher).await {
            debug!(%error, "The listening session was lost");
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Returns when the publisher is gone.
async fn pass_on(connector: &Connector, publisher: &Recipient<JournalNotified>) -> Result<(), ListenError> {
    let channel = channel(connector).await?;
    let mut listener = Listener::open(connector, &channel).await?;
    // If the mailbox is full the message is not needed: the publisher reads the table anyway.
    while publisher.try_send(JournalNotified).is_ok() || publisher.connected() {
        listener.recv().await?;
    }
    Ok(())
}

/// Each deployment in a database has its own channel.
async fn channel(connector: &Connector) -> Result<String, ListenError> {
    let mut connection = connector.connect().await?;
    let query = sqlx::query_scalar(include_str!("sql/channel.sql")).fetch_one(&mut connection);
    Ok(timeout(connector.limit(), query).await.map_err(|_| ListenError::TimedOut(connector.limit()))??)
}
