//! `orders check`: checks the environment, the servers, the schema and the topic.

#[cfg(feature = "kafka")]
mod dead_letters;
#[cfg(feature = "kafka")]
mod kafka;
mod postgres;
mod server;

use std::process::ExitCode;

use clap::{Args, Parser};
use kit::auth::AuthMode;
use kit::cli::check::{self, Finding};
use operations::check::{Words, retry, streams};

use super::OutputArgs;
use crate::config::{Config, Mq, Publication};

const WORDS: Words = Words { variables: "ORDERS_TOPIC", many: "orders" };

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let checks = match Config::try_parse_from(["orders"]) {
            Ok(config) => all(&config).await,
            Err(error) => vec![Finding::of_unread_settings(&error)],
        };
        check::write_report(&self.output, checks)
    }
}

async fn all(config: &Config) -> Vec<Finding> {
    let (addresses, redis) = (config.http.addresses(), config.publication.retry.redis.server());
    let (auth, postgres, mq, redis) = tokio::join!(
        check::auth(config.auth.chosen(&addresses), &addresses),
        postgres::check(&config.database),
        mq(&config.publication),
        retry::check(&redis),
    );
    let settings = [settings(config), auth].into_iter().chain(check::certificate(config.http.certificate()));
    settings.chain(postgres).chain(mq).chain(redis).collect()
}

/// Of the message queue in use.
async fn mq(settings: &Publication) -> Vec<Finding> {
    match settings.broker.mq {
        #[cfg(feature = "kafka")]
        Mq::Kafka => kafka::check(&settings.broker).await,
        Mq::Redis => streams::check(WORDS, &settings.broker.streams(&settings.retry.redis)).await,
    }
}

fn settings(config: &Config) -> Finding {
    let retry = &config.publication.retry;
    if retry.backoff_cap_ms < retry.backoff_base_ms {
        let message = "BACKOFF_CAP_MS is below BACKOFF_BASE_MS, which then counts for both";
        return Finding::warn("settings", message, "Raise the cap, or lower the base.");
    }
    if config.enable_faults {
        let who = if config.auth.auth == Some(AuthMode::Jwt) { "admins" } else { "whoever reaches HTTP" };
        let message = format!("ENABLE_FAULTS is on: {who} can crash actors");
        return Finding::warn("settings", message, "Switch it off, unless this is a demonstration.");
    }
    Finding::ok("settings", "every setting can be read")
}
