//! The topic is deleted under load, the services make it anew, and an operator does what the runbook says.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sqlx::PgPool;

use super::super::facts::Generation;
use super::instance::{as_service, relayed};
use super::{Cluster, LOOK_PATIENCE, LOOK_PAUSE, RECOVERY_MAX};
use crate::servers::ServiceSettings;
use crate::servers::process::spawn_recorded;

/// Replays that end early are continued.
const REPLAYS_MAX: usize = 5;

impl Cluster {
    /// Returns when the services say that the new topic has what the former one had. `reaction`: how long the operator takes.
    pub(super) async fn remake_topic(self: &Arc<Self>, reaction: Duration) -> Result<()> {
        let database = self.pool()?;
        let known = last_topic(&database).await?;
        let topic = self.blocking(|cluster| cluster.brokers()?.read_and_delete()).await?;
        let until = noticed(&database, known).await?;
        self.former.lock().await.push(Generation { topic, until: Some(until) });
        tokio::time::sleep(reaction).await;
        // A replay reaches no further than publication.
        let published = self.caught_up(&database, RECOVERY_MAX).await?;
        ensure!(published.is_some(), "publication has not passed position {until} within {RECOVERY_MAX:?}");
        self.replay().await
    }

    /// `orders replay` from the journal's beginning, continued where it ends early.
    async fn replay(self: &Arc<Self>) -> Result<()> {
        let mut from = 1;
        for _ in 0..REPLAYS_MAX {
            let answer = self.blocking(move |cluster| cluster.run_replay(from)).await?;
            if answer["restored"] == true {
                return Ok(());
            }
            ensure!(
                answer["refused"].as_array().is_some_and(Vec::is_empty),
                "the broker refuses events: {answer}"
            );
            from = answer["resume_from"].as_i64().unwrap_or(1);
        }
        bail!("{REPLAYS_MAX} replays have not restored the topic")
    }

    fn run_replay(&self, from: i64) -> Result<Value> {
        let database = relayed(self.database.primary(), self.observer.port());
        let mut command = Command::new(ServiceSettings::orders()?.program);
        command
            .args(["replay", "--yes", "--json", "--from", &from.to_string()])
            .env("DATABASE_URL", as_service(&database, "orders", self.secured.as_ref()))
            .envs(self.brokers()?.settings("ORDERS"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let ran = spawn_recorded(&mut command)?.wait_with_output()?;
        serde_json::from_slice(&ran.stdout)
            .with_context(|| format!("orders replay: {}", String::from_utf8_lossy(&ran.stderr)))
    }
}

/// The number of the topic that the services know.
async fn last_topic(database: &PgPool) -> Result<i64> {
    let number = sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM published_topic");
    Ok(number.fetch_one(database).await?)
}

/// Waits until the services know another topic than this one. The journal's end at that time: nothing behind it was published to the
/// former topic.
async fn noticed(database: &PgPool, known: i64) -> Result<i64> {
    let begun = Instant::now();
    while begun.elapsed() < RECOVERY_MAX {
        let head = sqlx::query_scalar(
            "SELECT (SELECT coalesce(max(seq), 0) FROM order_event)
               FROM published_topic WHERE number > $1 AND lost_seq IS NOT NULL LIMIT 1",
        );
        // Whatever goes wrong is asked again.
        match tokio::time::timeout(LOOK_PATIENCE, head.bind(known).fetch_optional(database)).await {
            Ok(Ok(Some(head))) => return Ok(head),
            _ => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
    bail!("no service noticed within {RECOVERY_MAX:?} that the topic was made anew")
}
