//! A login: who this service is, how it says so, and the password.

use anyhow::{Context, bail};

use super::protocol::SaslMechanism;
use crate::auth::Secret;
use crate::files::PasswordFile;

#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) mechanism: SaslMechanism,
    pub(super) user: String,
    password: Password,
}

#[derive(Debug, Clone)]
enum Password {
    Given(Secret),
    File(PasswordFile),
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
        password_file: Option<PasswordFile>,
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
            Password::Given(secret) => String::from_utf8(secret.as_bytes().to_vec()).ok(),
            Password::File(file) => Some(file.read().with_context(|| format!("{prefix}_PASSWORD_FILE"))?),
        };
        let password = password
            .filter(|password| !password.is_empty() && !password.contains('\0'))
            .with_context(|| format!("{prefix}_PASSWORD(_FILE) has no password"))?;
        Ok(Credentials { mechanism: *mechanism, user: user.clone(), password })
    }
}
