//! Whether a running service is ready, asked by its own binary: a health check for an image that has no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// Longer than the service itself waits for its database.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks the service that listens on `address` at `/readyz`, and returns its answer.
///
/// # Errors
/// When it is not ready, or does not answer within 3 s.
pub async fn ask(address: SocketAddr) -> anyhow::Result<Value> {
    if address.port() == 0 {
        bail!("the address {address} names no port: tell the one that the service logged when it started");
    }
    let url = format!("http://{}/readyz", own(address));
    let client = crate::tls::http_client().timeout(ANSWER_WITHIN).build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let answer: Value = answer.json().await.with_context(|| format!("{url} answers no JSON"))?;
    if !status.is_success() {
        bail!("not ready: {answer}");
    }
    Ok(answer)
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
