//! Certificates and keys from PEM files. Errors name the setting and the file, and show nothing of what is in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// More than all authorities of a system together.
const BYTES_MAX: u64 = 4 * 1_024 * 1_024;

/// What is in a file that a setting names.
///
/// # Errors
/// When it cannot be read.
pub fn read(setting: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let content = || {
        // A pipe may never end.
        ensure!(std::fs::metadata(path)?.is_file(), "it is no regular file");
        let mut content = Vec::new();
        File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut content)?;
        ensure!(content.len() as u64 <= BYTES_MAX, "it has more than {BYTES_MAX} bytes");
        Ok(content)
    };
    content().with_context(|| format!("{setting}={} cannot be read", path.display()))
}

/// The certificates in the content of a file, in its order.
///
/// # Errors
/// When there is none, or something that is none.
pub fn certificates(
    setting: &str,
    path: &Path,
    content: &[u8],
) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let what = || format!("{setting}={}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let found = found.with_context(|| format!("{} is no PEM", what()))?;
    ensure!(!found.is_empty(), "{} has no certificate in PEM (BEGIN CERTIFICATE)", what());
    Ok(found)
}

/// The first private key in the content of a file.
///
/// # Errors
/// When there is none that is not encrypted.
pub fn private_key(setting: &str, path: &Path, content: &[u8]) -> anyhow::Result<PrivateKeyDer<'static>> {
    // The library's error may quote the line that it cannot read.
    PrivateKeyDer::from_pem_slice(content).ok().with_context(|| {
        format!(
            "{setting}={} has no private key in PEM without a password (BEGIN PRIVATE KEY)",
            path.display()
        )
    })
}
