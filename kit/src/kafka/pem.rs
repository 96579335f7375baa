//! Certificates and keys, from PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// More than any chain, and than the list of authorities that the public trusts.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file that cannot be used. Nothing of what is in it is told.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub(super) struct PemError {
    file: PathBuf,
    reason: String,
}

impl PemError {
    fn of(file: &Path, reason: impl ToString) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// The bytes of a small file; of nothing that could be read for ever.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    let about = fs::metadata(file).map_err(|error| PemError::of(file, error))?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(PemError::of(file, format!("not a file of at most {FILE_BYTES_MAX} bytes")));
    }
    fs::read(file).map_err(|error| PemError::of(file, error))
}

/// One certificate at least. Of a chain the holder's own comes first.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(PemError::of(file, "no certificate is in it (PEM)")),
        Ok(found) => Ok(found),
        Err(error) => Err(PemError::of(file, format!("not PEM: {error}"))),
    }
}

/// Without a password.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(&read(file)?)
        .map_err(|_| PemError::of(file, "no private key without a password is in it (PEM)"))
}

/// The authorities in a file; without one, those that this machine trusts.
pub(super) fn authorities(file: Option<&Path>) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| PemError::of(file, error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_told_with_its_file_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("some.pem");
        let said = |error: PemError| error.to_string();
        assert!(said(certificates(&file).unwrap_err()).contains("some.pem: No such file"));
        fs::write(&file, "secret").unwrap();
        assert!(said(certificates(&file).unwrap_err()).ends_with("no certificate is in it (PEM)"));
        let no_key = said(private_key(&file).unwrap_err());
        assert!(no_key.contains("no private key") && !no_key.contains("secret"), "{no_key}");
        assert!(said(read(directory.path()).unwrap_err()).contains("not a file"));
        let authority = stack::certificates::Authority::new(directory.path()).unwrap();
        assert_eq!(authorities(Some(authority.file())).unwrap().len(), 1);
        let client = authority.client("kim", stack::certificates::Validity::Valid).unwrap();
        assert!(private_key(&client.key).is_ok() && certificates(&client.certificate).is_ok());
    }
}
