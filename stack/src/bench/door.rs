//! How the load generator gets in to a service.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::secured::Secured;
use crate::tls;

#[derive(Clone)]
pub(super) struct Door {
    address: SocketAddr,
    /// By TLS, and with a token.
    keys: Option<Arc<Keys>>,
}

struct Keys {
    connector: TlsConnector,
    authorization: String,
}

impl From<SocketAddr> for Door {
    fn from(address: SocketAddr) -> Self {
        Self { address, keys: None }
    }
}

impl Door {
    /// With a token that may do everything.
    pub(super) fn secured(address: SocketAddr, secured: &Secured) -> Result<Self> {
        let token = fs::read_to_string(secured.token("admin"))?;
        let keys = Keys {
            connector: tls::connector(&secured.authority(), None)?,
            authorization: format!("Bearer {token}"),
        };
        Ok(Self { address, keys: Some(Arc::new(keys)) })
    }

    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(keys) = &self.keys else {
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        };
        let stream = keys.connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// With what each request needs.
    pub(super) fn announce(&self, request: Builder) -> Builder {
        let request = request.header(HOST, self.address.to_string());
        match &self.keys {
            None => request,
            Some(keys) => request.header(AUTHORIZATION, &keys.authorization),
        }
    }
}
