//! Writes and reads events that are set aside, on the holder's session: parked with their aggregate, deferred with their lane.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use super::super::machine::lane::lane_of;
use super::super::machine::{Parked, Progress, Source};
use super::{LeaseError, ValidityClock};
use crate::aggregate::AggregateId;
use crate::journal::StoredEvent;
use crate::names::Names;

/// Most rows that one statement assigns to other lanes.
const DIVIDED_AT_ONCE: i64 = 5_000;

pub(super) async fn write(
    connection: &mut PgConnection,
    names: &Names,
    progress: &Progress,
) -> Result<(), sqlx::Error> {
    if progress.is_plain() {
        sqlx::query(names.sql(include_str!("../sql/move_cursor.sql")))
            .bind(progress.published)
            .execute(connection)
            .await?;
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // Events are set aside before the cursor passes them.
    if !(progress.parked.is_empty() && progress.unparked.is_empty() && progress.unquarantined.is_empty()) {
        write_parked(&mut transaction, names, progress).await?;
    }
    if !(progress.deferred.is_empty() && progress.undeferred.is_empty()) {
        write_deferred(&mut transaction, names, progress).await?;
    }
    sqlx::query(names.sql(include_str!("../sql/move_cursor.sql")))
        .bind(progress.published)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

async fn write_parked(
    connection: &mut PgConnection,
    names: &Names,
    progress: &Progress,
) -> Result<(), sqlx::Error> {
    let row = |parked: &Parked| (parked.aggregate_id.0, parked.error.clone());
    let (aggregates, errors): (Vec<Uuid>, Vec<Option<String>>) = progress.parked.iter().map(row).unzip();
    let seqs: Vec<i64> = progress.parked.iter().map(|parked| parked.seq).collect();
    // Aggregates before their events: a foreign key.
    sqlx::query(names.sql(include_str!("../sql/park_aggregates.sql")))
        .bind(&aggregates)
        .bind(&errors)
        .execute(&mut *connection)
        .await?;
    sqlx::query(names.sql(include_str!("../sql/park_events.sql")))
        .bind(&seqs)
        .bind(&aggregates)
        .execute(&mut *connection)
        .await?;
    sqlx::query(names.sql(include_str!("../sql/unpark_events.sql")))
        .bind(&progress.unparked)
        .execute(&mut *connection)
        .await?;
    sqlx::query(names.sql(include_str!("../sql/unpark_aggregates.sql"))).execute(&mut *connection).await?;
    Ok(())
}

async fn write_deferred(
    connection: &mut PgConnection,
    names: &Names,
    progress: &Progress,
) -> Result<(), sqlx::Error> {
    let deferred = &progress.deferred;
    let seqs: Vec<i64> = deferred.iter().map(|deferred| deferred.seq).collect();
    let aggregates: Vec<Uuid> = deferred.iter().map(|deferred| deferred.aggregate_id.0).collect();
    let lanes: Vec<i32> = deferred.iter().map(|deferred| signed(deferred.lane)).collect();
    let partitions: Vec<i32> = deferred.iter().map(|deferred| signed(deferred.partitions)).collect();
    sqlx::query(names.sql(include_str!("../sql/defer_events.sql")))
        .bind(&seqs)
        .bind(&aggregates)
        .bind(&lanes)
        .bind(&partitions)
        .execute(&mut *connection)
        .await?;
    sqlx::query(names.sql(include_str!("../sql/undefer_events.sql")))
        .bind(&progress.undeferred)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

pub(super) async fn page(
    connection: &mut PgConnection,
    names: &Names,
    of: Source,
    after: i64,
    limit: usize,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = match of {
        Source::Lane(lane) => {
            sqlx::query_as(names.sql(include_str!("../sql/deferred_events.sql"))).bind(signed(lane))
        }
        Source::Aggregate(aggregate_id) => {
            sqlx::query_as(names.sql(include_str!("../sql/parked_events.sql"))).bind(aggregate_id.0)
        }
    };
    query.bind(after).bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(connection).await
}

/// Divides the deferred events into the lanes of `partitions`. If that is 0 (unknown) they keep their lanes. Returns the number of
/// partitions that the lanes are for, and the last position in each lane.
pub(super) async fn divide(
    connection: &mut PgConnection,
    names: &Names,
    partitions: u32,
    validity: Duration,
    clock: &ValidityClock,
) -> Result<(u32, Vec<(u32, i64)>), LeaseError> {
    loop {
        let sent_at = Instant::now();
        let query = sqlx::query_as(names.sql(include_str!("../sql/deferred_otherwise.sql")))
            .bind(signed(partitions))
            .bind(DIVIDED_AT_ONCE);
        let rows: Vec<(i64, Uuid)> = timeout(validity, query.fetch_all(&mut *connection)).await??;
        clock.renew(sent_at, validity);
        if rows.is_empty() || partitions == 0 {
            break;
        }
        let lane =
            |(seq, aggregate_id): (i64, Uuid)| (seq, signed(lane_of(AggregateId(aggregate_id), partitions)));
        let (seqs, lanes): (Vec<i64>, Vec<i32>) = rows.into_iter().map(lane).unzip();
        let divide = sqlx::query(names.sql(include_str!("../sql/divide_deferred.sql")))
            .bind(&seqs)
            .bind(&lanes)
            .bind(signed(partitions));
        timeout(validity, divide.execute(&mut *connection)).await??;
    }
    let query = sqlx::query_as(names.sql(include_str!("../sql/deferred_lanes.sql")));
    let lanes: Vec<DeferredLane> = timeout(validity, query.fetch_all(connection)).await??;
    let of = lanes.first().map_or(partitions, |lane| unsigned(lane.partitions));
    Ok((of, lanes.into_iter().map(|lane| (unsigned(lane.lane), lane.last_seq)).collect()))
}

#[derive(sqlx::FromRow)]
struct DeferredLane {
    lane: i32,
    partitions: i32,
    last_seq: i64,
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}
