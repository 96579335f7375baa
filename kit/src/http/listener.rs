//! A server of actix on one address, composed of the parts of `actix_web::HttpServer`: that one takes no stream of ours between
//! the socket and HTTP ([`PacedStream`]). What is not said here is as it is there.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_tls::accept::rustls_0_23::reexports::ServerConfig;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connections::{ConnectionLimits, HANDSHAKE_MAX, watch};
use super::paced::PacedStream;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// For the end of a connection that is closed in peace.
const DISCONNECT_MAX: Duration = Duration::from_secs(1);

/// Where a server listens, and what it takes.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    /// With it everything is encrypted.
    pub(super) tls: Option<ServerConfig>,
    pub(super) workers: usize,
    /// Of all workers together.
    pub(super) connections_max: usize,
    /// Connections in the handshake of TLS, for each worker.
    pub(super) handshakes_max: usize,
    pub(super) limits: ConnectionLimits,
    pub(super) stop_seconds_max: u64,
}

/// A server that is bound and does not run yet.
pub(super) struct Listener {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

impl Listening {
    /// Binds the address.
    pub(super) fn bind<F, I, S, B>(self, make: F) -> io::Result<Listener>
    where
        F: Fn() -> I + Clone + Send + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error>,
        S::InitError: Debug,
        S::Response: Into<Response<B>> + 'static,
        S::Service: 'static,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let Self { address, tls, workers, connections_max, handshakes_max, limits, stop_seconds_max } = self;
        max_concurrent_tls_connect(handshakes_max);
        let socket = bound(address)?;
        let address = socket.local_addr()?;
        let builder = Server::build()
            .workers(workers)
            .max_concurrent_connections((connections_max / workers).max(1))
            // Signals are handled once, for the whole process.
            .disable_signals()
            .shutdown_timeout(stop_seconds_max);
        let ending = builder.graceful_shutdown_signal();
        let secure = tls.is_some();
        let app = move || {
            let app = make().into_factory().map_err(|error| error.into().error_response().into());
            // `AppConfig::new` is actix-web's own; this is how its other crates get there.
            map_config(app, move |()| AppConfig::__priv_test_new(secure, address.to_string(), address))
        };
        let name = format!("http-{address}");
        let builder =
            match tls {
                None => builder.listen(name, socket, move || {
                    fn_service(|stream: TcpStream| async { Ok(paced(stream, Protocol::Http1)) })
                        .and_then(http(app(), address, limits, ending.clone()))
                }),
                Some(tls) => builder.listen(name, socket, move || {
                    acceptor(tls.clone(), limits)
                        .map_err(TlsError::into_service_error)
                        .and_then(|stream: TlsStream<TcpStream>| async {
                            let protocol = negotiated(&stream);
                            Ok(paced(stream, protocol))
                        })
                        .and_then(http(app(), address, limits, ending.clone()).map_err(TlsError::Service))
                }),
            };
        Ok(Listener { server: builder?.run(), address })
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart need not wait for the end of its former connections.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn acceptor(mut tls: ServerConfig, limits: ConnectionLimits) -> Acceptor {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut acceptor = Acceptor::new(tls);
    acceptor.set_handshake_timeout(HANDSHAKE_MAX.min(limits.timeout));
    acceptor
}

fn negotiated(stream: &TlsStream<TcpStream>) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// What HTTP is served on: the connection, its protocol, and whose it is.
type Connection<S> = (PacedStream<S>, Protocol, Option<SocketAddr>);

fn paced<S: OverTcp>(stream: S, protocol: Protocol) -> Connection<S> {
    let peer = stream.tcp().peer_addr().ok();
    (PacedStream::new(stream, protocol), protocol, peer)
}

fn http<T, S, B>(
    app: S,
    address: SocketAddr,
    limits: ConnectionLimits,
    ending: GracefulShutdownSignal,
) -> impl ServiceFactory<
    Connection<T>,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
>
where
    T: OverTcp + AsyncRead + AsyncWrite + Unpin + 'static,
    S: ServiceFactory<Request, Config = (), Error = Response<BoxBody>> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let ending = ending.clone();
            async move { ending.notified().await }
        })
        .keep_alive(limits.keep_alive)
        .client_request_timeout(limits.timeout)
        .client_disconnect_timeout(DISCONNECT_MAX)
        .local_addr(address)
        .on_connect_ext(move |connection: &PacedStream<T>, extensions| {
            watch(connection.stream().tcp(), connection.pace(), limits, extensions);
        })
        .finish(app)
}

/// A stream over a TCP socket.
pub(super) trait OverTcp {
    fn tcp(&self) -> &TcpStream;
}

impl OverTcp for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl OverTcp for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}
