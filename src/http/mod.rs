//! REST for orders: requests become commands, outcomes become answers, every error becomes a problem.

pub mod access;
mod actors;
mod bodies;
mod control_room;
mod dto;
mod headers;
mod health;
mod listing;
mod metrics;
mod openapi;
mod orders;
mod ownership;
mod problem;
mod request;
mod trace;

use std::sync::Arc;

use actix::Addr;
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use engine::actor::Aggregates;
use engine::fallback::Fallback;
use engine::journal::{Journal, Reader};
use engine::publisher::Publisher;
use engine::publisher::outbox::OutboxReader;
pub use kit::http::ConnectionLimits;
use kit::http::{BodyLimits, Gate, ServerSettings, Servers, extractors, read};
use kit::supervision::{Child, Guardian};
use kit::tls::ServedCertificate;
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa::OpenApi;

use self::access::ENDPOINTS;
pub use self::bodies::read_body;
pub use self::control_room::{BonusClient, ControlRoom};
pub use self::openapi::ApiDoc;
use crate::config::{Config, Mq};
use crate::list::OrderList;
use crate::order::Order;
use crate::telemetry::traces;

/// What the handlers need.
#[derive(Clone)]
pub struct Services {
    pub orders: Aggregates<Order>,
    pub journal: Journal,
    pub reader: Reader,
    pub outbox: OutboxReader,
    pub list: OrderList,
    pub publisher: Child<Publisher>,
    pub fallback: Fallback,
    pub guardian: Addr<Guardian>,
    pub room: ControlRoom,
    pub metrics: PrometheusHandle,
    /// What events are published to.
    pub mq: Mq,
    pub enable_faults: bool,
}

/// File descriptors of the process itself: logs, listener, sockets and wake-ups of the clients of Kafka and Redis.
const DESCRIPTORS_OWN: usize = 128;
/// File descriptors of each thread with a runtime: its poll, its wake-up, and short-lived ones.
const DESCRIPTORS_PER_THREAD: usize = 4;
/// Threads besides those that serve HTTP and those that orders live on: journal, publisher, background, main runtime.
const THREADS_BESIDES: usize = 6;

/// The limits for clients' connections. The descriptors that the process needs for everything else are reserved.
pub fn limits(config: &Config) -> anyhow::Result<ConnectionLimits> {
    let threads = config.http.workers() + config.arbiters() + THREADS_BESIDES;
    let database = usize::try_from(config.database_connections_max).unwrap_or(usize::MAX);
    let own = DESCRIPTORS_OWN.saturating_add(database) + threads * DESCRIPTORS_PER_THREAD;
    let own =
        u64::try_from(own).unwrap_or(u64::MAX) + kit::http::operators_descriptors(config.http.admin_addr);
    let connections_max = kit::http::within_descriptors(config.http.connections_max, own)?;
    Ok(ConnectionLimits {
        connections_max,
        timeout: config.http.client_timeout(),
        keep_alive: config.http.keep_alive(),
    })
}

/// Binds the addresses of the service.
pub fn serve(
    config: &Config,
    limits: ConnectionLimits,
    gate: Gate,
    certificate: Option<Arc<ServedCertificate>>,
    services: Services,
) -> anyhow::Result<Servers> {
    let services = Data::new(services);
    let bodies = BodyLimits { bytes_max: config.http.body_bytes_max, timeout: config.http.client_timeout() };
    let settings = ServerSettings {
        prefix: "ORDERS",
        address: config.http.addr,
        operators: config.http.admin_addr,
        hosts: config.http.hosts.clone(),
        origins: config.clients.cors_origins.clone(),
        workers: config.http.workers(),
        limits,
        gate,
        certificate,
        stop_seconds_max: config.shutdown_grace_seconds,
        description: Data::new(ApiDoc::openapi()),
    };
    settings.bind(move |service| {
        bodies.configure(service);
        routes(service, &services);
    })
}

fn routes(service: &mut ServiceConfig, services: &Data<Services>) {
    let resource = |path: &str| kit::http::resource(path, &ENDPOINTS);
    let outbox =
        operations::http::Outbox { reader: services.outbox.clone(), publisher: services.publisher.clone() };
    // Requests of operators and probes are not traced: they would hide those of orders.
    let traced =
        |path: &str| resource(path).wrap(Condition::new(traces::on().is_some(), from_fn(trace::traced)));
    service
        .app_data(Data::new(services.guardian.clone()))
        .app_data(services.clone())
        .configure(extractors)
        .service(traced("/api/orders").route(web::post().to(orders::create)).route(read().to(listing::list)))
        .service(traced("/api/orders/{id}").route(read().to(orders::read)))
        .service(traced("/api/orders/{id}/events").route(read().to(orders::history)))
        .service(traced("/api/orders/{id}/pay").route(web::post().to(orders::pay)))
        .service(traced("/api/orders/{id}/ship").route(web::post().to(orders::ship)))
        .service(traced("/api/orders/{id}/complete").route(web::post().to(orders::complete)))
        .service(traced("/api/orders/{id}/cancel").route(web::post().to(orders::cancel)))
        .configure(|service| operations::http::routes(service, outbox, &ENDPOINTS))
        .service(resource("/api/actors").route(read().to(kit::http::actors::list)))
        .service(resource("/api/actors/{name}/crash").route(web::post().to(actors::crash)))
        .service(resource("/livez").route(read().to(kit::http::health::livez)))
        .service(resource("/readyz").route(read().to(health::readyz)))
        .service(resource("/metrics").route(read().to(metrics::read)))
        .configure(control_room::routes);
}
