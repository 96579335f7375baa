//! What every encrypted link of the services needs: files in PEM, what a refusal means, how far a link can be trusted.

mod cause;
mod fault;
mod link;
pub mod pem;
mod refusal;
mod served;

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use reqwest::{Certificate, Client, ClientBuilder, Url};

pub use self::fault::Fault;
pub use self::link::{Link, Protection};
pub use self::refusal::{Settings, refusal};
pub(crate) use self::served::now;
pub use self::served::{CertificateFiles, ServedCertificate, describe_expiry};

/// Makes ring the cryptography of rustls in this process. Before the first link is made; a second call changes nothing.
pub fn install_provider() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client of HTTP and HTTPS that goes by no proxy, whatever the environment says.
pub fn http_client() -> ClientBuilder {
    install_provider();
    Client::builder().no_proxy()
}

/// The authorities in a file that a setting names, for a client that trusts no others.
///
/// # Errors
/// When the file cannot be used.
pub fn authorities(setting: &str, path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let read = pem::read(path).and_then(|content| pem::certificates(path, &content));
    let certificates = read.with_context(|| setting.to_owned())?;
    let certificates: Result<Vec<_>, _> =
        certificates.iter().map(|certificate| Certificate::from_der(certificate)).collect();
    certificates.with_context(|| format!("{setting}={} cannot be used", path.display()))
}

/// Whether what is sent there stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    is_loopback_host(url.host_str().unwrap_or_default())
}

/// The same of a host alone: a name, or an address, of IPv6 with or without brackets.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error and its causes, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut at) = (error.to_string(), error.source());
    while let Some(cause) = at {
        text = format!("{text}: {cause}");
        at = cause.source();
    }
    text
}
