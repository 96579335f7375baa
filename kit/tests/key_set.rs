//! A key set that is fetched by https, from servers that have TLS in every right and wrong way.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::SocketAddr;
use std::path::Path;

use kit::auth::{JwksUrl, KeySource, Keys, load};
use stack::access::Issuer;
use stack::certificates::{Authority, Validity};
use stack::tls::Front;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every request with the key set, without TLS.
async fn serve(issuer: &Issuer) -> SocketAddr {
    let keys = issuer.jwks().unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", keys.len());
            let _ = stream.write_all(format!("{head}{keys}").as_bytes()).await;
        }
    });
    address
}

async fn fetched(host: &str, port: u16, ca_file: Option<&Path>) -> Result<Keys, String> {
    let source = KeySource::JwksUrl(JwksUrl {
        url: format!("https://{host}:{port}/jwks").parse().unwrap(),
        ca_file: ca_file.map(Path::to_owned),
        ca_setting: "X_AUTH_JWKS_CA_FILE".to_owned(),
    });
    load(&source).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn keys_are_fetched_by_https_and_a_refusal_says_why() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(&directory.path().join("ours")).unwrap();
    let stranger = Authority::new(&directory.path().join("strangers")).unwrap();
    let plain = serve(&Issuer::of_ed25519().unwrap()).await;
    let identity = |of: &Authority, validity| of.server("issuer", &["localhost"], validity).unwrap();
    let good = Front::start(&identity(&authority, Validity::Valid), None, plain).await.unwrap();
    let unknown = Front::start(&identity(&stranger, Validity::Valid), None, plain).await.unwrap();
    let expired = Front::start(&identity(&authority, Validity::Expired), None, plain).await.unwrap();

    let ours = Some(authority.file());
    assert_eq!(fetched("localhost", good.port(), ours).await.unwrap().count(), 1);
    let nowhere = directory.path().join("nowhere.pem");
    for (host, port, ca_file, says) in [
        (
            "localhost",
            unknown.port(),
            ours,
            "an authority that is not trusted: name its authority in X_AUTH_JWKS_CA_FILE",
        ),
        // None of the system's.
        (
            "localhost",
            good.port(),
            None,
            "an authority that is not trusted: name its authority in X_AUTH_JWKS_CA_FILE",
        ),
        ("localhost", expired.port(), ours, "its certificate has expired"),
        ("127.0.0.1", good.port(), ours, "its certificate is for another host's name"),
        ("localhost", plain.port(), ours, "what answers there speaks no TLS"),
        ("localhost", good.port(), Some(nowhere.as_path()), "X_AUTH_JWKS_CA_FILE: "),
    ] {
        let refusal = fetched(host, port, ca_file).await.err().unwrap_or_default();
        assert!(refusal.contains(says), "{host}:{port} {ca_file:?}: {refusal:?}");
    }
}
