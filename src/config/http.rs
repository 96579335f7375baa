//! Settings of the HTTP interface.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kit::settings::{bounded, or_cores};
use kit::tls::CertificateFiles;

// A doc comment here would end up in the help of whatever takes the group.
#[derive(Debug, Clone, Args)]
pub struct Http {
    /// Where HTTP is served; port 0 takes a free one.
    #[arg(long = "http-addr", env = "ORDERS_HTTP_ADDR", default_value = "127.0.0.1:3001")]
    pub addr: SocketAddr,

    /// Where operators are served, apart from everybody else: metrics, actors, outbox, quarantine, the control room and Swagger UI are
    /// then served there alone. Unset: everything is served at the one address.
    #[arg(long = "admin-addr", env = "ORDERS_ADMIN_ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// The certificate for TLS in PEM, and then those that lead to its authority. With it every address is served by TLS and none without.
    /// Taken anew when the file changes.
    #[arg(long = "tls-cert-file", env = "ORDERS_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// The key of the certificate, in PEM.
    #[arg(long = "tls-key-file", env = "ORDERS_TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Threads that serve HTTP; 0 takes one a core.
    #[arg(long = "http-workers", env = "ORDERS_HTTP_WORKERS", default_value_t = 0, value_parser = bounded(0, 256))]
    workers: usize,

    /// Most connections of clients at a time; more wait until one ends. Fewer if the limit of open files leaves no room: each takes
    /// two, and those of the service's own connections are kept.
    #[arg(long = "http-connections-max", env = "ORDERS_HTTP_CONNECTIONS_MAX", default_value_t = 2_048, value_parser = bounded(16, 1_000_000))]
    pub connections_max: usize,

    /// Seconds a client may take for a request's head, for its body, and without taking anything of an answer. A slower one is
    /// answered 408 or cut off.
    #[arg(long = "http-client-timeout-seconds", env = "ORDERS_HTTP_CLIENT_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    client_timeout_seconds: u64,

    /// Seconds a connection stays open between an answer and the next request.
    #[arg(long = "http-keep-alive-seconds", env = "ORDERS_HTTP_KEEP_ALIVE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    keep_alive_seconds: u64,

    /// Largest request body in bytes; a larger one is answered 413.
    #[arg(long, env = "ORDERS_BODY_BYTES_MAX", default_value_t = 65_536, value_parser = bounded(1_024, 16_777_216))]
    pub body_bytes_max: usize,

    /// Names under which browsers may ask, separated by commas, besides `localhost` and addresses. Without any, a service on a
    /// loopback address is asked under those alone, and another one under every name.
    #[arg(long = "http-hosts", env = "ORDERS_HTTP_HOSTS", default_value = "")]
    pub hosts: String,
}

impl Http {
    /// Where the certificate is, if HTTP is served by TLS.
    pub fn certificate(&self) -> anyhow::Result<Option<CertificateFiles>> {
        CertificateFiles::of("ORDERS", self.tls_cert_file.as_ref(), self.tls_key_file.as_ref())
    }

    /// Every address that is listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        [self.addr].into_iter().chain(self.admin_addr).collect()
    }

    pub fn workers(&self) -> usize {
        or_cores(self.workers)
    }

    pub fn client_timeout(&self) -> Duration {
        Duration::from_secs(self.client_timeout_seconds)
    }

    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_seconds)
    }
}
