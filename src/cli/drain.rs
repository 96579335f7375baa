//! `orders outbox drain`
//!
//! It is done when the cursor has reached the journal's head as it was when the command began. Otherwise it would never end while
//! commands keep coming.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use engine::fallback::{Fallback, ScheduledRetry};
use engine::publisher::outbox::OutboxNumbers;
use kit::cli::Progress;
use kit::cli::counted;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::OutputArgs;
use super::database::{self, Journal};
use super::publish::Publishing;
use crate::config::{Postgres, Publication};

/// Between two looks at the cursor.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct Drain {
    /// Give up after this many seconds; without it, wait as long as it takes
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    publication: Publication,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Serialize)]
struct DrainReport {
    /// Whether everything is published that the journal held when the command began.
    drained: bool,
    /// Events that were published meanwhile.
    published: i64,
    /// Of those that the journal held when the command began.
    remaining: i64,
    published_seq: i64,
    /// Whether this command published, because no instance of the service was there.
    published_here: bool,
    duration_seconds: f64,
    quarantined_orders: i64,
    quarantined_events: i64,
    /// The next try of the outage that keeps events waiting.
    retry: Option<ScheduledRetry>,
}

impl Drain {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let journal = database::open(&self.database).await?;
        let fallback = self.publication.retry.fallback()?;
        let (begun, before) = (Instant::now(), journal.outbox.numbers().await?);
        let target = before.head_seq;
        if before.published_seq < target
            && let Err(error) = fallback.bring_forward().await
        {
            warn!(%error, "A retry that waits in Redis cannot be brought forward");
        }
        let mut publishing = None;
        let after = self.watch(&journal, &fallback, &before, &mut publishing).await;
        let published_here = publishing.is_some();
        if let Some(publishing) = publishing {
            publishing.stop().await;
        }
        let after = after?;
        let drained = after.published_seq >= target;
        let report = DrainReport {
            drained,
            published: after.published_seq - before.published_seq,
            remaining: (target - after.published_seq).max(0),
            published_seq: after.published_seq,
            published_here,
            duration_seconds: begun.elapsed().as_secs_f64(),
            quarantined_orders: after.quarantined,
            quarantined_events: after.quarantined_events,
            retry: if drained { None } else { fallback.pending().await.ok().flatten() },
        };
        self.output.write(&report, text)?;
        Ok(if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Returns when the outbox is drained, the time is over, or a stop was requested.
    async fn watch(
        &self,
        journal: &Journal,
        fallback: &Fallback,
        before: &OutboxNumbers,
        publishing: &mut Option<Publishing>,
    ) -> anyhow::Result<OutboxNumbers> {
        let stop = kit::stop::wanted()?;
        tokio::pin!(stop);
        let deadline = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut progress = Progress::new("events published");
        loop {
            let numbers = journal.outbox.numbers().await?;
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if numbers.published_seq >= before.head_seq || over {
                return Ok(numbers);
            }
            progress
                .show(numbers.published_seq - before.published_seq, before.head_seq - before.published_seq);
            // Only if no instance is running: one whose breaker is open has released the lease, and will acquire it again.
            if publishing.is_none() && is_deserted(journal).await? {
                info!("No instance of the service is there: publishing from here");
                let format = self.output.logging.log_format;
                *publishing = Some(Publishing::start(&self.publication, format, journal, fallback).await?);
            }
            tokio::select! {
                () = sleep(LOOK_INTERVAL) => {}
                _ = &mut stop => return Ok(numbers),
            }
        }
    }
}

async fn is_deserted(journal: &Journal) -> anyhow::Result<bool> {
    let sessions = journal.outbox.sessions(crate::app::SESSIONS).await?;
    Ok(sessions.lease.pid.is_none() && sessions.service_sessions == 0)
}

fn text(report: &DrainReport) -> String {
    let (published, seconds) = (counted(report.published, "event"), report.duration_seconds);
    let by = if report.published_here { " by this command" } else { "" };
    let mut text = match report.drained {
        true => format!("The outbox is drained: {published} published{by} in {seconds:.1} s."),
        false => format!(
            "Not drained after {seconds:.1} s: {published} published{by}, {} left. `orders check` says what is wrong.",
            report.remaining
        ),
    };
    if let Some(retry) = &report.retry {
        text += &format!("\nThe next retry is attempt {}, due {}.", retry.attempt, retry.due_at);
    }
    if report.quarantined_events > 0 {
        let events = counted(report.quarantined_events, "event");
        let orders = counted(report.quarantined_orders, "order");
        text += &format!("\nQuarantined: {events} of {orders}; see `orders dead-letters list`.");
    }
    text
}
