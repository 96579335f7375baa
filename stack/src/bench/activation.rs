//! Row 9: an order that no actor holds is folded from its events.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sqlx::PgConnection;
use sqlx::{Connection as _, Row};
use uuid::Uuid;

use super::Bench;
use super::backlog::append_lives;
use super::http::Connection;
use super::report::{Figure, Target, median};

const READS: usize = 2_000;

/// An order's life has four events at most, so that the longer histories are made: the same payment over and over, which folds like any other event.
async fn history(database: &sqlx::PgPool, events: i64) -> Result<Uuid> {
    let order = Uuid::new_v4();
    let mut transaction = database.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(append_lock_key())").execute(&mut *transaction).await?;
    sqlx::query(
        "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT h.head + n, e.id, $1, n, t.event_type,
                replace(replace(replace(t.payload::text, t.order_id::text, $1::text), t.event_id::text, e.id::text),
                        '\"version\":' || t.version, '\"version\":' || n)::json,
                t.metadata, t.occurred_at
           FROM (SELECT max(seq) AS head FROM order_event) h
          CROSS JOIN generate_series(1, $2) n
           JOIN (SELECT DISTINCT ON (version) * FROM order_event WHERE version IN (1, 2) ORDER BY version, seq) t
             ON t.version = least(n, 2)
          CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE n > 0 OFFSET 0) e",
    )
    .bind(order)
    .bind(events)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(order)
}

pub(super) async fn activation(bench: &Bench) -> Result<Vec<Figure>> {
    let site = bench.site(9, 1, &[])?;
    append_lives(&site, 10_000).await?;
    let mut figures = Vec::new();
    for events in [10, 1_000] {
        let order = history(&site.database, events).await?;
        let mut http = Connection::open(site.host(0)?).await?;
        let mut database = PgConnection::connect(&site.postgres.url()).await?;
        let (mut folded, mut selected) = (Vec::new(), Vec::new());
        for round in 1..=bench.rounds {
            let (mut reads, mut answers, mut selects) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..READS {
                answers.push(timed(http.get("/livez")).await?);
                reads.push(timed(http.get(&format!("/api/orders/{order}"))).await?);
                selects.push(timed(select(&mut database, order, events)).await?);
            }
            folded.push(median(&reads) - median(&answers));
            selected.push(median(&selects));
            bench.say(9, round, &format!("{events} events, ms"), &folded, &selected);
        }
        let name = format!("order of {events} events folded, without HTTP's own share, p50");
        figures.push(Figure::of(
            9,
            name,
            "ms",
            &folded,
            ("bare SELECT", &selected),
            Target::RatioAtMost(2.0),
        ));
    }
    Ok(figures)
}

async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<f64> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed().as_secs_f64() * 1_000.0)
}

/// The same rows over the same index, and every value of them taken out.
async fn select(database: &mut PgConnection, order: Uuid, events: i64) -> Result<()> {
    let rows = sqlx::query(
        "SELECT seq, event_id, order_id, version, event_type, payload::text, metadata::text, occurred_at
           FROM order_event WHERE order_id = $1 ORDER BY version",
    )
    .bind(order)
    .fetch_all(database)
    .await?;
    let last: i64 = rows.last().context("the order has no events")?.try_get("version")?;
    ensure!(last == events, "the order has {last} events");
    Ok(())
}
