//! The HTTP servers of a service: the same middleware and the same limits on each of its addresses.
//!
//! Operators may have an address of their own. It is another server, with a worker and connections of its own: clients who take
//! everything that the public address has do not keep operators out.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Compat, Condition, from_fn};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer};
use anyhow::{Context as _, anyhow};
use futures_util::future::{SelectAll, join_all, select_all};
use tokio::task::JoinHandle;
use utoipa::openapi::OpenApi;

use super::access::Gate;
use super::connections::{ConnectionLimits, HANDSHAKE_MAX, in_hand, not_crowded, watch};
use super::cors::Origins;
use super::documentation;
use super::endpoint::Serves;
use super::hardening::hardened;
use super::origin::{Hosts, checked};
use crate::tls::ServedCertificate;

/// Operators, Prometheus and open pages of the control room.
const OPERATORS_CONNECTIONS_MAX: usize = 128;
const OPERATORS_WORKERS: usize = 1;

/// Where and how a service is served.
pub struct ServerSettings {
    /// What the names of the settings begin with, such as `ORDERS`.
    pub prefix: &'static str,
    pub address: SocketAddr,
    /// Where the operators' side is served. `None`: at `address`.
    pub operators: Option<SocketAddr>,
    /// Names under which browsers may ask, separated by commas.
    pub hosts: String,
    /// Whose pages may ask, besides its own.
    pub origins: Origins,
    pub workers: usize,
    pub limits: ConnectionLimits,
    pub gate: Gate,
    /// With one every address is served by TLS.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// How long a stop waits for requests in hand.
    pub stop_seconds_max: u64,
    pub description: Data<OpenApi>,
}

/// A server that is bound and does not run yet.
struct Listener {
    server: Server,
    addresses: Vec<SocketAddr>,
}

/// What the connections of operators need, besides those of the public address.
pub fn operators_descriptors(operators: Option<SocketAddr>) -> u64 {
    // Two a connection, and the worker's own.
    operators.map_or(0, |_| 2 * OPERATORS_CONNECTIONS_MAX as u64 + 8)
}

/// How many connections there may be to the address that serves the operators' side.
pub fn operators_connections_max(operators: Option<SocketAddr>, limits: &ConnectionLimits) -> usize {
    if operators.is_some() { OPERATORS_CONNECTIONS_MAX } else { limits.connections_max }
}

impl ServerSettings {
    /// Binds each address. `configure` adds what is the service's own, the operators' side included.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn bind(
        &self,
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> anyhow::Result<Servers> {
        let (all, some) = (Serves::Everything, Serves::PublicSide);
        let everybody = self.limits.connections_max;
        let Some(operators) = self.operators else {
            return Ok(self.servers(vec![self.listener(
                "HTTP_ADDR",
                self.address,
                all,
                self.workers,
                everybody,
                configure,
            )?]));
        };
        let public =
            self.listener("HTTP_ADDR", self.address, some, self.workers, everybody, configure.clone())?;
        let apart = self.listener(
            "ADMIN_ADDR",
            operators,
            all,
            OPERATORS_WORKERS,
            OPERATORS_CONNECTIONS_MAX,
            configure,
        )?;
        Ok(self.servers(vec![public, apart]))
    }

    fn servers(&self, listeners: Vec<Listener>) -> Servers {
        Servers { listeners, scheme: if self.certificate.is_some() { "https" } else { "http" } }
    }

    fn listener(
        &self,
        setting: &str,
        address: SocketAddr,
        serves: Serves,
        workers: usize,
        connections_max: usize,
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> anyhow::Result<Listener> {
        let hosts = Data::new(Hosts::new(address, &self.hosts, &format!("{}_HTTP_HOSTS", self.prefix)));
        let (gate, document) = (Data::new(self.gate.clone()), documentation::json(&self.description)?);
        let origins = self.origins.clone();
        let documented = move |service: &mut ServiceConfig| {
            if serves == Serves::Everything {
                documentation::routes(service, document.clone());
            }
        };
        let make = move || {
            App::new()
                .app_data(hosts.clone())
                .app_data(gate.clone())
                .app_data(Data::new(serves))
                .app_data(Data::new(origins.clone()))
                .configure(&configure)
                .configure(&documented)
                .wrap(Compat::new(Condition::new(!origins.is_empty(), origins.cors())))
                // Around it: a preflight, too, comes to a host that is known.
                .wrap(from_fn(checked))
                .wrap(from_fn(not_crowded))
                .wrap(from_fn(hardened))
                // The outermost: a refused request counts as a running request too.
                .wrap(from_fn(in_hand))
        };
        let server = HttpServer::new(make)
            .workers(workers)
            .max_connections((connections_max / workers).max(1))
            .client_request_timeout(self.limits.timeout)
            .keep_alive(self.limits.keep_alive)
            // Before the address is bound: later it would have no effect.
            .on_connect(watch(self.limits))
            // Signals are handled once, for the whole process.
            .disable_signals()
            .shutdown_timeout(self.stop_seconds_max)
            .tls_handshake_timeout(HANDSHAKE_MAX.min(self.limits.timeout))
            // Of connections in the handshake, for each worker. No bound of its own: at this one a worker takes no connection at all, of
            // no address, until a handshake ends.
            .max_connection_rate(self.limits.connections_max.max(OPERATORS_CONNECTIONS_MAX));
        let bound = match &self.certificate {
            None => server.bind(address),
            Some(certificate) => server.bind_rustls_0_23(address, certificate.server_config()?),
        };
        let server = bound.with_context(|| {
            format!("{}_{setting}={address} cannot be bound; is another instance running?", self.prefix)
        })?;
        let addresses = server.addrs();
        Ok(Listener { server: server.run(), addresses })
    }
}

/// The servers of a service, bound and not running yet: of the public address first.
pub struct Servers {
    listeners: Vec<Listener>,
    scheme: &'static str,
}

impl Servers {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Where everybody is served.
    pub fn public(&self) -> &[SocketAddr] {
        self.listeners.first().map_or(&[], |listener| &listener.addresses)
    }

    /// Where the operators' side is served, if that is elsewhere.
    pub fn operators(&self) -> Option<&[SocketAddr]> {
        self.listeners.get(1).map(|listener| listener.addresses.as_slice())
    }

    pub fn run(self) -> RunningServers {
        let handles = self.listeners.iter().map(|listener| listener.server.handle()).collect();
        let tasks = self.listeners.into_iter().map(|listener| actix_web::rt::spawn(listener.server));
        RunningServers { handles, any_end: select_all(tasks) }
    }
}

pub struct RunningServers {
    handles: Vec<ServerHandle>,
    any_end: SelectAll<JoinHandle<std::io::Result<()>>>,
}

impl RunningServers {
    /// Returns when one has ended by itself, and why.
    pub async fn failure(&mut self) -> anyhow::Error {
        let (ended, ..) = (&mut self.any_end).await;
        match ended {
            Ok(Ok(())) => anyhow!("the HTTP server ended by itself"),
            Ok(Err(error)) => anyhow!(error).context("the HTTP server failed"),
            Err(error) => anyhow!(error).context("the HTTP server's task failed"),
        }
    }

    /// Takes no more connections, and returns when the requests in hand are answered.
    pub async fn stop(&self) {
        join_all(self.handles.iter().map(|handle| handle.stop(true))).await;
    }
}
