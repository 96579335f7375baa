//! A connection of ours to one broker, beside librdkafka's, by the same settings.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::handshake::TlsFailure;
use super::link::LinkFailure;
use super::sasl::{self, LoginError};
use super::scram::SaltedPassword;
use super::security::Security;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) struct Connection {
    pub(super) stream: Box<dyn Stream>,
    pub(super) tls_version: Option<&'static str>,
}

#[derive(Debug)]
pub(super) enum ConnectError {
    Io(io::Error),
    Link(LinkFailure),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LoginError> for ConnectError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Io(error) => Self::Io(error),
            LoginError::Refused(failure) => Self::Link(failure),
        }
    }
}

/// What is kept from connection to connection, until one fails: by then files may have been replaced.
#[derive(Default, Clone)]
pub(super) struct Remembered {
    tls: Option<Arc<ClientConfig>>,
    salted: Option<SaltedPassword>,
}

/// Connects, and logs in if there is a login.
pub(super) async fn connect(
    broker: &str,
    client_id: &str,
    security: &Security,
    remembered: &mut Remembered,
) -> Result<Connection, ConnectError> {
    let unusable = |error: anyhow::Error| ConnectError::Link(LinkFailure::Settings(format!("{error:#}")));
    if remembered.tls.is_none() {
        remembered.tls = security.client_config().map_err(unusable)?.map(Arc::new);
    }
    let plain = TcpStream::connect(broker).await?;
    let mut connection = match &remembered.tls {
        Some(config) => encrypt(plain, broker, Arc::clone(config), security).await?,
        None => Connection { stream: Box::new(plain), tls_version: None },
    };
    if let Some(credentials) = security.credentials().map_err(unusable)? {
        let salted = &mut remembered.salted;
        let logged_in = sasl::log_in(&mut connection.stream, client_id, &credentials, salted).await;
        logged_in.map_err(|error| failure_of(error.into(), security))?;
    }
    Ok(connection)
}

async fn encrypt(
    plain: TcpStream,
    broker: &str,
    config: Arc<ClientConfig>,
    security: &Security,
) -> Result<Connection, ConnectError> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream =
        TlsConnector::from(config).connect(name, plain).await.map_err(
            |error| match TlsFailure::of_handshake(&error, security.certificate.is_some()) {
                Some(failure) => ConnectError::Link(LinkFailure::Tls(failure)),
                None => ConnectError::Io(error),
            },
        )?;
    let version = stream.get_ref().1.protocol_version();
    let tls_version = if version == Some(ProtocolVersion::TLSv1_3) { "TLS 1.3" } else { "TLS 1.2" };
    Ok(Connection { stream: Box::new(stream), tls_version: Some(tls_version) })
}

/// By TLS 1.3 a server refuses a client's certificate, or the lack of one, when the client believes the handshake to be done.
pub(super) fn failure_of(error: ConnectError, security: &Security) -> ConnectError {
    match error {
        ConnectError::Io(error) => match TlsFailure::of(&error, security.certificate.is_some()) {
            Some(failure) => ConnectError::Link(LinkFailure::Tls(failure)),
            None => ConnectError::Io(error),
        },
        link => link,
    }
}
