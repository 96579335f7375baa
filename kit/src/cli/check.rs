//! The command `check`: checks the environment, and the service's servers and data. One finding a line.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use super::output::{OutputArgs, table};
use crate::auth::{Choice, listed, load};
use crate::kafka::{Cluster, LinkError, LinkReport, TopicError};
use crate::tls::{self, CertificateFiles, Link, Protection};

/// How long the brokers may take.
const KAFKA_PATIENCE: Duration = Duration::from_secs(5);

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Works, or costs something only under further misfortune.
    Warn,
    Fail,
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How well it is.
    #[serde(rename = "status")]
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, message: message.into(), advice: None }
    }

    /// Works, and ought to be looked at.
    pub fn warn(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, message: message.into(), advice: Some(advice.into()) }
    }

    /// Does not work.
    pub fn fail(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, message: message.into(), advice: Some(advice.into()) }
    }

    /// The settings cannot be read.
    pub fn of_unread_settings(error: &clap::Error) -> Self {
        let text = error.to_string();
        let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Self::fail(
            "settings",
            cause,
            "Correct it in the environment; docs/configuration.md lists the settings.",
        )
    }
}

/// Who may ask a service that would listen at `address`, and whether its keys can be used now.
pub async fn auth(choice: anyhow::Result<Choice>, addresses: &[SocketAddr]) -> Finding {
    const NAME: &str = "auth";
    let off = format!("off: whoever reaches {} may do everything", listed(addresses));
    match choice {
        Err(error) => Finding::fail(NAME, format!("{error:#}"), "The service does not start until then."),
        Ok(Choice::Off) if addresses.iter().all(|address| address.ip().is_loopback()) => {
            Finding::ok(NAME, off)
        }
        Ok(Choice::Off) => Finding::warn(NAME, off, "Ask for tokens, unless nobody else can reach it."),
        Ok(Choice::Jwt(settings)) => match load(&settings.keys).await {
            Ok(keys) => {
                Finding::ok(NAME, format!("jwt: {} keys can be used, from {}", keys.count(), settings.keys))
            }
            Err(error) => {
                let message = format!("jwt: the keys at {} cannot be used: {error:#}", settings.keys);
                Finding::fail(NAME, message, "The service does not start without them.")
            }
        },
    }
}

/// The certificate that HTTP is served with; nothing without one.
pub fn certificate(files: anyhow::Result<Option<CertificateFiles>>) -> Option<Finding> {
    const NAME: &str = "tls";
    const DAY_SECONDS: i64 = 86_400;
    let days = match files.and_then(|files| files.map(|files| files.expires_at()).transpose()) {
        Ok(None) => return None,
        Ok(Some(expires_at)) => (expires_at - tls::now()).div_euclid(DAY_SECONDS),
        Err(error) => {
            return Some(Finding::fail(NAME, format!("{error:#}"), "The service does not start until then."));
        }
    };
    Some(match days {
        ..0 => Finding::warn(NAME, "the certificate of HTTP has expired", "Renew it: clients refuse it."),
        0..7 => Finding::warn(
            NAME,
            format!("the certificate of HTTP expires in {days} days"),
            "Renew it; the service takes it without a restart.",
        ),
        _ => Finding::ok(NAME, format!("the certificate of HTTP can be used for {days} days")),
    })
}

/// What the link to Kafka is like. `None` if nobody answers there: that is found by whoever asks for more.
pub async fn kafka_link(cluster: &Cluster, topic: &str) -> Option<Finding> {
    const NAME: &str = "kafka link";
    match cluster.link(topic, KAFKA_PATIENCE).await {
        Ok(LinkReport { description, is_exposed: false }) => Some(Finding::ok(NAME, description)),
        Ok(LinkReport { description, .. }) => {
            let setting = cluster.setting("SECURITY_PROTOCOL");
            let advice = format!("Set {setting}, unless nobody else is in that network.");
            Some(Finding::warn(NAME, description, advice))
        }
        Err(TopicError::Link(LinkError { broker, reason, advice })) => {
            Some(Finding::fail(NAME, format!("{broker}: {reason}"), format!("To do: {advice}.")))
        }
        Err(error @ TopicError::NotUnderstood { .. }) => Some(Finding::warn(
            NAME,
            error.to_string(),
            "The service works with it, but misses a topic made anew.",
        )),
        Err(_) => None,
    }
}

/// Whether what is sent to a server can be read or changed on the way.
pub fn link(name: &'static str, link: &Link) -> Finding {
    let message = format!("{}: {} ({})", link.place, link.state(), link.setting);
    match link.protection {
        _ if link.is_exposed() => Finding::warn(name, message, link.advice),
        Protection::Verified | Protection::Encrypted => Finding::ok(name, message),
        Protection::None => Finding::ok(name, format!("{message}, and does not leave this machine")),
    }
}

#[derive(Serialize)]
struct CheckReport {
    /// Whether nothing failed.
    ok: bool,
    checks: Vec<Finding>,
}

/// Writes the findings. The exit code says whether any is a failure.
pub fn write_report<L: Args>(output: &OutputArgs<L>, checks: Vec<Finding>) -> anyhow::Result<ExitCode> {
    let ok = checks.iter().all(|finding| finding.level != Level::Fail);
    output.write(&CheckReport { ok, checks }, text)?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &CheckReport) -> Table {
    let mut table = table(["check", "", "finding"]);
    for Finding { name, level, message, advice } in &report.checks {
        let level = match level {
            Level::Ok => "OK",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        let advice = advice.as_ref().map(|advice| format!(". {advice}")).unwrap_or_default();
        table.add_row([*name, level, &format!("{message}{advice}")]);
    }
    table
}
