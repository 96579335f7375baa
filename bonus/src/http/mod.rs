//! The HTTP interface. Every answer that is not a success is `application/problem+json`, also for unknown paths and methods.

pub mod access;
pub mod bonuses;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod summary;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix::Addr;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer};
use kit::http::origin::{self, Hosts};
use kit::http::{ConnectionLimits, Gate, documentation, extractors, read};
use kit::postgres::Pool;
use kit::supervision::Guardian;
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa::OpenApi;

use self::access::ENDPOINTS;
pub use self::openapi::ApiDoc;
use crate::health::HealthBoard;

/// Reads are cheap and short: two threads keep one slow request from holding up the others.
const WORKERS: usize = 2;
/// Most connections of clients; readers are few, and more wait until one ends.
const CONNECTIONS_MAX: usize = 1_024;
/// Descriptors for everything else: Postgres, Kafka, logs, and the threads' wake-ups.
const DESCRIPTORS_OWN: u64 = 192;
/// What a client may take for a request's head, or without taking anything of an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between an answer and the next request.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a stop waits for requests in hand.
const STOP_REQUESTS_TIMEOUT_SECONDS: u64 = 5;

#[derive(Clone)]
pub struct State {
    pub pool: Pool,
    pub health: HealthBoard,
    pub metrics: PrometheusHandle,
    pub guardian: Addr<Guardian>,
}

/// Listens at once; the returned server has to be awaited. With port 0 the address holds the port that was free. `hosts` are the
/// names under which the service is asked.
pub fn serve(
    addr: SocketAddr,
    hosts: &str,
    gate: Gate,
    state: State,
) -> std::io::Result<(Server, SocketAddr)> {
    let listener = TcpListener::bind(addr)?;
    let addr = listener.local_addr()?;
    let connections_max =
        kit::http::within_descriptors(CONNECTIONS_MAX, DESCRIPTORS_OWN).map_err(std::io::Error::other)?;
    let limits = ConnectionLimits { connections_max, timeout: CLIENT_TIMEOUT, keep_alive: KEEP_ALIVE };
    let hosts = Data::new(Hosts::new(addr, hosts, "BONUS_HTTP_HOSTS"));
    let gate = Data::new(gate);
    let guardian = Data::new(state.guardian.clone());
    let (state, description) = (Data::new(state), Data::new(ApiDoc::openapi()));
    let make = move || {
        App::new()
            .app_data(hosts.clone())
            .app_data(gate.clone())
            .app_data(state.clone())
            .app_data(guardian.clone())
            .configure(routes)
            .configure(|service| documentation::routes(service, &description))
            .wrap(from_fn(origin::checked))
            .wrap(from_fn(kit::http::hardened))
            // The outermost: what is refused is a request in hand too.
            .wrap(from_fn(kit::http::in_hand))
    };
    let server = HttpServer::new(make)
        .workers(WORKERS)
        .max_connections((limits.connections_max / WORKERS).max(1))
        .client_request_timeout(limits.timeout)
        .keep_alive(limits.keep_alive)
        // Before the listener is given: later it would have no effect.
        .on_connect(kit::http::watch(limits))
        // Signals are handled once, for the whole process: the consumer stops first.
        .disable_signals()
        .shutdown_timeout(STOP_REQUESTS_TIMEOUT_SECONDS)
        .listen(listener)?
        .run();
    Ok((server, addr))
}

fn routes(service: &mut ServiceConfig) {
    let resource = |path: &str| kit::http::resource(path, &ENDPOINTS);
    service
        .configure(extractors)
        .service(resource("/api/bonuses/{customer_id}").route(read().to(bonuses::read)))
        .service(resource("/api/bonuses/{customer_id}/ledger").route(read().to(bonuses::ledger)))
        .service(resource("/api/orders/{order_id}/ledger").route(read().to(bonuses::order_ledger)))
        .service(resource("/api/summary").route(read().to(summary::read)))
        .service(resource("/api/actors").route(read().to(kit::http::actors::list)))
        .service(resource("/livez").route(read().to(kit::http::health::livez)))
        .service(resource("/readyz").route(read().to(health::readyz)))
        .service(resource("/metrics").route(read().to(metrics::read)));
}
