//! Whether a running service is ready, asked by its own binary: a health check for an image that has no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::tls::TlsInfo;
use serde_json::Value;
use tracing::warn;

use crate::tls::pem;

/// Longer than the service itself waits for its database.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks the service that listens on `address` at `/readyz`, and returns its answer. `certificate` is the file of the certificate that it
/// shows, if it is served by TLS, and the setting's name.
///
/// Whatever certificate it shows is taken: it is asked on this machine, nothing secret is sent, and the certificate is for the names by
/// which others reach it. That the file has another one is a warning alone: a renewal that cannot be used makes no service unready.
///
/// # Errors
/// When it is not ready, or does not answer within 3 s.
pub async fn ask(address: SocketAddr, certificate: Option<(&str, &Path)>) -> anyhow::Result<Value> {
    if address.port() == 0 {
        bail!("the address {address} names no port: tell the one that the service logged when it started");
    }
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/readyz", own(address));
    let client = crate::tls::http_client()
        .timeout(ANSWER_WITHIN)
        .tls_danger_accept_invalid_certs(true)
        .tls_info(true)
        .build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    if let Some((setting, file)) = certificate {
        let shown = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        compare(setting, file, shown);
    }
    let status = answer.status();
    let answer: Value = answer.json().await.with_context(|| format!("{url} answers no JSON"))?;
    if !status.is_success() {
        bail!("not ready: {answer}");
    }
    Ok(answer)
}

fn compare(setting: &str, file: &Path, shown: Option<&[u8]>) {
    let certificates = pem::read(file).and_then(|content| pem::certificates(file, &content));
    match certificates {
        Ok(certificates) if certificates.first().map(AsRef::as_ref) == shown => {}
        Ok(_) => warn!("The service shows another certificate than {setting}={} has", file.display()),
        Err(error) => warn!("The service's certificate cannot be compared: {setting}: {error:#}"),
    }
}

/// Where a service on this machine is reached that listens on `address`.
fn own(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_are_reached_by_loopback() {
        for (listening, reached) in
            [("0.0.0.0:3001", "127.0.0.1:3001"), ("[::]:3001", "[::1]:3001"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(own(listening.parse().unwrap()).to_string(), reached);
        }
    }
}
