//! Many events at once, written as the service writes them: copies of the life of one real order.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;
use sqlx::PgPool;

use super::http::{Command, Connection, Workload};
use super::workload::Creates;
use crate::site::{Site, until};

pub(super) const EVENTS_AN_ORDER: i64 = 4;
/// Orders whose lives run side by side.
const ALONGSIDE: i64 = 1_000;

/// Puts whole lives of so many orders at the end of the journal. They are interleaved as those of a thousand busy clients.
pub(super) async fn append_lives(site: &Site, orders: i64) -> Result<()> {
    append_lives_to(site.host(0)?, &site.database, orders).await
}

/// The same for any service and its database.
pub(super) async fn append_lives_to(host: SocketAddr, database: &PgPool, orders: i64) -> Result<()> {
    let mut connection = Connection::open(host).await?;
    let (status, body) = connection.post(Creates::new(0).next()).await?;
    ensure!(status.is_success(), "the service answers {status}");
    let order: Value = serde_json::from_slice(&body)?;
    let order = order["order_id"].as_str().unwrap_or_default().to_owned();
    for step in ["pay", "ship", "complete"] {
        let command = Command { path: format!("/api/orders/{order}/{step}"), body: "{}".to_owned() };
        let (status, _) = connection.post(command).await?;
        ensure!(status.is_success(), "the service answers {status}");
    }
    let mut transaction = database.begin().await?;
    // The append lock.
    sqlx::query("SELECT pg_advisory_xact_lock(append_lock_key())").execute(&mut *transaction).await?;
    sqlx::query(
        "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT h.head + row_number() OVER (ORDER BY o.n / $3, t.version, o.n), e.id, o.id, t.version, t.event_type,
                replace(replace(t.payload::text, t.order_id::text, o.id::text), t.event_id::text, e.id::text)::json,
                t.metadata, t.occurred_at
           FROM (SELECT max(seq) AS head FROM order_event) h
          CROSS JOIN (SELECT n, gen_random_uuid() AS id FROM generate_series(0, $2 - 1) n OFFSET 0) o
           JOIN order_event t ON t.order_id = $1
          CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE o.n IS NOT NULL AND t.seq IS NOT NULL OFFSET 0) e",
    )
    .bind(order.parse::<uuid::Uuid>()?)
    .bind(orders)
    .bind(ALONGSIDE)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    // In an outage only Kafka is behind: the list of orders keeps up.
    until("the list of orders has taken the events in", async || {
        let lag: i64 = sqlx::query_scalar(
            "SELECT (SELECT max(seq) FROM order_event) - projected_seq FROM projection_cursor WHERE projection = 'order_summary'",
        )
        .fetch_one(database)
        .await
        .ok()?;
        (lag == 0).then_some(())
    })
    .await
}
