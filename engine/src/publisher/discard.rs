//! An operator discards an event: it stays in the journal and is never published, and the aggregate's later events are.
//!
//! The operator names the event by aggregate and position. So a discard that is repeated finds the row that the first one left, and
//! changes nothing. Without the position it would discard the next event, which the broker has not refused.
//!
//! Refused, because the event may yet be published, or is about to be:
//! - one that is not the aggregate's first waiting event: versions are published in order, and only the first was refused;
//! - one of an aggregate that is released: its events are being sent, and a delivered event cannot be discarded;
//! - one that the cursor has not passed: the next holder of the lease would read it from the journal and publish it.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, FromRow, PgConnection};
use uuid::Uuid;

use super::outbox::OutboxReader;
use crate::aggregate::AggregateId;
use crate::journal::ReadError;
use crate::names::Names;

/// Which event is given up, by whom and why.
#[derive(Debug, Clone)]
pub struct Discard {
    pub aggregate_id: AggregateId,
    pub seq: i64,
    pub discarded_by: String,
    pub reason: String,
}

/// The record of an event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DiscardedEvent {
    #[sqlx(rename = "id", try_from = "Uuid")]
    pub aggregate_id: AggregateId,
    /// Position in the journal.
    pub seq: i64,
    pub discarded_at: DateTime<Utc>,
    /// As they named themselves.
    pub discarded_by: String,
    pub reason: String,
    /// Why the broker had refused the event.
    pub error: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum DiscardOutcome {
    Discarded(DiscardedEvent),
    /// It was given up before; this is the record of that.
    Repeated(DiscardedEvent),
    NotDiscarded(NotDiscarded),
}

/// Why an event was not given up. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDiscarded {
    #[error("no event of it is quarantined")]
    NotQuarantined,
    #[error(
        "the event at position {asked} is not the first waiting one; that is the one at position {first}"
    )]
    NotTheFirst { asked: i64, first: i64 },
    #[error("it is released: its waiting events are on their way, the first at position {first}")]
    Released { first: i64 },
    #[error("publication has not passed position {asked} yet")]
    NotPassed { asked: i64 },
}

#[derive(FromRow)]
struct QuarantineRow {
    error: String,
    is_released: bool,
}

#[derive(FromRow)]
struct AggregateProgress {
    first_waiting_seq: Option<i64>,
    published_seq: i64,
}

impl OutboxReader {
    /// Discards the event in one transaction, or returns why not.
    pub async fn discard(&self, discard: Discard) -> Result<DiscardOutcome, ReadError> {
        let names = self.reader.names().clone();
        self.reader
            .run(async move |mut connection| Ok(decide_and_discard(&mut connection, &names, discard).await?))
            .await
    }
}

async fn decide_and_discard(
    connection: &mut PgConnection,
    names: &Names,
    discard: Discard,
) -> Result<DiscardOutcome, sqlx::Error> {
    let Discard { aggregate_id: AggregateId(aggregate_id), seq, discarded_by, reason } = discard;
    let mut transaction = connection.begin().await?;
    // The lock first: what is read after it stays true until the commit.
    let quarantined: Option<QuarantineRow> =
        sqlx::query_as(names.sql(include_str!("sql/discard_aggregate.sql")))
            .bind(aggregate_id)
            .fetch_optional(&mut *transaction)
            .await?;
    let before: Option<DiscardedEvent> = sqlx::query_as(names.sql(include_str!("sql/discarded_event.sql")))
        .bind(aggregate_id)
        .bind(seq)
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(before) = before {
        return Ok(DiscardOutcome::Repeated(before));
    }
    let progress: AggregateProgress = sqlx::query_as(names.sql(include_str!("sql/discard_progress.sql")))
        .bind(aggregate_id)
        .fetch_one(&mut *transaction)
        .await?;
    let error = match permitted(quarantined, &progress, seq) {
        Ok(error) => error,
        Err(reason) => return Ok(DiscardOutcome::NotDiscarded(reason)),
    };
    let discarded = sqlx::query_as(names.sql(include_str!("sql/discard_event.sql")))
        .bind(aggregate_id)
        .bind(seq)
        .bind(discarded_by)
        .bind(reason)
        .bind(error)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(DiscardOutcome::Discarded(discarded))
}

/// The broker's error, if the event at this position may be given up.
fn permitted(
    quarantined: Option<QuarantineRow>,
    progress: &AggregateProgress,
    asked: i64,
) -> Result<String, NotDiscarded> {
    let (Some(quarantined), Some(first)) = (quarantined, progress.first_waiting_seq) else {
        return Err(NotDiscarded::NotQuarantined);
    };
    if asked != first {
        return Err(NotDiscarded::NotTheFirst { asked, first });
    }
    if quarantined.is_released {
        return Err(NotDiscarded::Released { first });
    }
    if asked > progress.published_seq {
        return Err(NotDiscarded::NotPassed { asked });
    }
    Ok(quarantined.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refused_event_of_a_waiting_aggregate_may_be_given_up() {
        let waiting = |is_released| Some(QuarantineRow { error: "too large".to_owned(), is_released });
        let progress = |first_waiting_seq| AggregateProgress { first_waiting_seq, published_seq: 20 };
        let table = [
            (waiting(false), Some(17), 17, Ok("too large".to_owned())),
            (None, None, 17, Err(NotDiscarded::NotQuarantined)),
            (waiting(true), None, 17, Err(NotDiscarded::NotQuarantined)),
            (waiting(false), Some(17), 18, Err(NotDiscarded::NotTheFirst { asked: 18, first: 17 })),
            (waiting(false), Some(17), 16, Err(NotDiscarded::NotTheFirst { asked: 16, first: 17 })),
            (waiting(true), Some(17), 18, Err(NotDiscarded::NotTheFirst { asked: 18, first: 17 })),
            (waiting(true), Some(17), 17, Err(NotDiscarded::Released { first: 17 })),
            (waiting(false), Some(21), 21, Err(NotDiscarded::NotPassed { asked: 21 })),
        ];
        for (quarantined, first, asked, expected) in table {
            assert_eq!(permitted(quarantined, &progress(first), asked), expected, "{first:?}, asked {asked}");
        }
    }
}
