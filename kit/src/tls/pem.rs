//! Certificates and keys from PEM files. What cannot be used is said with what to do.

use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::files;

/// More than all authorities of a system together.
const BYTES_MAX: usize = 4 * 1_048_576;

/// A certificate with those that lead to its authority, and the private key that belongs to it; also as they are in their files.
#[derive(Debug)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub chain_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
}

/// What is in a file with certificates or a key.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read(path, BYTES_MAX)
}

/// The certificates of authorities that a file has, checked: at least one. Returns the file's content.
pub fn authorities(path: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = read(path)?;
    trusted(path, &pem)?;
    Ok(pem)
}

/// The authorities in a file; without one, those that this machine trusts.
pub fn roots(path: Option<&Path>) -> anyhow::Result<RootCertStore> {
    if let Some(path) = path {
        return trusted(path, &read(path)?);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(roots)
}

fn trusted(path: &Path, content: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path, content)? {
        let added = store.add(certificate);
        added.with_context(|| format!("a certificate in {} cannot be used", path.display()))?;
    }
    Ok(store)
}

/// # Errors
/// When one of them cannot be used, or they do not belong together.
pub fn identity(certificate: &Path, key: &Path) -> anyhow::Result<Identity> {
    let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
    let (chain, private) = (certificates(certificate, &chain_pem)?, private_key(key, &key_pem)?);
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider) {
        Ok(_) => Ok(Identity { chain, key: private, chain_pem, key_pem }),
        Err(rustls::Error::InconsistentKeys(_)) => bail!(
            "the key in {} does not belong to the first certificate in {}: name two that were made together, with the own certificate before \
             those of authorities",
            key.display(),
            certificate.display()
        ),
        Err(error) => Err(anyhow!("the key in {} cannot be used: {error}", key.display())),
    }
}

/// The certificates in the content of a file, in its order: at least one.
pub fn certificates(path: &Path, content: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(content).collect();
    // Its text may show what is in the file: a key, if settings are exchanged.
    let Ok(found) = found else { bail!("{} is no PEM file", path.display()) };
    ensure!(!found.is_empty(), "{}", without("certificate", path, content));
    Ok(found)
}

/// The first private key in the content of a file, which needs no passphrase.
pub fn private_key(path: &Path, content: &[u8]) -> anyhow::Result<PrivateKeyDer<'static>> {
    // Under a heading of its own, or in a header below the usual one.
    if holds(content, b"ENCRYPTED") {
        bail!(
            "the key in {shown} has a passphrase, and nobody to ask for it: `openssl pkey -in {shown} -out NEW` makes one without",
            shown = path.display()
        );
    }
    match PrivateKeyDer::from_pem_slice(content) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) => bail!("{}", without("private key", path, content)),
        Err(_) => bail!("{} is no PEM file", path.display()),
    }
}

/// Why nothing was found.
fn without(what: &str, path: &Path, content: &[u8]) -> String {
    let shown = path.display();
    if content.is_empty() {
        return format!("{shown} is empty");
    }
    if holds(content, b"-----BEGIN ") {
        return format!("{shown} has no {what}, but something else: are two settings exchanged?");
    }
    let tool = if what == "certificate" { "x509" } else { "pkey" };
    format!(
        "{shown} is not in PEM, the format that begins with -----BEGIN. If it is DER: `openssl {tool} -inform DER -in {shown} -out NEW`"
    )
}

fn holds(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stack::certificates::{Authority, Identity, Validity};
    use tempfile::TempDir;

    use super::*;

    fn made() -> (TempDir, Authority, Identity) {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path()).unwrap();
        let client = authority.client("client", Validity::Valid).unwrap();
        (directory, authority, client)
    }

    fn refused<T>(result: anyhow::Result<T>) -> String {
        result.err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn what_belongs_together_is_taken() {
        let (_directory, authority, client) = made();
        assert!(authorities(authority.file()).unwrap().starts_with(b"-----BEGIN "));
        assert_eq!(roots(Some(authority.file())).unwrap().len(), 1);
        assert_eq!(identity(&client.certificate, &client.key).unwrap().chain.len(), 1);
    }

    #[test]
    fn what_people_get_wrong_is_told() {
        let (directory, authority, client) = made();
        let other = authority.client("other", Validity::Valid).unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let right = identity(&client.certificate, &client.key).unwrap();
        let der = file("certificate.der", &right.chain[0]);
        let der_key = file("key.der", right.key.secret_der());
        let locked = file(
            "locked.key",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let header = "Proc-Type: 4,ENCRYPTED";
        let old =
            format!("-----BEGIN RSA PRIVATE KEY-----\n{header}\n\nAAAA\n-----END RSA PRIVATE KEY-----\n");
        let old = file("old.key", old.as_bytes());
        let empty = file("empty", b"");
        let cut = file("cut.pem", &fs::read(&client.certificate).unwrap()[..200]);
        for (error, reason) in [
            (refused(identity(&client.certificate, &other.key)), "does not belong to the first certificate"),
            (refused(identity(&client.certificate, directory.path())), "is a directory"),
            (
                refused(identity(&client.certificate, &client.certificate)),
                "has no private key, but something else",
            ),
            (refused(identity(&client.key, &client.key)), "has no certificate, but something else"),
            (refused(identity(&der, &client.key)), "openssl x509 -inform DER"),
            (refused(identity(&client.certificate, &der_key)), "openssl pkey -inform DER"),
            (refused(identity(&client.certificate, &locked)), "has a passphrase"),
            (refused(identity(&client.certificate, &old)), "has a passphrase"),
            (refused(authorities(&empty)), "is empty"),
            (refused(authorities(&der)), "openssl x509 -inform DER"),
            (refused(authorities(&cut)), "is no PEM file"),
            (refused(authorities(&directory.path().join("none"))), "No such file"),
        ] {
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
