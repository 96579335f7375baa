//! Which topic was behind the name, when, and how far publication was: what tells a topic that was made anew from the one before.
//!
//! Rows are observations and are only added, so any instance may write one, and needs no lease for it: the table's key lets each be
//! written once, by whichever instance is the first.

use kit::kafka::TopicIdentity;
use sqlx::FromRow;
use uuid::Uuid;

use crate::journal::{ReadError, Reader};

/// Something new about the topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// The cursor at that time.
    pub(super) published_seq: i64,
    pub(super) change: Change,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// No topic of this name was known.
    First,
    MadeAnew {
        former: Uuid,
        /// Up to here events may have been published to the former one.
        lost_seq: i64,
    },
    PartitionsAdded {
        before: i32,
    },
}

#[derive(FromRow)]
struct Written {
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

    /// Writes down what was seen. `None`: it is written already.
    pub(super) async fn saw(&self, name: &str, topic: &TopicIdentity) -> Result<Option<Sighting>, ReadError> {
        let (name, topic) = (name.to_owned(), *topic);
        let statement = self.reader.sql(include_str!("../sql/topic_seen.sql"));
        let written: Option<Written> = self
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
        Ok(written.map(|written| Sighting {
            published_seq: written.published_seq,
            change: match (written.former_id, written.lost_seq, written.former_partitions) {
                (Some(former), Some(lost_seq), _) => Change::MadeAnew { former, lost_seq },
                (Some(_), None, Some(before)) => Change::PartitionsAdded { before },
                _ => Change::First,
            },
        }))
    }

    /// How many events may have been published to the topic before this one, and were not sent again since.
    pub(super) async fn lost(&self, topic: &TopicIdentity) -> Result<i64, ReadError> {
        let id = topic.id;
        let statement = self.reader.sql(include_str!("../sql/topic_lost.sql"));
        self.reader
            .run(async move |mut connection| {
                Ok(sqlx::query_scalar(statement).bind(id).fetch_one(&mut *connection).await?)
            })
            .await
    }

    /// The events up to position `to` are sent again: was that what this topic lacked?
    pub async fn replayed(&self, topic: &TopicIdentity, to: i64) -> Result<bool, ReadError> {
        let id = topic.id;
        let statement = self.reader.sql(include_str!("../sql/topic_replayed.sql"));
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
