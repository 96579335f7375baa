//! A login: who this service is, how it says so, and the password.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::pem;
use super::protocol::SaslMechanism;
use crate::auth::Secret;

#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) mechanism: SaslMechanism,
    pub(super) user: String,
    password: Password,
}

#[derive(Debug, Clone)]
enum Password {
    Given(Secret),
    File(PathBuf),
}

/// What one login takes.
pub(super) struct Credentials {
    pub(super) mechanism: SaslMechanism,
    pub(super) user: String,
    pub(super) password: String,
}

impl Login {
    pub(super) fn of(
        mechanism: Option<SaslMechanism>,
        user: Option<String>,
        password: Option<Secret>,
        password_file: Option<PathBuf>,
        prefix: &str,
    ) -> anyhow::Result<Self> {
        let missing = |setting: &str| {
            format!("{prefix}_SECURITY_PROTOCOL has a login, and {prefix}_{setting} is missing")
        };
        let mechanism = mechanism.with_context(|| missing("SASL_MECHANISM"))?;
        let user = user.with_context(|| missing("USER"))?;
        let password = match (password, password_file) {
            (Some(secret), None) => Password::Given(secret),
            (None, Some(file)) => Password::File(file),
            (None, None) => bail!(missing("PASSWORD_FILE")),
            (Some(_), Some(_)) => {
                bail!("{prefix}_PASSWORD and {prefix}_PASSWORD_FILE are both set: unset one")
            }
        };
        Ok(Self { mechanism, user, password })
    }

    /// Reads the password's file.
    pub(super) fn credentials(&self, prefix: &str) -> anyhow::Result<Credentials> {
        let Self { mechanism, user, password } = self;
        let password = match password {
            Password::Given(secret) => secret.as_bytes().to_vec(),
            Password::File(file) => {
                let read = pem::read(file).with_context(|| format!("{prefix}_PASSWORD_FILE"))?;
                without_line_break(&read).to_vec()
            }
        };
        let password = String::from_utf8(password)
            .ok()
            .filter(|password| !password.is_empty() && !password.contains('\0'))
            .with_context(|| format!("{prefix}_PASSWORD(_FILE) has no password"))?;
        Ok(Credentials { mechanism: *mechanism, user: user.clone(), password })
    }
}

fn without_line_break(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
