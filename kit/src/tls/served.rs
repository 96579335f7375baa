//! The certificate that a service shows to its clients, taken anew when its files change.
//!
//! | the files | what happens |
//! |---|---|
//! | cannot be used at the start | the start ends, and says why |
//! | change, and can be used | new connections get the new certificate, those that there are go on |
//! | change, and cannot be used | the former certificate stays, and a warning says why, once |
//! | have a certificate that has expired | it is shown all the same, with a warning: clients decide |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use metrics::{describe_gauge, gauge};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tracing::{info, warn};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::pem;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// What the names of the settings begin with, such as `ORDERS`.
    pub prefix: &'static str,
    /// The service's certificate, and then those that lead to the authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What was in the files.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

struct Loaded {
    certified: CertifiedKey,
    /// When the first certificate of the chain expires, in seconds since 1970.
    expires_at: i64,
}

#[derive(Debug)]
pub struct ServedCertificate {
    files: CertificateFiles,
    certified: ArcSwap<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl CertificateFiles {
    /// Of settings that are given together or not at all.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn of(
        prefix: &'static str,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> anyhow::Result<Option<Self>> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { prefix, certificate: certificate.clone(), key: key.clone() }))
            }
            (Some(_), None) => Err(anyhow!("{prefix}_TLS_CERT_FILE needs {prefix}_TLS_KEY_FILE")),
            (None, Some(_)) => Err(anyhow!("{prefix}_TLS_KEY_FILE needs {prefix}_TLS_CERT_FILE")),
        }
    }

    /// When the certificate expires, in seconds since 1970.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub fn expires_at(&self) -> anyhow::Result<i64> {
        Ok(self.load(&self.read()?, &rustls::crypto::ring::default_provider())?.expires_at)
    }

    fn settings(&self) -> (String, String) {
        (format!("{}_TLS_CERT_FILE", self.prefix), format!("{}_TLS_KEY_FILE", self.prefix))
    }

    fn read(&self) -> anyhow::Result<Contents> {
        let (certificate, key) = self.settings();
        Ok(Contents {
            certificate: pem::read(&self.certificate).context(certificate)?,
            key: pem::read(&self.key).context(key)?,
        })
    }

    fn load(&self, contents: &Contents, provider: &CryptoProvider) -> anyhow::Result<Loaded> {
        let (setting, key_setting) = self.settings();
        let chain =
            pem::certificates(&self.certificate, &contents.certificate).with_context(|| setting.clone())?;
        let key = pem::private_key(&self.key, &contents.key).with_context(|| key_setting.clone())?;
        let ends = chain.iter().map(|certificate| {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        let expires_at = ends.min().flatten().with_context(|| {
            format!("{setting}={} has a certificate that cannot be read", self.certificate.display())
        })?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow!(
                "{setting}={} and {key_setting}={} do not belong together: the key is another certificate's",
                self.certificate.display(),
                self.key.display()
            ),
            other => anyhow!(other).context(format!("{key_setting}={} cannot be used", self.key.display())),
        })?;
        Ok(Loaded { certified, expires_at })
    }

    fn tell(&self, expires_at: i64) {
        gauge!(expiry_metric(self.prefix)).set(seconds(expires_at));
        if expires_at <= now() {
            let certificate = self.certificate.display();
            warn!(%certificate, "The certificate that clients are shown has expired: they will refuse it");
        }
    }
}

/// Its name, for a service whose settings begin with `prefix`.
fn expiry_metric(prefix: &str) -> String {
    format!("{}_http_certificate_expiry_timestamp_seconds", prefix.to_lowercase())
}

/// Describes the metric. It is 0 while there is no certificate.
pub fn describe_expiry(prefix: &str) {
    describe_gauge!(
        expiry_metric(prefix),
        "When the certificate that clients are shown expires, in seconds since 1970; 0 without TLS"
    );
    gauge!(expiry_metric(prefix)).set(0.0);
}

#[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
fn seconds(timestamp: i64) -> f64 {
    timestamp as f64
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl ServedCertificate {
    /// Loads it, and takes it anew as long as the runtime runs.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub async fn start(files: CertificateFiles) -> anyhow::Result<Arc<Self>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let contents = read(&files).await?;
        let Loaded { certified, expires_at } = files.load(&contents, &provider)?;
        info!(certificate = %files.certificate.display(), expires_at, "HTTP is served by TLS");
        files.tell(expires_at);
        let served = Arc::new(Self { files, certified: ArcSwap::from_pointee(certified), provider });
        tokio::spawn(Arc::clone(&served).keep_fresh(contents));
        Ok(served)
    }

    /// TLS 1.2 and 1.3, without certificates of clients.
    ///
    /// # Errors
    /// When this build has no such cryptography.
    pub fn server_config(self: &Arc<Self>) -> anyhow::Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>))
    }

    async fn keep_fresh(self: Arc<Self>, mut served: Contents) {
        let mut failures = 0_u64;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let renewed = match read(&self.files).await {
                Ok(contents) if contents == served => {
                    failures = 0;
                    continue;
                }
                Ok(contents) => self.files.load(&contents, &self.provider).map(|loaded| (contents, loaded)),
                Err(error) => Err(error),
            };
            match renewed {
                Ok((contents, Loaded { certified, expires_at })) => {
                    self.certified.store(Arc::new(certified));
                    info!(certificate = %self.files.certificate.display(), expires_at, "The certificate is renewed");
                    self.files.tell(expires_at);
                    (served, failures) = (contents, 0);
                }
                Err(error) => {
                    failures += 1;
                    // The first time one of the two files may have been replaced, and the other one not yet.
                    if failures == 2 {
                        warn!("The renewed certificate cannot be used; the former one stays: {error:#}");
                    }
                }
            }
        }
    }
}

async fn read(files: &CertificateFiles) -> anyhow::Result<Contents> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.read()).await?
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}
