//! Loads keys from where they are.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use tokio::task::spawn_blocking;

use super::choice::{JwksUrl, KeySource};
use super::keys::Keys;
use crate::tls::{Fault, authorities, http_client};

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a file or an answer with keys, hundreds of them, and of a file with a secret.
pub const SOURCE_BYTES_MAX: usize = 262_144;

/// # Errors
/// When they cannot be had, or none of them can be used.
pub async fn load(source: &KeySource) -> anyhow::Result<Keys> {
    Ok(match source {
        KeySource::JwksFile(path) => Keys::of_jwks(&read(path).await?)?,
        KeySource::JwksUrl(source) => Keys::of_jwks(&fetch(source).await?)?,
        KeySource::Secret(secret) => Keys::of_secret(secret.as_bytes())?,
        KeySource::SecretFile(path) => Keys::of_secret(read(path).await?.trim_ascii_end())?,
    })
}

async fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let path = path.to_owned();
    spawn_blocking(move || {
        // A pipe may never answer, and tokens with new keys wait for this.
        ensure!(std::fs::metadata(&path)?.is_file(), "it is no regular file");
        let mut content = Vec::new();
        File::open(path)?.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
        ensure!(content.len() <= SOURCE_BYTES_MAX, "it has more than {SOURCE_BYTES_MAX} bytes");
        Ok(content)
    })
    .await?
}

async fn fetch(source: &JwksUrl) -> anyhow::Result<Vec<u8>> {
    let redirects = reqwest::redirect::Policy::none();
    let mut client = http_client().timeout(FETCH_TIMEOUT).redirect(redirects);
    // Read each time: an authority may be renewed too.
    if let Some(file) = source.ca_file.clone() {
        let setting = source.ca_setting.clone();
        client = client.tls_certs_only(spawn_blocking(move || authorities(&setting, &file)).await??);
    }
    let sent = client.build()?.get(source.url.clone()).send().await;
    let mut answer = sent.map_err(|error| explained(error, &source.ca_setting))?.error_for_status()?;
    ensure!(answer.status().is_success(), "it answers {}", answer.status());
    let mut content = Vec::new();
    while let Some(part) = answer.chunk().await? {
        ensure!(content.len() + part.len() <= SOURCE_BYTES_MAX, "it has more than {SOURCE_BYTES_MAX} bytes");
        content.extend_from_slice(&part);
    }
    Ok(content)
}

fn explained(error: reqwest::Error, ca_setting: &str) -> anyhow::Error {
    match Fault::of(&error) {
        Some(fault @ Fault::UnknownAuthority) => anyhow!("{fault}: name its authority in {ca_setting}"),
        Some(fault) => anyhow!("{fault}"),
        None => error.into(),
    }
}
