//! Loads keys from where they are.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use reqwest::{Client, Url};

use super::choice::KeySource;
use super::keys::Keys;

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Hundreds of keys.
pub(super) const SOURCE_BYTES_MAX: usize = 262_144;

pub(super) async fn load(source: &KeySource) -> anyhow::Result<Keys> {
    Ok(match source {
        KeySource::JwksFile(path) => Keys::of_jwks(&read(path).await?)?,
        KeySource::JwksUrl(url) => Keys::of_jwks(&fetch(url).await?)?,
        KeySource::Secret(secret) => Keys::of_secret(secret.as_bytes())?,
        KeySource::SecretFile(path) => Keys::of_secret(read(path).await?.trim_ascii_end())?,
    })
}

async fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let path = path.to_owned();
    let content = tokio::task::spawn_blocking(move || std::fs::read(path)).await??;
    ensure!(content.len() <= SOURCE_BYTES_MAX, "it has more than {SOURCE_BYTES_MAX} bytes");
    Ok(content)
}

async fn fetch(url: &Url) -> anyhow::Result<Vec<u8>> {
    let redirects = reqwest::redirect::Policy::none();
    let client = Client::builder().no_proxy().timeout(FETCH_TIMEOUT).redirect(redirects).build()?;
    let mut answer = client.get(url.clone()).send().await?.error_for_status()?;
    ensure!(answer.status().is_success(), "it answers {}", answer.status());
    let mut content = Vec::new();
    while let Some(part) = answer.chunk().await? {
        ensure!(content.len() + part.len() <= SOURCE_BYTES_MAX, "it has more than {SOURCE_BYTES_MAX} bytes");
        content.extend_from_slice(&part);
    }
    Ok(content)
}
