//! Where the retry of an outage is, and that it goes on.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chrono::{DateTime, Utc};

use super::clients::{Clients, Retry};
use super::story::{PATIENCE, Story, eventually};
use crate::say;

impl Story {
    /// Waits until the retry of the outage waits there, and says which it is.
    pub(super) async fn retry_in(&self, place: &str) -> Result<Retry> {
        let look = async || Ok(self.clients.outbox().await?.retry.filter(|retry| retry.place == place));
        eventually(PATIENCE, &format!("the retry to wait in {place}"), look).await
    }

    /// Waits until the retry is a job in Redis, and shows it.
    pub(super) async fn job_waits(&self) -> Result<Retry> {
        let retry = self.retry_in("redis").await?;
        self.show_outbox().await?;
        say::command(format_args!("{} HGETALL {}", self.stack.redis_cli(), Clients::retry_record_key()));
        let record = self.clients.retry_record().await?;
        say::answer(record.iter().map(|(field, value)| format!("{field}: {value}\n")).collect::<String>());
        let due =
            record.get("due_at_ms").and_then(|ms| DateTime::<Utc>::from_timestamp_millis(ms.parse().ok()?));
        let Some(due) = due else {
            bail!(
                "Redis holds no retry job with a due time; its keys: {:?}",
                self.clients.retry_keys().await?
            )
        };
        let attempt = record.get("attempt").cloned().unwrap_or_default();
        let from_now = (due - Utc::now()).as_seconds_f64();
        say::answer(format!(
            "attempt {attempt}, due {} ({from_now:+.1} s from now)",
            due.format("%H:%M:%S%.3f UTC")
        ));
        Ok(retry)
    }

    /// Waits for a later attempt than the one that the dead process had arranged: the new one has run the job, and failed.
    pub(super) async fn job_outlives_its_process(&self) -> Result<Retry> {
        let before = self.attempt;
        let went_on = async || Ok(self.clients.outbox().await?.retry.filter(|retry| retry.attempt > before));
        let retry = eventually(PATIENCE, "the new process to go on with the job", went_on).await?;
        ensure!(retry.place == "redis", "the retry waits in {}", retry.place);
        say::line("The job in Redis has outlived the process that had put it there:");
        let due = retry.next_attempt_at.format("%H:%M:%S%.3f UTC");
        say::answer(format!(
            "attempt {} has failed too; attempt {} is due {due}",
            retry.attempt - 1,
            retry.attempt
        ));
        Ok(retry)
    }

    pub(super) async fn breaker_closed(&self) -> Result<()> {
        let look = async || {
            let outbox = self.clients.outbox().await?;
            Ok((outbox.breaker == "closed" && outbox.retry.is_none() && outbox.pending == 0).then_some(()))
        };
        eventually(Duration::from_secs(15), "the breaker to close", look).await
    }
}
