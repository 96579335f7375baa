//! One transaction of the projection: the next events of the journal, and the cursor.

use engine::projection::Step;
use sqlx::{Connection as _, PgConnection};
use tracing::error;

use super::table::Table;

/// Events applied in one transaction.
const EVENTS_AT_ONCE: i64 = 2_000;

/// Takes in the next events of the journal, none beyond the position `most`.
pub(super) async fn catch_up(
    connection: &mut PgConnection,
    table: Table,
    most: i64,
) -> Result<Step, sqlx::Error> {
    match take(&mut *connection, table, most, include_str!("sql/add_created.sql")).await {
        Err(sqlx::Error::Database(error)) if is_of_the_data(error.code().as_deref()) => {
            take(connection, table, most, include_str!("sql/add_readable.sql")).await
        }
        taken => taken,
    }
}

/// Class 22: a value cannot be cast. Class 23: one is missing.
fn is_of_the_data(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

async fn take(
    connection: &mut PgConnection,
    table: Table,
    most: i64,
    add_created: &'static str,
) -> Result<Step, sqlx::Error> {
    // Before the cursor is claimed: the lag counts even if another instance, perhaps frozen, holds the cursor.
    let lag: i64 =
        sqlx::query_scalar(table.sql(include_str!("sql/lag.sql"))).fetch_one(&mut *connection).await?;
    let mut transaction = connection.begin().await?;
    let claimed: Option<i64> = sqlx::query_scalar(table.sql(include_str!("sql/claim.sql")))
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(projected) = claimed else { return Ok(Step { lag, moved: false, unknown: Vec::new() }) };
    // After it: nobody else moves the cursor now, so it is beyond the head only if events are gone.
    let head: i64 = sqlx::query_scalar(include_str!("sql/head.sql")).fetch_one(&mut *transaction).await?;
    let upto = head.min(most.max(projected)).min(projected + EVENTS_AT_ONCE);
    if upto == projected {
        return Ok(Step { lag: 0, moved: false, unknown: Vec::new() });
    }
    let mut unknown = Vec::new();
    if upto < projected {
        error!(
            projected,
            head,
            "The list was beyond the journal's end, and goes on from there: rebuild it (see the runbook)"
        );
        sqlx::query(table.sql(include_str!("sql/drop_gone.sql")))
            .bind(upto)
            .execute(&mut *transaction)
            .await?;
    }
    if upto > projected {
        for statement in [add_created, include_str!("sql/apply_changes.sql")] {
            sqlx::query(table.sql(statement)).bind(projected).bind(upto).execute(&mut *transaction).await?;
        }
        let passed_over = sqlx::query_as(table.sql(include_str!("sql/unknown.sql")));
        unknown = passed_over.bind(projected).bind(upto).fetch_all(&mut *transaction).await?;
    }
    sqlx::query(table.sql(include_str!("sql/advance.sql"))).bind(upto).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Step { lag: head - upto, moved: true, unknown })
}
