//! TLS by itself, for tests: a front for a server that speaks none, and a connection byte by byte.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates::{Authority, Identity};

/// Ends TLS before a server that speaks none. Ends with this value.
pub struct Front {
    port: u16,
    accepting: AbortHandle,
}

impl Front {
    /// With `clients`, only clients whose certificate that authority has signed.
    pub async fn start(identity: &Identity, clients: Option<&Authority>, to: SocketAddr) -> Result<Self> {
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let roots = Arc::new(trusted(authority.file())?);
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots, provider).build()?,
                )
            }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.certificate)?.collect();
        let config = builder.with_single_cert(chain?, PrivateKeyDer::from_pem_file(&identity.key)?)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut encrypted = acceptor.accept(stream).await?;
                    let mut plain = TcpStream::connect(to).await?;
                    copy_bidirectional(&mut encrypted, &mut plain).await
                });
            }
        });
        Ok(Self { port, accepting: accepting.abort_handle() })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn trusted(authority: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// Trusts one authority, and offers the protocol if there is one.
pub(crate) fn connector(authority: &Path, protocol: Option<&str>) -> Result<TlsConnector> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(trusted(authority)?);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocol.into_iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Of a client.
pub type Connection = TlsStream<TcpStream>;

/// A connection to `localhost` that trusts one authority. Without ALPN, so for HTTP/1.1.
pub async fn connect(authority: &Path, port: u16) -> Result<Connection> {
    connect_by(authority, port, None).await
}

/// With the name of a protocol that the server has to agree upon, such as `h2`.
pub async fn connect_by(authority: &Path, port: u16, protocol: Option<&str>) -> Result<Connection> {
    let connector = connector(authority, protocol)?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let connected = connector.connect(ServerName::try_from("localhost")?, stream).await;
    connected.with_context(|| format!("no TLS with port {port}"))
}

/// The certificate that the other side has shown.
pub fn shown(connection: &Connection) -> Option<CertificateDer<'static>> {
    let (_, session) = connection.get_ref();
    session.peer_certificates()?.first().cloned()
}
