//! `orders token`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use kit::auth::{Issued, JwtSettings, KeySource, Role, SOURCE_BYTES_MAX, issue};
use kit::files::read;
use serde::Serialize;
use uuid::Uuid;

use super::OutputArgs;
use crate::config::AuthSettings;

#[derive(Args)]
pub struct Token {
    /// What the caller may be: customer, operator or admin
    #[arg(long, value_parser = role)]
    role: Role,
    /// Who the caller is; for a customer a UUID. Default: a new one
    #[arg(long)]
    subject: Option<String>,
    /// How long the token is good for
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=24 * 365))]
    hours: u64,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Serialize)]
struct TokenReport {
    token: String,
    role: &'static str,
    subject: String,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let JwtSettings { keys, rules } = self.auth.jwt()?;
        let secret = match keys {
            KeySource::Secret(secret) => secret.as_bytes().to_vec(),
            KeySource::SecretFile(path) => read(&path, SOURCE_BYTES_MAX)?.trim_ascii_end().to_vec(),
            KeySource::JwksFile(_) | KeySource::JwksUrl(_) => {
                bail!(
                    "the keys are public ones: only their issuer makes tokens. Set ORDERS_AUTH_HS256_SECRET_FILE for development"
                )
            }
        };
        let subject = self.subject.unwrap_or_else(|| Uuid::new_v4().to_string());
        let lifetime = Duration::from_secs(self.hours * 3_600);
        let issued = Issued { subject: subject.clone(), role: self.role, lifetime };
        let token = issue(&issued, &rules, &secret)?;
        let report = TokenReport { token, role: self.role.name(), subject };
        self.output.write(&report, |report| report.token.clone())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn role(name: &str) -> Result<Role, String> {
    Role::of(name).ok_or_else(|| "must be customer, operator or admin".to_owned())
}
