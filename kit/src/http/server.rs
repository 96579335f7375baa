//! The HTTP servers of a service: the same middleware and the same limits on each of its addresses.
//!
//! Operators may have an address of their own. It is another server, with a worker and connections of its own: clients who take
//! everything that the public address has do not keep operators out.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::App;
use actix_web::dev::ServerHandle;
use actix_web::middleware::{Compat, Condition, from_fn};
use actix_web::web::{Data, ServiceConfig};
use anyhow::{Context as _, anyhow};
use futures_util::future::{SelectAll, join_all, select_all};
use tokio::task::JoinHandle;
use utoipa::openapi::OpenApi;

use super::access::Gate;
use super::connections::{ConnectionLimits, in_hand, not_crowded};
use super::cors::Origins;
use super::documentation;
use super::endpoint::Serves;
use super::hardening::hardened;
use super::listener::{Listener, Listening};
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
        let serves = if self.operators.is_some() { some } else { all };
        let public =
            self.listener("HTTP_ADDR", self.address, serves, self.workers, everybody, configure.clone())?;
        let apart = |address| {
            let (workers, most) = (OPERATORS_WORKERS, OPERATORS_CONNECTIONS_MAX);
            self.listener("ADMIN_ADDR", address, all, workers, most, configure)
        };
        let operators = self.operators.map(apart).transpose()?;
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        Ok(Servers { public, operators, scheme })
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
        let tls = self.certificate.as_ref().map(|certificate| certificate.server_config()).transpose()?;
        let listening = Listening {
            address,
            tls,
            workers,
            connections_max,
            // No bound of its own: at this one a worker takes no connection at all, of no address, until a handshake ends.
            handshakes_max: self.limits.connections_max.max(OPERATORS_CONNECTIONS_MAX),
            limits: self.limits,
            stop_seconds_max: self.stop_seconds_max,
        };
        listening.bind(make).with_context(|| {
            format!("{}_{setting}={address} cannot be bound; is another instance running?", self.prefix)
        })
    }
}

/// The servers of a service, bound and not running yet.
pub struct Servers {
    public: Listener,
    operators: Option<Listener>,
    scheme: &'static str,
}

impl Servers {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Where everybody is served.
    pub fn public(&self) -> SocketAddr {
        self.public.address
    }

    /// Where the operators' side is served, if that is elsewhere.
    pub fn operators(&self) -> Option<SocketAddr> {
        self.operators.as_ref().map(|listener| listener.address)
    }

    pub fn run(self) -> RunningServers {
        let servers: Vec<_> = [self.public].into_iter().chain(self.operators).map(|it| it.server).collect();
        let handles = servers.iter().map(actix_server::Server::handle).collect();
        let tasks = servers.into_iter().map(actix_web::rt::spawn);
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
