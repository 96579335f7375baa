//! Which topic had the name, when, and how far publication was. From this a topic that was created again is told from the earlier
//! one.
//!
//! Rows are observations and are only inserted, so any instance may write one without the lease. The table's key lets each be
//! written once, by the first instance. Two columns change later: that lost events were sent again, and which groups read the topic.

use kit::kafka::TopicIdentity;
use sqlx::FromRow;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::journal::{ReadError, Reader};

/// A change of the topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TopicChange {
    /// The cursor at that time.
    pub(crate) published_seq: i64,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// No topic of this name was known.
    First,
    MadeAnew {
        former: Uuid,
        /// Up to this position events may have been published to the earlier topic.
        lost_seq: i64,
    },
    PartitionsAdded {
        before: i32,
    },
}

impl TopicChange {
    /// To be called by the instance that wrote it. `gone`: what is lost up to a position, and what is done about it.
    pub(crate) fn log(self, name: &str, topic: &TopicIdentity, gone: impl FnOnce(i64) -> String) {
        let Self { published_seq, kind } = self;
        match kind {
            ChangeKind::First => info!(
                topic = name, topic.id = %topic.id, topic.partitions,
                "The topic is seen for the first time; its id is remembered"
            ),
            ChangeKind::MadeAnew { lost_seq: 0, .. } => info!(
                topic = name, topic.id = %topic.id, topic.partitions,
                "The topic was made anew; nothing had been published to the former one"
            ),
            ChangeKind::MadeAnew { former, lost_seq } => error!(
                topic = name, topic.id = %topic.id, former.id = %former, published_seq, lost_seq,
                "{}", gone(lost_seq)
            ),
            ChangeKind::PartitionsAdded { before } => warn!(
                topic = name,
                topic.partitions,
                before,
                published_seq,
                "Partitions were added to the topic: from position {published_seq} on an aggregate's events may go into another partition than \
                 its earlier ones. Consumers may see the later ones first until they have read what was there before"
            ),
        }
    }
}

#[derive(FromRow)]
struct HistoryRow {
    published_seq: i64,
    lost_seq: Option<i64>,
    former_id: Option<Uuid>,
    former_partitions: Option<i32>,
}

#[derive(Clone)]
pub struct TopicHistory {
    reader: Reader,
}

impl TopicHistory {
    pub fn new(reader: Reader) -> Self {
        Self { reader }
    }

    /// Records the topic that was seen. `None`: it is recorded already.
    pub(crate) async fn record(
        &self,
        name: &str,
        topic: &TopicIdentity,
    ) -> Result<Option<TopicChange>, ReadError> {
        let (name, topic) = (name.to_owned(), *topic);
        let statement = self.reader.sql(include_str!("sql/topic_seen.sql"));
        let written: Option<HistoryRow> = self
            .reader
            .run(async move |mut connection| {
                let written = sqlx::query_as(statement)
                    .bind(name)
                    .bind(topic.id)
                    .bind(topic.partitions)
                    .fetch_optional(&mut *connection)
                    .await?;
                Ok(written)
            })
            .await?;
        Ok(written.map(|written| TopicChange {
            published_seq: written.published_seq,
            kind: match (written.former_id, written.lost_seq, written.former_partitions) {
                (Some(former), Some(lost_seq), _) => ChangeKind::MadeAnew { former, lost_seq },
                (Some(_), None, Some(before)) => ChangeKind::PartitionsAdded { before },
                _ => ChangeKind::First,
            },
        }))
    }

    /// How many events may have been published to the earlier topic and were not sent again since.
    pub(crate) async fn lost(&self, topic: &TopicIdentity) -> Result<i64, ReadError> {
        let id = topic.id;
        let statement = self.reader.sql(include_str!("sql/topic_lost.sql"));
        self.reader
            .run(async move |mut connection| {
                Ok(sqlx::query_scalar(statement).bind(id).fetch_one(&mut *connection).await?)
            })
            .await
    }

    /// Who reads a topic of Redis Streams, as `partition:group`; of a topic that was made anew, who read the one before it. `None`: the
    /// topic is not recorded yet.
    pub(crate) async fn groups(&self, topic_id: Uuid) -> Result<Option<Vec<String>>, ReadError> {
        let statement = self.reader.sql(include_str!("sql/topic_groups.sql"));
        self.reader
            .run(async move |mut connection| {
                let query = sqlx::query_scalar(statement).bind(topic_id);
                Ok(query.fetch_optional(&mut *connection).await?)
            })
            .await
    }

    /// Records who reads it now.
    pub(crate) async fn groups_seen(&self, topic_id: Uuid, groups: &[String]) -> Result<(), ReadError> {
        let (groups, statement) =
            (groups.to_vec(), self.reader.sql(include_str!("sql/topic_groups_seen.sql")));
        self.reader
            .run(async move |mut connection| {
                sqlx::query(statement).bind(topic_id).bind(groups).execute(&mut *connection).await?;
                Ok(())
            })
            .await
    }

    /// Records that the events up to position `to` were sent again. Returns whether this topic lacked them.
    pub async fn replayed(&self, topic: &TopicIdentity, to: i64) -> Result<bool, ReadError> {
        let id = topic.id;
        let statement = self.reader.sql(include_str!("sql/topic_replayed.sql"));
        let settled: Option<i64> = self
            .reader
            .run(async move |mut connection| {
                let query = sqlx::query_scalar(statement);
                Ok(query.bind(id).bind(to).fetch_optional(&mut *connection).await?)
            })
            .await?;
        Ok(settled.is_some())
    }
}
