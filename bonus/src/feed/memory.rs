//! Which topic a group has read, kept in Postgres: a topic that is made anew has the same name and another id.

use kit::postgres::{Connector, Purpose};
use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::config::Config;
use crate::database;
use crate::error::LedgerError;

#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct PartitionRow {
    pub(super) partition: i32,
    pub(super) topic_id: Uuid,
    /// How many partitions the topic had then.
    pub(super) partitions: i32,
}

/// What is remembered of the topic, for the group. Its calls wait for Postgres.
pub(super) struct TopicMemory {
    topic: String,
    group_id: String,
    connector: Connector,
    runtime: Handle,
}

impl TopicMemory {
    pub(super) fn new(config: &Config, runtime: Handle) -> Self {
        Self {
            topic: config.topics.orders_topic.clone(),
            group_id: config.group_id.clone(),
            connector: database::connector(&config.database, Purpose::Requests),
            runtime,
        }
    }

    #[cfg(feature = "kafka")]
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn remembered(&self) -> Result<Vec<PartitionRow>, LedgerError> {
        self.on_postgres(async |connection| {
            let read = sqlx::query_as(include_str!("../sql/read_partitions.sql"));
            read.bind(&self.group_id).bind(&self.topic).fetch_all(connection).await
        })
    }

    /// From now on these partitions are those of the topic `topic_id`.
    pub(super) fn remember(&self, these: &[i32], topic_id: Uuid, partitions: i32) -> Result<(), LedgerError> {
        self.on_postgres(async |connection| {
            let remember = sqlx::query(include_str!("../sql/remember_partitions.sql"));
            let remember = remember.bind(&self.group_id).bind(&self.topic).bind(these);
            remember.bind(topic_id).bind(partitions).execute(connection).await.map(|_| ())
        })
    }

    /// On a fresh connection: it is needed rarely.
    fn on_postgres<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, LedgerError> {
        let limit = self.connector.limit();
        self.runtime.block_on(async {
            let mut connection = self.connector.connect().await?;
            let done = tokio::time::timeout(limit, work(&mut connection)).await;
            Ok(done.map_err(|_| LedgerError::Timeout(limit))??)
        })
    }
}
