//! `bonus check`: checks the environment, Postgres, the topics and the consumer group.

mod kafka;
mod postgres;

use std::process::ExitCode;

use clap::{Args, Parser};
use kit::cli::check::{self, Finding};

use super::OutputArgs;
use crate::config::Config;

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let checks = match Config::try_parse_from(["bonus"]) {
            Ok(config) => all(&config).await,
            Err(error) => vec![Finding::of_unread_settings(&error)],
        };
        check::write_report(&self.output, checks)
    }
}

async fn all(config: &Config) -> Vec<Finding> {
    let (postgres, kafka) = tokio::join!(postgres::check(&config.database), kafka::check(config));
    let settings = [Finding::ok("settings", "every setting can be read")];
    settings.into_iter().chain(postgres).chain(kafka).collect()
}
