//! What there is to compare with: pgbench, which asks of Postgres what a service asks that writes one event a transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::PgPool;
use tokio::process::Command;

use crate::servers::postgres::binaries;

const INSERT_EVENT: &str = "INSERT INTO reference_event
    (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
    VALUES (nextval('reference_seq'), gen_random_uuid(), gen_random_uuid(), 1, 'OrderCreated', :payload, :metadata, now());";

/// The same rows in a table with the same indexes, on the same server.
pub(super) struct PgBench {
    url: String,
    directory: PathBuf,
    variables: Vec<String>,
}

impl PgBench {
    /// The journal must hold an event, which is the one that is inserted again and again.
    pub(super) async fn of_events(database: &PgPool, url: String, directory: &Path) -> Result<Self> {
        let statements = [
            "DROP TABLE IF EXISTS reference_event",
            "DROP SEQUENCE IF EXISTS reference_seq",
            "CREATE TABLE reference_event (LIKE order_event INCLUDING ALL)",
            "CREATE SEQUENCE reference_seq",
        ];
        for statement in statements {
            sqlx::query(statement).execute(database).await?;
        }
        let (payload, metadata): (String, String) =
            sqlx::query_as("SELECT payload::text, metadata::text FROM order_event ORDER BY seq LIMIT 1")
                .fetch_one(database)
                .await
                .context("the journal holds no event to insert")?;
        let variables = vec![format!("payload={payload}"), format!("metadata={metadata}")];
        Self::new(url, directory, INSERT_EVENT, variables)
    }

    pub(super) fn new(url: String, directory: &Path, script: &str, variables: Vec<String>) -> Result<Self> {
        let directory = directory.join("pgbench");
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("script.sql"), script)?;
        Ok(Self { url, directory, variables })
    }

    async fn run(&self, clients: usize, lasts: Duration, more: &[&str]) -> Result<String> {
        let seconds = lasts.as_secs().max(1).to_string();
        let mut pgbench = Command::new(binaries()?.join("pgbench"));
        pgbench.current_dir(&self.directory).kill_on_drop(true);
        pgbench.args(["-n", "-M", "prepared", "-f", "script.sql", "-T", &seconds]);
        pgbench.args(["-c", &clients.to_string(), "-j", &clients.min(2).to_string()]).args(more);
        for variable in &self.variables {
            pgbench.args(["-D", variable]);
        }
        let output = pgbench.arg(&self.url).output().await.context("pgbench cannot be run")?;
        if !output.status.success() {
            bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Transactions a second.
    pub(super) async fn per_second(&self, clients: usize, lasts: Duration) -> Result<f64> {
        let output = self.run(clients, lasts, &[]).await?;
        let tps =
            output.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.with_context(|| format!("pgbench does not say how fast it was: {output}"))
    }

    /// The median latency of one client, in milliseconds.
    pub(super) async fn p50_ms(&self, lasts: Duration) -> Result<f64> {
        for file in std::fs::read_dir(&self.directory)?.flatten() {
            if file.file_name().to_string_lossy().starts_with("log") {
                std::fs::remove_file(file.path())?;
            }
        }
        self.run(1, lasts, &["-l", "--log-prefix=log"]).await?;
        let mut latencies_us: Vec<f64> = Vec::new();
        for file in std::fs::read_dir(&self.directory)?.flatten() {
            if file.file_name().to_string_lossy().starts_with("log") {
                let log = std::fs::read_to_string(file.path())?;
                latencies_us
                    .extend(log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
            }
        }
        Ok(super::report::median(&latencies_us) / 1_000.0)
    }
}
