//! Sends again what the streams lost, in position order, before any later event.

use std::collections::HashSet;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult};
use tracing::error;

use super::answer::{Outcome, outcome};
use super::checkpoints::Cursor;
use super::gate::Tenure;
use super::script::{self, Appended};
use super::shared::Shared;
use super::unconfirmed::Delivery;
use crate::journal::{ReadError, Reader, StoredEvent};
use crate::transport::DeliveryReport;

/// Events read and appended together.
const PAGE: usize = 500;

#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Journal(#[from] ReadError),
}

pub(super) struct Restoration<'a> {
    pub(super) shared: &'a Shared,
    pub(super) reader: &'a Reader,
    pub(super) connection: &'a mut MultiplexedConnection,
    pub(super) tenure: &'a Tenure,
}

impl Restoration<'_> {
    /// Sends the published events from behind `from` up to `to`, and what was delivered outside of them. Returns how many. Each page is
    /// confirmed, so a restoration that fails is continued there.
    pub(super) async fn run(&mut self, from: i64, to: Cursor) -> Result<usize, RestoreError> {
        script::load(self.connection).await?;
        let (late, ahead) = self.shared.unconfirmed.outside(from, to.seq);
        let mut sent = self.at(&late).await?;
        let mut after = from;
        while after < to.seq {
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let page = self.reader.after(after, limit).await?;
            let page: Vec<StoredEvent> = page.into_iter().filter(|event| event.seq <= to.seq).collect();
            let last = page.last().map(|event| Cursor { seq: event.seq, event_id: Some(event.event_id) });
            let Some(last) = last else { break };
            let page = self.published(page).await?;
            sent += self.append(page).await?;
            self.confirm(last).await?;
            after = last.seq;
        }
        sent += self.at(&ahead).await?;
        self.confirm(to).await?;
        Ok(sent)
    }

    async fn confirm(&mut self, cursor: Cursor) -> RedisResult<()> {
        script::confirm(self.connection, &self.shared.settings, self.tenure, cursor).await?;
        self.shared.unconfirmed.confirmed(cursor.seq, Instant::now());
        Ok(())
    }

    async fn at(&mut self, deliveries: &[Delivery]) -> Result<usize, RestoreError> {
        let mut sent = 0;
        for some in deliveries.chunks(PAGE) {
            let seqs: Vec<i64> = some.iter().map(|(seq, _)| *seq).collect();
            let statement = self.reader.sql(include_str!("sql/events_at.sql"));
            let query = async move |mut connection: kit::postgres::PooledConnection| {
                Ok(sqlx::query_as(statement).bind(seqs).fetch_all(&mut *connection).await?)
            };
            let page: Vec<StoredEvent> = self.reader.run(query).await?;
            sent += self.append(delivered(page, some)).await?;
        }
        Ok(sent)
    }

    /// Without what is set aside: the publisher will send that, or nobody will. A row of an event that was just delivered may still be
    /// there.
    async fn published(&self, page: Vec<StoredEvent>) -> Result<Vec<StoredEvent>, ReadError> {
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(page) };
        let set_aside = set_aside(self.reader, first.seq, last.seq).await?;
        let unconfirmed = &self.shared.unconfirmed;
        let is_published = |event: &StoredEvent| {
            !set_aside.contains(&event.seq) || unconfirmed.is_delivered((event.seq, event.event_id))
        };
        Ok(page.into_iter().filter(is_published).collect())
    }

    async fn append(&mut self, page: Vec<StoredEvent>) -> Result<usize, RestoreError> {
        if page.is_empty() {
            return Ok(0);
        }
        let mut pipeline = Pipeline::with_capacity(page.len());
        pipeline.ignore_errors();
        for event in &page {
            script::append(&mut pipeline, &self.shared.settings, self.tenure, event);
        }
        let answers: Vec<RedisResult<Appended>> = pipeline.query_async(self.connection).await?;
        for (event, answer) in page.iter().zip(answers) {
            match answer {
                Ok((_, appended)) => self.tenure.has_appended(appended),
                Err(error) => match outcome(&error) {
                    Outcome::Failed(DeliveryReport::Refused(cause)) => error!(
                        seq = event.seq,
                        cause,
                        "An event that was published before is refused now; it stays lost until it is sent by a replay"
                    ),
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(page.len())
    }
}

/// Without what another event's delivery was remembered for: the journal was set back, and the publisher sends what is there now when the
/// events before it are sent.
fn delivered(page: Vec<StoredEvent>, deliveries: &[Delivery]) -> Vec<StoredEvent> {
    page.into_iter().filter(|event| deliveries.contains(&(event.seq, event.event_id))).collect()
}

/// Positions of events that are quarantined, deferred or given up.
async fn set_aside(reader: &Reader, first: i64, last: i64) -> Result<HashSet<i64>, ReadError> {
    let statement = reader.sql(include_str!("sql/set_aside.sql"));
    let seqs: Vec<i64> = reader
        .run(async move |mut connection| {
            let query = sqlx::query_scalar(statement).bind(first).bind(last);
            Ok(query.fetch_all(&mut *connection).await?)
        })
        .await?;
    Ok(seqs.into_iter().collect())
}

pub(super) async fn cursor(reader: &Reader) -> Result<Cursor, ReadError> {
    let statement = reader.sql(include_str!("sql/cursor.sql"));
    reader
        .run(async move |mut connection| Ok(sqlx::query_as(statement).fetch_one(&mut *connection).await?))
        .await
}

/// The last position whose event is older than the retention time: a topic that was made anew gets what lies behind it. By bisection,
/// since positions are in the order of time, as far as clocks are.
pub(super) async fn retained_from(
    reader: &Reader,
    to: i64,
    retention: Option<std::time::Duration>,
) -> Result<i64, ReadError> {
    let Some(retention) = retention.and_then(|time| TimeDelta::from_std(time).ok()) else { return Ok(0) };
    let oldest = Utc::now().checked_sub_signed(retention).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let (mut old, mut kept) = (0, to + 1);
    while kept - old > 1 {
        let middle = old + (kept - old) / 2;
        let is_old =
            reader.after(middle - 1, 1).await?.first().is_some_and(|event| event.occurred_at < oldest);
        if is_old {
            old = middle;
        } else {
            kept = middle;
        }
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::aggregate::AggregateId;

    #[test]
    fn an_event_that_came_to_a_position_later_was_not_delivered() {
        let event = |seq, event_id| StoredEvent {
            seq,
            event_id,
            aggregate_id: AggregateId(event_id),
            version: 1,
            event_type: "OrderCreated".to_owned(),
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            occurred_at: DateTime::UNIX_EPOCH,
            committed_at: None,
        };
        let [former, present, other] = [1, 2, 3].map(Uuid::from_u128);
        let page = delivered(vec![event(8, other), event(9, present)], &[(8, other), (9, former)]);
        assert_eq!(page.iter().map(|event| event.seq).collect::<Vec<_>>(), [8]);
    }
}
