//! The passing of time: VIP statuses that end while no event arrives.
//!
//! An account says when its status has to be looked at again (`vip_review_at`, which has an index). A sweep looks at those that are
//! due, a bounded number in a transaction, until none is left. What was missed while no instance ran is therefore due at the next
//! sweep, and there is one at every start.
//!
//! apalis' cron says when. Every instance is told at the same moments; a lock in Postgres, held for a transaction, lets one of them
//! sweep. Whether an account is swept late does not matter to `GET /api/bonuses/…`, which asks for the status as of now.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Instant;

use apalis_cron::CronScheduler;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use kit::postgres::Pool;
use kit::supervision::Lifeline;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use tokio::sync::watch;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::changes::{self, AccountChange};
use crate::error::LedgerError;
use crate::policy::{self, Policy};
use crate::schedule::SweepSchedule;
use crate::standing::{self, Standing};

/// Most accounts in a transaction. They are locked for its length, some ten milliseconds, and their credits wait.
const STEP_ACCOUNTS_MAX: i64 = 500;

/// The result of a step, or of a whole sweep.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Accounts that were looked at.
    pub accounts: i64,
    pub changes: Vec<AccountChange>,
}

#[derive(FromRow)]
struct SweepRow {
    /// `None`: another instance has the lock.
    reviewed: Option<i64>,
    changed: Vec<Uuid>,
    points: Vec<i64>,
    vip_after: Vec<bool>,
}

impl SweepRow {
    /// Time changes VIP alone, never the grade.
    fn changes(self, policy: &Policy) -> Vec<AccountChange> {
        let accounts = self.changed.into_iter().zip(self.points.into_iter().zip(self.vip_after));
        let changes = accounts.flat_map(|(customer_id, (points, vip))| {
            let grade = policy.grade(points);
            let changes = standing::changes(Standing { grade, vip: !vip }, Standing { grade, vip });
            changes.into_iter().map(move |change| AccountChange { customer_id, change })
        });
        changes.collect()
    }
}

/// Looks at `accounts_max` accounts that are due, in one transaction. `None`: another instance is sweeping. `as_of`: the moment;
/// `None`: the server's clock.
pub async fn step(
    connection: &mut PgConnection,
    accounts_max: i64,
    as_of: Option<DateTime<Utc>>,
) -> Result<Option<Swept>, LedgerError> {
    let policy = policy::CURRENT;
    let row: SweepRow = sqlx::query_as(include_str!("sql/sweep_vip.sql"))
        .bind(accounts_max)
        .bind(policy.vip_points)
        .bind(policy.vip_window)
        .bind(as_of)
        .fetch_one(connection)
        .await?;
    Ok(row.reviewed.map(|accounts| Swept { accounts, changes: row.changes(policy) }))
}

/// Looks at all accounts that are due, in steps, until none is left or another instance sweeps.
async fn sweep(pool: &Pool) -> Result<Swept, LedgerError> {
    let mut swept = Swept::default();
    loop {
        let step: Result<_, LedgerError> =
            pool.run(async |mut connection| step(&mut connection, STEP_ACCOUNTS_MAX, None).await).await;
        let Some(step) = step? else { return Ok(swept) };
        changes::report(&step.changes);
        swept.accounts += step.accounts;
        swept.changes.extend(step.changes);
        if step.accounts < STEP_ACCOUNTS_MAX {
            return Ok(swept);
        }
    }
}

/// Sweeps at once, and then on schedule, until `stopping`.
pub async fn run(
    pool: Pool,
    schedule: SweepSchedule,
    mut stopping: watch::Receiver<bool>,
    lifeline: Lifeline,
) {
    tokio::select! {
        never = sweep_on_schedule(&pool, &schedule, &lifeline) => match never {},
        _ = stopping.wait_for(|stop| *stop) => lifeline.end("told to stop"),
    }
}

async fn sweep_on_schedule(pool: &Pool, schedule: &SweepSchedule, lifeline: &Lifeline) -> Infallible {
    loop {
        sweep_and_report(pool, lifeline).await;
        // As a stream, not as a worker: a worker would start the next sweep while the last one still runs.
        let mut ticks = pin!(CronScheduler::new(schedule.clone()).into_stream());
        loop {
            match ticks.next().await {
                Some(Ok(_)) => sweep_and_report(pool, lifeline).await,
                // Missed, because the last sweep took that long. The scheduler would say so for ever.
                Some(Err(_)) => break,
                None => {
                    error!(%schedule, "The schedule of sweeps has ended; VIP statuses end at credits alone");
                    std::future::pending::<Infallible>().await;
                }
            }
        }
    }
}

async fn sweep_and_report(pool: &Pool, lifeline: &Lifeline) {
    let _handling = lifeline.handling();
    let started = Instant::now();
    match sweep(pool).await {
        Ok(Swept { changes, .. }) if changes.is_empty() => {}
        Ok(Swept { accounts, changes }) => {
            let (changes, duration_ms) = (changes.len(), started.elapsed().as_millis());
            info!(accounts, changes, duration_ms, "VIP statuses have changed by the passing of time");
        }
        Err(error) => {
            lifeline.vitals().failed(error.to_string());
            warn!(%error, "VIP statuses could not be swept; the next sweep tries again");
        }
    }
}
