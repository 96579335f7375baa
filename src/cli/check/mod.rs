//! `orders check`: would the service do well with this environment, and does it?

mod dead_letters;
mod kafka;
mod postgres;
mod redis;
mod server;
mod topic;

use std::process::ExitCode;

use clap::{Args, Parser};
use comfy_table::Table;
use serde::Serialize;

use super::output::{Output, table};
use crate::config::Config;

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Serialize)]
struct Answer {
    /// Whether nothing failed.
    ok: bool,
    checks: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Works, or costs something only under further misfortune.
    Warn,
    Fail,
}

/// What one check came to.
#[derive(Serialize)]
struct Finding {
    name: &'static str,
    status: Status,
    message: String,
    /// What to do.
    advice: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, message: message.into(), advice: None }
    }

    fn warn(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, message: message.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, message: message.into(), advice: Some(advice.into()) }
    }
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let checks = match Config::try_parse_from(["orders"]) {
            Ok(config) => all(&config).await,
            Err(error) => {
                let text = error.to_string();
                let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                vec![Finding::fail(
                    "settings",
                    cause,
                    "Mend it in the environment; README.md lists the settings.",
                )]
            }
        };
        let ok = checks.iter().all(|finding| finding.status != Status::Fail);
        self.output.answer(&Answer { ok, checks }, text)?;
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn all(config: &Config) -> Vec<Finding> {
    let (postgres, kafka, redis) = tokio::join!(
        postgres::check(&config.database),
        kafka::check(&config.publication.broker),
        redis::check(&config.publication.retry),
    );
    let settings = [settings(config)];
    settings.into_iter().chain(postgres).chain(kafka).chain(redis).collect()
}

fn settings(config: &Config) -> Finding {
    let retry = &config.publication.retry;
    if retry.backoff_cap_ms < retry.backoff_base_ms {
        let message = "BACKOFF_CAP_MS is below BACKOFF_BASE_MS, which then counts for both";
        return Finding::warn("settings", message, "Raise the cap, or lower the base.");
    }
    if config.enable_faults {
        let message = "ENABLE_FAULTS is on: whoever reaches HTTP can crash actors";
        return Finding::warn("settings", message, "Switch it off, unless this is a demonstration.");
    }
    Finding::ok("settings", "every setting can be read")
}

fn text(answer: &Answer) -> Table {
    let mut table = table(["check", "", "finding"]);
    for Finding { name, status, message, advice } in &answer.checks {
        let status = match status {
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        let advice = advice.as_ref().map(|advice| format!(". {advice}")).unwrap_or_default();
        table.add_row([*name, status, &format!("{message}{advice}")]);
    }
    table
}
