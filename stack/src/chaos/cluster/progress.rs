//! How far publication is.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sqlx::PgPool;

use super::{Cluster, LOOK_PATIENCE, LOOK_PAUSE, Queue};
use crate::topic::TOPIC;

impl Cluster {
    /// Whether all that was committed before this call is delivered, waiting for it as long as `patience`; how long it took.
    pub(in super::super) async fn caught_up(
        &self,
        database: &PgPool,
        patience: Duration,
    ) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let mut head = None;
        while begun.elapsed() < patience {
            // Postgres may be replaced meanwhile: whatever goes wrong is asked again.
            match tokio::time::timeout(LOOK_PATIENCE, progress(database)).await {
                Ok(Ok((_, committed))) if head.is_none() => head = Some(committed),
                Ok(Ok((published, _))) if head.is_some_and(|head| published >= head) => {
                    if self.streams_have(head.unwrap_or_default()).await {
                        return Ok(Some(begun.elapsed()));
                    }
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
                _ => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        if head.is_none() {
            bail!("Postgres could not be asked for {patience:?}");
        }
        Ok(None)
    }

    /// Whether the streams, if they are the message queue, say that they have every event up to a position. They may have lost what the
    /// cursor has passed.
    async fn streams_have(&self, seq: i64) -> bool {
        match self.queue {
            Queue::Kafka(_) => true,
            Queue::Redis(_) => {
                matches!(self.streams_confirmed(TOPIC).await, Ok(Some(confirmed)) if confirmed >= seq)
            }
        }
    }
}

/// The cursor, and the log's head.
pub(super) async fn progress(database: &PgPool) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(
        "SELECT published_seq, (SELECT coalesce(max(seq), 0) FROM order_event) FROM publisher_cursor",
    )
    .fetch_one(database)
    .await
}

/// The end of bonus' journal.
pub(super) async fn changes_head(database: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM bonus.customer_event").fetch_one(database).await
}
