//! Of a server that takes encrypted connections alone: its files, its settings, and what its URL says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reqwest::Url;

use super::APP;
use super::site::Site;

const CERTIFICATE: &str = "tls-server.pem";
const KEY: &str = "tls-server.key";
const AUTHORITY: &str = "tls-authority.pem";
const RULES: &str = "tls-hba.conf";

/// How a client checks the server that it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// Its authority, its dates and its name.
    Full,
    /// Not at all.
    None,
}

impl Site {
    /// With all that a client needs. What is special in paths is escaped: the last `/` is the one before the database.
    pub(super) fn url(&self, database: &str, verification: Verification) -> String {
        let url = format!("postgresql://{APP}:{APP}@127.0.0.1:{}/{database}", self.port.number());
        let (Some(encryption), Ok(mut parsed)) = (&self.encryption, Url::parse(&url)) else { return url };
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let mut query = parsed.query_pairs_mut();
        match verification {
            Verification::Full => query
                .append_pair("sslmode", "verify-full")
                .append_pair("sslrootcert", &shown(&encryption.authority)),
            Verification::None => query.append_pair("sslmode", "require"),
        };
        if let Some(client) = &encryption.client {
            query
                .append_pair("sslcert", &shown(&client.certificate))
                .append_pair("sslkey", &shown(&client.key));
        }
        drop(query);
        parsed.into()
    }

    /// Copies them to where the server's user may read them, and nobody else its key.
    pub(super) fn take_certificates(&self) -> Result<()> {
        let Some(encryption) = &self.encryption else { return Ok(()) };
        let read = |path: &PathBuf| {
            fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let shown = if encryption.client.is_some() { " clientcert=verify-ca" } else { "" };
        for (name, content) in [
            (CERTIFICATE, read(&encryption.server.certificate)?),
            (KEY, read(&encryption.server.key)?),
            (AUTHORITY, read(&encryption.authority)?),
            (RULES, format!("hostssl all,replication all all scram-sha-256{shown}\n")),
        ] {
            self.hand_over(&self.data.join(name), &content)?;
        }
        Ok(())
    }

    /// The authority's certificate, beside the data, where the server's user may read it before there are any.
    pub(super) fn trust(&self) -> Result<Option<PathBuf>> {
        let Some(encryption) = &self.encryption else { return Ok(None) };
        let file = self.data.with_extension("authority.pem");
        self.hand_over(&file, &fs::read_to_string(&encryption.authority)?)?;
        Ok(Some(file))
    }

    /// Writes what the server's user may read, and nobody else.
    fn hand_over(&self, file: &Path, content: &str) -> Result<()> {
        fs::write(file, content)?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = self.user {
            chown(file, Some(user), Some(group))?;
        }
        Ok(())
    }

    pub(super) fn encryption_settings(&self) -> Vec<String> {
        if self.encryption.is_none() {
            return Vec::new();
        }
        let file = |setting: &str, name: &str| format!("{setting}={}", self.data.join(name).display());
        vec![
            "ssl=on".to_owned(),
            file("ssl_cert_file", CERTIFICATE),
            file("ssl_key_file", KEY),
            file("ssl_ca_file", AUTHORITY),
            file("hba_file", RULES),
        ]
    }
}
