//! Access to Redis, the same for both services and their commands. Files with certificates and a password are read for each connection, so
//! they may be replaced at any time.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Connection, ConnectionAddr, ErrorKind,
    IntoConnectionInfo as _, RedisError, RedisResult, TlsCertificates,
};

use crate::files::PasswordFile;
use crate::tls::{self, Link, Protection, Settings, pem};

/// A URL of Redis that can be used. Its password is never shown.
#[derive(Clone)]
pub struct RedisUrl {
    url: String,
    place: String,
    is_encrypted: bool,
    is_local: bool,
}

impl RedisUrl {
    /// The whole URL, with its password.
    pub fn as_str(&self) -> &str {
        &self.url
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let info = url.into_connection_info().map_err(|error| {
            format!(
                "a URL of Redis is needed, such as rediss://user:password@host:6379/0 (redis:// without TLS), with what is special in the \
                 password as %40 for @: {error}"
            )
        })?;
        let (is_encrypted, is_local) = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(
                    "#insecure is not taken: a server that is not verified may be anybody's".to_owned()
                );
            }
            ConnectionAddr::TcpTls { host, .. } => (true, tls::is_loopback_host(host)),
            ConnectionAddr::Tcp(host, _) => (false, tls::is_loopback_host(host)),
            _ => (false, true),
        };
        Ok(Self { url: url.to_owned(), place: info.addr().to_string(), is_encrypted, is_local })
    }
}

/// Where it is, for messages: without user and password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a connection needs besides the URL.
#[derive(Debug, Clone, Default)]
pub struct RedisFiles {
    /// What their settings begin with, such as `ORDERS_REDIS`.
    pub prefix: &'static str,
    pub password: Option<PasswordFile>,
    pub authority: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// A Redis, and how it is reached. Cloned cheaply.
#[derive(Debug, Clone)]
pub struct RedisServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: RedisUrl,
    files: RedisFiles,
}

impl RedisServer {
    /// Reads no file yet.
    pub fn new(url: RedisUrl, files: RedisFiles) -> Self {
        Self(Arc::new(Inner { url, files }))
    }

    /// For the start, where a mistake is better told than later.
    ///
    /// # Errors
    /// When a file cannot be used, or is there without what it needs.
    pub fn check(&self) -> anyhow::Result<()> {
        self.open().map(drop)
    }

    /// For one connection.
    pub fn client(&self) -> RedisResult<Client> {
        self.open().map_err(|error| RedisError::from(io::Error::other(format!("{error:#}"))))
    }

    fn open(&self) -> anyhow::Result<Client> {
        let Inner { url, files } = &*self.0;
        let mut info = url.as_str().into_connection_info()?;
        if let Some(password) = files.password()? {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let certificates = files.certificates()?;
        if url.is_encrypted {
            tls::install_provider();
            return Ok(Client::build_with_tls(info, certificates)?);
        }
        if certificates.root_cert.is_some() || certificates.client_tls.is_some() {
            let prefix = files.prefix;
            bail!(
                "REDIS_URL begins with redis://, which is not encrypted: write rediss://, or set neither {prefix}_CA_FILE nor {prefix}_CERT_FILE"
            );
        }
        Ok(Client::open(info)?)
    }

    /// `connecting` bounds the connection, `answering` each answer.
    pub async fn connect(
        &self,
        connecting: Duration,
        answering: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connecting))
            .set_response_timeout(Some(answering));
        let connected = self.client()?.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| self.explained(error))
    }

    /// For threads that may wait. `patience` bounds the connection and each answer.
    pub fn connect_blocking(&self, patience: Duration) -> RedisResult<Connection> {
        let connected = self.client()?.get_connection_with_timeout(patience);
        let connection = connected.map_err(|error| self.explained(error))?;
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        Ok(connection)
    }

    pub fn link(&self) -> Link {
        let (protection, scheme) = match self.0.url.is_encrypted {
            true => (Protection::Verified, "rediss://"),
            false => (Protection::None, "redis://"),
        };
        Link {
            place: format!("Redis at {self}"),
            is_local: self.0.url.is_local,
            protection,
            setting: scheme.to_owned(),
            advice: "Write rediss:// in REDIS_URL.",
        }
    }

    /// The same failure, with what to do about it if encryption or the login is why. What callers decide by is kept.
    fn explained(&self, error: RedisError) -> RedisError {
        let prefix = self.0.files.prefix;
        if error.kind() == ErrorKind::AuthenticationFailed {
            let advice = format!(
                "check the user and the password in REDIS_URL, and in the file of {prefix}_PASSWORD_FILE"
            );
            return RedisError::from((error.kind(), "Redis refuses the login", format!("{error}: {advice}")));
        }
        let (authority, identity) =
            (format!("{prefix}_CA_FILE"), format!("{prefix}_CERT_FILE and {prefix}_KEY_FILE"));
        let settings = Settings { address: "REDIS_URL", authority: &authority, identity: &identity };
        let ended = error.is_connection_dropped() && !error.is_connection_refusal();
        let told = match (tls::refusal(&error, &settings), self.0.url.is_encrypted) {
            (Some(refusal), _) => refusal,
            (None, true) if error.is_timeout() => {
                format!(
                    "{error}: no answer to a TLS greeting. The server is frozen or slow, or does not speak TLS at this port: see REDIS_URL"
                )
            }
            (None, true) if ended && self.0.files.certificate.is_none() => {
                format!(
                    "{error}: the server has ended the connection. If it asks for a client's certificate, set {identity}"
                )
            }
            (None, false) if ended => {
                format!(
                    "{error}: the server has ended the connection. If it speaks TLS, write rediss:// in REDIS_URL"
                )
            }
            _ => return error,
        };
        let kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        RedisError::from(io::Error::new(kind, told))
    }
}

impl RedisFiles {
    fn password(&self) -> anyhow::Result<Option<String>> {
        let read = self.password.as_ref().map(PasswordFile::read).transpose();
        read.with_context(|| format!("{}_PASSWORD_FILE", self.prefix))
    }

    /// Checked here: the redis crate takes a file without certificates for no authority at all.
    fn certificates(&self) -> anyhow::Result<TlsCertificates> {
        let prefix = self.prefix;
        let root_cert = self.authority.as_ref().map(|path| pem::authorities(path)).transpose();
        let root_cert = root_cert.with_context(|| format!("{prefix}_CA_FILE"))?;
        let client_tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let identity = pem::identity(certificate, key);
                let identity =
                    identity.with_context(|| format!("{prefix}_CERT_FILE and {prefix}_KEY_FILE"))?;
                Some(ClientTlsConfig { client_cert: identity.chain_pem, client_key: identity.key_pem })
            }
            (None, None) => None,
            _ => bail!("{prefix}_CERT_FILE and {prefix}_KEY_FILE need each other"),
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}

/// Without files.
impl FromStr for RedisServer {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        Ok(Self(Arc::new(Inner { url: url.parse()?, files: RedisFiles::default() })))
    }
}

/// Where it is, for messages: without user and password.
impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.url, f)
    }
}
