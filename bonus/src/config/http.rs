//! Settings of the HTTP interface.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use kit::tls::CertificateFiles;

// A doc comment here would end up in the help of whatever takes the group.
#[derive(Debug, Clone, Args)]
pub struct Http {
    /// Address and port that the HTTP interface listens on. Port 0 takes a free one and logs it.
    #[arg(long = "http-addr", env = "BONUS_HTTP_ADDR", default_value = "127.0.0.1:3003")]
    pub addr: SocketAddr,

    /// Where operators are served, apart from everybody else: metrics, actors and Swagger UI are then served there alone. Unset:
    /// everything is served at the one address.
    #[arg(long, env = "BONUS_ADMIN_ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// The certificate for TLS in PEM, and then those that lead to its authority. With it every address is served by TLS and none without.
    /// Taken anew when the file changes.
    #[arg(long, env = "BONUS_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// The key of the certificate, in PEM.
    #[arg(long, env = "BONUS_TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Names under which browsers may ask, separated by commas, besides `localhost` and addresses. Without any, a service on a
    /// loopback address is asked under those alone, and another one under every name.
    #[arg(long = "http-hosts", env = "BONUS_HTTP_HOSTS", default_value = "")]
    pub hosts: String,
}

impl Http {
    /// Where the certificate is, if HTTP is served by TLS.
    pub fn certificate(&self) -> anyhow::Result<Option<CertificateFiles>> {
        CertificateFiles::of("BONUS", self.tls_cert_file.as_ref(), self.tls_key_file.as_ref())
    }

    /// Every address that is listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        [self.addr].into_iter().chain(self.admin_addr).collect()
    }
}
