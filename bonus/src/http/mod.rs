//! The HTTP interface. Every answer that is not a success is `application/problem+json`, also for unknown paths and methods.

pub mod bonuses;
pub mod openapi;
pub mod ops;
pub mod problem;
pub mod summary;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, Resource, Route, web};
use kit::http::ConnectionLimits;
use kit::postgres::Pool;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::health::HealthBoard;
use problem::Problem;

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
}

/// Listens at once; the returned server has to be awaited. With port 0 the address holds the port that was free.
pub fn serve(addr: SocketAddr, state: State) -> std::io::Result<(Server, SocketAddr)> {
    let listener = TcpListener::bind(addr)?;
    let addr = listener.local_addr()?;
    let connections_max =
        kit::http::within_descriptors(CONNECTIONS_MAX, DESCRIPTORS_OWN).map_err(std::io::Error::other)?;
    let limits = ConnectionLimits { connections_max, timeout: CLIENT_TIMEOUT, keep_alive: KEEP_ALIVE };
    let make = move || {
        let app = App::new().app_data(web::Data::new(state.clone())).configure(routes);
        app.wrap(from_fn(kit::http::in_hand))
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

fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PathConfig::default().error_handler(|error, _| Problem::bad_request(error).into()))
        .app_data(web::QueryConfig::default().error_handler(|error, _| Problem::bad_request(error).into()))
        .service(get("/api/bonuses/{customer_id}", web::get().to(bonuses::read)))
        .service(get("/api/bonuses/{customer_id}/ledger", web::get().to(bonuses::ledger)))
        .service(get("/api/orders/{order_id}/ledger", web::get().to(bonuses::order_ledger)))
        .service(get("/api/summary", web::get().to(summary::read)))
        .service(get("/livez", web::get().to(ops::livez)))
        .service(get("/readyz", web::get().to(ops::readyz)))
        .service(get("/metrics", web::get().to(ops::metrics)))
        .service(get("/", web::get().to(openapi::redirect)))
        .service(get("/api-docs/openapi.json", web::get().to(openapi::document)))
        .service(get("/swagger-ui", web::get().to(openapi::redirect)))
        .service(openapi::swagger_ui())
        .default_service(web::to(problem::not_found));
}

fn get(path: &str, route: Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(problem::method_not_allowed))
}
