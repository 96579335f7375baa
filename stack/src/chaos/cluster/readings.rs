//! What the checker has read of all streams: what both services publish.

use anyhow::Result;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::super::history::EntryId;
use super::reading::StreamReading;
use crate::topic::{CHANGES_TOPIC, Published, PublishedChange, TOPIC, published, published_change};

/// Of each topic.
pub(super) const PARTITIONS: usize = 6;

pub(super) struct Readings {
    pub(super) orders: StreamReading<Published>,
    pub(super) changes: StreamReading<PublishedChange>,
}

/// The last entry of each stream of each topic.
pub(super) struct Ends {
    orders: Vec<EntryId>,
    changes: Vec<EntryId>,
}

impl Readings {
    pub(super) fn new() -> Self {
        Self {
            orders: StreamReading::new(TOPIC, PARTITIONS, published),
            changes: StreamReading::new(CHANGES_TOPIC, PARTITIONS, published_change),
        }
    }

    pub(super) async fn register(&self, redis: &mut MultiplexedConnection) -> Result<()> {
        let mut pipeline = Pipeline::new();
        self.orders.register(&mut pipeline);
        self.changes.register(&mut pipeline);
        Ok(pipeline.query_async(redis).await?)
    }

    pub(super) async fn catch_up(&mut self, redis: &mut MultiplexedConnection) -> Result<()> {
        self.orders.catch_up(redis).await?;
        self.changes.catch_up(redis).await
    }

    pub(super) async fn ends(&self, redis: &mut MultiplexedConnection) -> Result<Ends> {
        Ok(Ends { orders: self.orders.ends(redis).await?, changes: self.changes.ends(redis).await? })
    }

    /// A history has ended; this is left of it.
    pub(super) fn lose(&mut self, left: &Ends) {
        self.orders.histories.lose(&left.orders);
        self.changes.histories.lose(&left.changes);
    }

    pub(super) fn lose_everything(&mut self) {
        self.lose(&Ends { orders: Vec::new(), changes: Vec::new() });
    }

    /// Reads the rest, removes everything, and registers the groups again, in one transaction.
    pub(super) async fn flush(&mut self, redis: &mut MultiplexedConnection) -> Result<()> {
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        self.orders.ask(&mut pipeline, None);
        self.changes.ask(&mut pipeline, None);
        pipeline.cmd("FLUSHALL").ignore();
        self.orders.register(&mut pipeline);
        self.changes.register(&mut pipeline);
        let answers: Vec<Value> = pipeline.query_async(redis).await?;
        // Two answers a stream.
        let (orders, changes) = answers.split_at(answers.len() / 2);
        self.orders.take(orders)?;
        self.changes.take(changes)?;
        self.lose_everything();
        Ok(())
    }
}
