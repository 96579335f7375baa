//! A certificate authority for one machine: what `make up SECURE=1` and the tests give to servers and clients, as PEM files. Nothing
//! outside this machine trusts it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// The file of an authority's certificate.
pub(crate) const AUTHORITY: &str = "authority.pem";
/// What every server of this machine is reached by.
pub const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Signs certificates. Its own certificate is in [`Self::file`].
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    file: PathBuf,
}

/// A certificate and its private key (PKCS 8).
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How long a certificate is, or was, good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From yesterday on, for a year.
    Valid,
    /// Over since yesterday.
    Expired,
}

impl Authority {
    /// A new one, its files in `directory`. Two of one name are still two: neither trusts what the other signs.
    pub fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority of this machine alone");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = Validity::Valid.period();
        let key = KeyPair::generate()?;
        let file = directory.join(AUTHORITY);
        write(&file, params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), directory: directory.to_owned(), file })
    }

    /// The certificate that whoever shall trust this authority needs.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// For a server that is reached by `hosts` (names or addresses). The files are called by `name`, and replaced if they are there: that is a
    /// renewal.
    pub fn server(&self, name: &str, hosts: &[&str], validity: Validity) -> Result<Identity> {
        self.issue(name, hosts, ExtendedKeyUsagePurpose::ServerAuth, validity)
    }

    /// For a client that is called `name`: Postgres and Kafka take it from the common name.
    pub fn client(&self, name: &str, validity: Validity) -> Result<Identity> {
        self.issue(name, &[], ExtendedKeyUsagePurpose::ClientAuth, validity)
    }

    fn issue(
        &self,
        name: &str,
        hosts: &[&str],
        usage: ExtendedKeyUsagePurpose,
        validity: Validity,
    ) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).context("a host's name is not one")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        (params.not_before, params.not_after) = validity.period();
        let key = KeyPair::generate()?;
        let certificate: Certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        };
        write(&identity.key, key.serialize_pem())?;
        write(&identity.certificate, certificate.pem())?;
        Ok(identity)
    }
}

impl Validity {
    fn period(self) -> (OffsetDateTime, OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        let day = Duration::DAY;
        match self {
            Self::Valid => (now - day, now + day * 365),
            Self::Expired => (now - day * 2, now - day),
        }
    }
}

/// For the owner alone: servers refuse a key that others may read. Replaced at once, so that no reader sees half of it.
pub(crate) fn write(file: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let new = file.with_extension("new");
    // One that is left from before may be open to others.
    let _ = fs::remove_file(&new);
    let mut draft = fs::OpenOptions::new();
    draft.write(true).create(true).truncate(true).mode(0o600);
    draft.open(&new)?.write_all(content.as_ref())?;
    fs::rename(&new, file).with_context(|| format!("{} cannot be written", file.display()))
}
