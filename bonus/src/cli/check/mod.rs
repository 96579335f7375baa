//! `bonus check`: would the service do well with this environment, and does it?

mod kafka;
mod postgres;

use anyhow::bail;
use clap::{Args, Parser};
use comfy_table::Table;
use serde::Serialize;

use super::output::{Output, counted, table};
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
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let checks = match Config::try_parse_from(["bonus"]) {
            Ok(config) => all(&config).await,
            Err(error) => {
                let text = error.to_string();
                let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                let advice = "Mend it in the environment; README.md lists the settings.";
                vec![Finding::fail("settings", cause, advice)]
            }
        };
        let failed = checks.iter().filter(|finding| finding.status == Status::Fail).count();
        self.output.answer(&Answer { ok: failed == 0, checks }, text)?;
        if failed > 0 {
            bail!("{} failed", counted(failed, "check"));
        }
        Ok(())
    }
}

async fn all(config: &Config) -> Vec<Finding> {
    let (postgres, kafka) = tokio::join!(postgres::check(&config.database), kafka::check(config));
    let settings = [Finding::ok("settings", "every setting can be read")];
    settings.into_iter().chain(postgres).chain(kafka).collect()
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
