//! The roles of the services in Postgres: made by its superuser, and granted to by each service's own command.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::servers::{Postgres, ServiceSettings};

const ROLES: &str = include_str!("../../../ops/postgres/roles.sql");

/// The URL with another role, whose password is its name.
pub(crate) fn as_role(url: &str, role: &str) -> String {
    let (_, place) = url.split_once('@').unwrap_or_default();
    format!("postgresql://{role}:{role}@{place}")
}

/// Makes the roles, and the tables as their owners; nothing if all is there. Postgres is ready.
pub(crate) fn prepare(primary: &Postgres) -> Result<()> {
    primary.execute(&[ROLES])?;
    for (service, settings) in [("orders", ServiceSettings::orders()?), ("bonus", ServiceSettings::bonus()?)]
    {
        let (grant_to, read_only) = (format!("{service}_service"), format!("{service}_reading"));
        let output = Command::new(settings.program)
            .args(["migrate", "--grant-to", &grant_to, "--read-only", &read_only])
            .env("DATABASE_URL", as_role(&primary.url(), &format!("{service}_owner")))
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{service} migrate: {said}");
    }
    Ok(())
}
