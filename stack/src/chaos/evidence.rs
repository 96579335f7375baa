//! What is found afterwards: in Postgres, in the whole topic, in Redis, and in what the services tell of themselves.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::cluster::Cluster;
use super::facts::{Acknowledged, Booked, Changes, Evidence, Logged};
use super::ledger::expected_points;
use crate::secured::Callers;
use crate::topic::Change;

/// How long the last credits, and the end of the last retry, are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the retries' keys in Redis begin with (the services' defaults). Workers announce themselves there, too.
const RETRY_KEYS: [&str; 2] = ["orders:publish-backlog", "bonus:publish-backlog"];
const WORKERS: &str = ":workers";

/// What was gathered, and what only the report tells.
pub(super) struct Gathered {
    pub(super) evidence: Evidence,
    pub(super) lost_entries: usize,
}

pub(super) async fn gather(
    cluster: &Arc<Cluster>,
    database: &PgPool,
    acknowledged: Vec<Acknowledged>,
    refused: HashSet<String>,
) -> Result<Gathered> {
    let callers = cluster.callers()?;
    let http = callers.client().timeout(Duration::from_secs(10)).build()?;
    let expected = expected_points(&acknowledged);
    let points = settle(
        async || points(&http, &callers, &cluster.bonus_url(), &expected).await,
        |points| {
            expected.iter().all(|(customer, due)| points.get(customer).copied().unwrap_or_default() == *due)
        },
    )
    .await?;
    let jobs = settle(async || jobs(&http, &callers, cluster).await, Vec::is_empty).await?;
    let found = settle(
        async || {
            let mut found = cluster.topic_findings(database).await?;
            found.left.extend(unpublished_changes(database).await?);
            Ok(found)
        },
        |found| found.left.is_empty(),
    )
    .await?;
    let (cursor, waiting) = sqlx::query_as(
        "SELECT published_seq, (SELECT count(*) FROM outbox_message) + (SELECT count(*) FROM quarantined_event)
           FROM publisher_cursor",
    )
    .fetch_one(database)
    .await?;
    let waiting_letters: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bonus.dead_letter").fetch_one(database).await?;
    let evidence = Evidence {
        mq: cluster.stage().mq,
        acknowledged,
        refused,
        log: log(database).await?,
        former: found.former,
        topic: found.topic,
        unread: found.unread,
        ledger: ledger(database).await?,
        changes: Changes {
            stored: stored_changes(database).await?,
            former: found.former_changes,
            topic: found.changes,
        },
        points,
        cursor,
        waiting,
        left: found.left,
        letters: found.letters + waiting_letters.unsigned_abs(),
        jobs,
    };
    Ok(Gathered { evidence, lost_entries: found.lost })
}

/// What `look` sees once it is as it should be; or at last, if it does not become so. The checker judges, not this.
async fn settle<T>(look: impl AsyncFn() -> Result<T>, settled: impl Fn(&T) -> bool) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = look().await?;
        if settled(&seen) || begun.elapsed() > PATIENCE {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn log(database: &PgPool) -> Result<Vec<Logged>> {
    type Row = (i64, Uuid, Uuid, i64, String, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT seq, event_id, order_id, version, event_type, metadata->>'idempotency_key' FROM order_event",
    )
    .fetch_all(database)
    .await?;
    let logged = |(seq, event_id, order, version, event_type, key): Row| Logged {
        seq,
        event_id: event_id.to_string(),
        order,
        version,
        event_type,
        key,
    };
    Ok(rows.into_iter().map(logged).collect())
}

async fn ledger(database: &PgPool) -> Result<Vec<Booked>> {
    type Row = (Uuid, Uuid, i64, Uuid, String, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT event_id, order_id, version, customer_id, event_type, points FROM bonus.ledger",
    )
    .fetch_all(database)
    .await?;
    let booked = |(event_id, order, version, customer, event_type, points): Row| Booked {
        event_id: event_id.to_string(),
        order,
        version,
        customer,
        event_type,
        points,
    };
    Ok(rows.into_iter().map(booked).collect())
}

/// What bonus has not published yet, or set aside.
async fn unpublished_changes(database: &PgPool) -> Result<Option<String>> {
    let (cursor, head, waiting): (i64, i64, i64) = sqlx::query_as(
        "SELECT published_seq, (SELECT coalesce(max(seq), 0) FROM bonus.customer_event),
                (SELECT count(*) FROM bonus.outbox_message) + (SELECT count(*) FROM bonus.quarantined_event)
           FROM bonus.publisher_cursor",
    )
    .fetch_one(database)
    .await?;
    let text = format!("bonus: cursor {cursor} of {head}, {waiting} waiting or set aside");
    Ok((cursor != head || waiting != 0).then_some(text))
}

/// By position.
async fn stored_changes(database: &PgPool) -> Result<Vec<(i64, Change)>> {
    type Row = (i64, Uuid, Uuid, i64, String, String);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT seq, event_id, customer_id, version, event_type, payload::text FROM bonus.customer_event",
    )
    .fetch_all(database)
    .await?;
    let stored = |(seq, event_id, customer, version, event_type, payload): Row| {
        let change = Change::parse(&payload)?;
        let row = (event_id.to_string(), customer, version, event_type);
        let told = (change.event_id.clone(), change.customer, change.version, change.event_type.clone());
        ensure!(row == told, "the row {row:?} of customer_event says {change:?}");
        Ok((seq, change))
    };
    rows.into_iter().map(stored).collect()
}

async fn points(
    http: &reqwest::Client,
    callers: &Callers,
    bonus: &str,
    customers: &BTreeMap<Uuid, i64>,
) -> Result<BTreeMap<Uuid, i64>> {
    let mut points = BTreeMap::new();
    for customer in customers.keys() {
        let request = http.get(format!("{bonus}/api/bonuses/{customer}"));
        let answer = callers.as_customer(request, *customer)?.send().await?;
        match answer.status() {
            StatusCode::OK => {
                let account: Value = answer.json().await?;
                points.insert(*customer, account["points"].as_i64().context("an account without points")?);
            }
            StatusCode::NOT_FOUND => {}
            status => bail!("the account of {customer} was answered {status}"),
        }
    }
    Ok(points)
}

async fn jobs(http: &reqwest::Client, callers: &Callers, cluster: &Cluster) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for instance in cluster.operators_urls() {
        let request = callers.as_operator(http.get(format!("{instance}/api/outbox")), "checker")?;
        let outbox: Value = request.send().await?.json().await?;
        if !outbox["retry"].is_null() || outbox["breaker"] != "closed" {
            left.push(format!("{instance} says {outbox}"));
        }
    }
    let mut redis = cluster.redis().await?;
    for queue in RETRY_KEYS {
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{queue}*")).query_async(&mut redis).await?;
        left.extend(keys.into_iter().filter(|key| !key.starts_with(&format!("{queue}{WORKERS}"))));
    }
    Ok(left)
}
