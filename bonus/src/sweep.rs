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
use engine::journal::Appender;
use futures_util::StreamExt;
use kit::postgres::{Pool, PooledConnection};
use kit::supervision::Lifeline;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, FromRow};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::changes::{self, AccountChange, Standings};
use crate::error::LedgerError;
use crate::policy;
use crate::schedule::SweepSchedule;

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
    #[sqlx(flatten)]
    standings: Standings,
}

/// Looks at `accounts_max` accounts that are due, in one transaction, and appends what has changed. `None`: another instance is sweeping.
/// `as_of`: the moment; `None`: the server's clock.
pub async fn step(
    connection: &mut PgConnection,
    appender: &Appender,
    accounts_max: i64,
    as_of: Option<DateTime<Utc>>,
) -> Result<Option<Swept>, LedgerError> {
    let mut transaction = connection.begin().await?;
    let row: SweepRow = sqlx::query_as(include_str!("sql/sweep_vip.sql"))
        .bind(accounts_max)
        .bind(policy::VERSIONS)
        .bind(as_of)
        .fetch_one(&mut *transaction)
        .await?;
    let Some(accounts) = row.reviewed else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let changes = row.standings.changes();
    let now = as_of.unwrap_or_else(Utc::now);
    let recorded = changes::record(&mut transaction, appender, &changes, now).await?;
    transaction.commit().await?;
    appender.committed(recorded);
    Ok(Some(Swept { accounts, changes }))
}

/// Looks at all accounts that are due, in steps, until none is left or another instance sweeps.
async fn sweep(pool: &Pool, appender: &Appender) -> Result<Swept, LedgerError> {
    let mut swept = Swept::default();
    loop {
        let appender = appender.clone();
        let step = async move |mut connection: PooledConnection| {
            step(&mut connection, &appender, STEP_ACCOUNTS_MAX, None).await
        };
        let step: Result<_, LedgerError> = pool.run(step).await;
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
    appender: Appender,
    schedule: SweepSchedule,
    mut stopping: watch::Receiver<bool>,
    lifeline: Lifeline,
) {
    tokio::select! {
        never = sweep_on_schedule(&pool, &appender, &schedule, &lifeline) => match never {},
        _ = stopping.wait_for(|stop| *stop) => lifeline.end("told to stop"),
    }
}

async fn sweep_on_schedule(
    pool: &Pool,
    appender: &Appender,
    schedule: &SweepSchedule,
    lifeline: &Lifeline,
) -> Infallible {
    loop {
        sweep_and_report(pool, appender, lifeline).await;
        // As a stream, not as a worker: a worker would start the next sweep while the last one still runs.
        let mut ticks = pin!(CronScheduler::new(schedule.clone()).into_stream());
        loop {
            match ticks.next().await {
                Some(Ok(_)) => sweep_and_report(pool, appender, lifeline).await,
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

async fn sweep_and_report(pool: &Pool, appender: &Appender, lifeline: &Lifeline) {
    let _handling = lifeline.handling();
    let started = Instant::now();
    match sweep(pool, appender).await {
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
