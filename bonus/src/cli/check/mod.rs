//! `bonus check`: checks the environment, Postgres, the topics, the consumer group, and what the outbox needs.

#[cfg(feature = "kafka")]
mod kafka;
mod outbox;
mod postgres;
mod redis;

use std::process::ExitCode;

use clap::{Args, Parser};
use kit::cli::check::{self, Finding};

use super::OutputArgs;
use crate::config::{Config, Mq};

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
    let mq = async {
        match config.topics.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => kafka::check(config).await,
            Mq::Redis => redis::check(config).await,
        }
    };
    let addresses = config.http.addresses();
    let auth = check::auth(config.auth.chosen(&addresses), &addresses);
    let (auth, postgres, mq, outbox) =
        tokio::join!(auth, postgres::check(&config.database), mq, outbox::check(config));
    let settings = [Finding::ok("settings", "every setting can be read"), auth];
    let settings = settings.into_iter().chain(check::certificate(config.http.certificate()));
    settings.chain(postgres).chain(mq).chain(outbox).collect()
}
