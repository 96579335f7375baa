//! The HTTP interface. Every answer that is not a success is `application/problem+json`, also for unknown paths and methods.

pub mod access;
pub mod bonuses;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod summary;

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_web::web::{Data, ServiceConfig};
use kit::http::{BodyLimits, ConnectionLimits, Gate, ServerSettings, Servers, extractors, read};
use kit::postgres::Pool;
use kit::supervision::Guardian;
use kit::tls::ServedCertificate;
use metrics_exporter_prometheus::PrometheusHandle;
use operations::http::Outbox;
use utoipa::OpenApi;

use self::access::ENDPOINTS;
pub use self::openapi::ApiDoc;
use crate::config::Config;
use crate::health::HealthBoard;

/// Reads are cheap and short: two threads keep one slow request from holding up the others.
const WORKERS: usize = 2;
/// Most connections of clients; readers are few, and more wait until one ends.
const CONNECTIONS_MAX: usize = 1_024;
/// Descriptors for everything else: Postgres, Kafka, logs, and the threads' wake-ups.
const DESCRIPTORS_OWN: u64 = 192;
/// What a client may take for a request's head, or without taking anything of an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a request's body: a reason, and who gives it.
const BODY_BYTES_MAX: usize = 4_096;
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
    pub outbox: Outbox,
}

/// Binds the addresses of the service.
pub fn serve(
    config: &Config,
    gate: Gate,
    certificate: Option<Arc<ServedCertificate>>,
    state: State,
) -> anyhow::Result<Servers> {
    let own = DESCRIPTORS_OWN + kit::http::operators_descriptors(config.http.admin_addr);
    let connections_max = kit::http::within_descriptors(CONNECTIONS_MAX, own)?;
    let guardian = Data::new(state.guardian.clone());
    let outbox = state.outbox.clone();
    let bodies = BodyLimits { bytes_max: BODY_BYTES_MAX, timeout: CLIENT_TIMEOUT };
    let state = Data::new(state);
    let settings = ServerSettings {
        prefix: "BONUS",
        address: config.http.addr,
        operators: config.http.admin_addr,
        hosts: config.http.hosts.clone(),
        origins: config.clients.cors_origins.clone(),
        workers: WORKERS,
        limits: ConnectionLimits { connections_max, timeout: CLIENT_TIMEOUT, keep_alive: KEEP_ALIVE },
        gate,
        certificate,
        stop_seconds_max: STOP_REQUESTS_TIMEOUT_SECONDS,
        description: Data::new(ApiDoc::openapi()),
    };
    settings.bind(move |service| {
        bodies.configure(service);
        service.app_data(state.clone()).app_data(guardian.clone()).configure(routes);
        operations::http::routes(service, outbox.clone(), &ENDPOINTS);
    })
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
