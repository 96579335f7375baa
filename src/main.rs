//! The command line. To serve: read the configuration, start telemetry, build the App, run until a signal.

use std::net::SocketAddr;
use std::process::ExitCode;

use futures_util::FutureExt as _;
use orders::app::App;
use orders::cli::{self, Command, Operation};
use orders::config::Config;
use orders::telemetry::{self, traces};
use tracing::{error, info};

/// A command makes many small allocations on several threads. glibc's allocator took a seventh of the time, and mimalloc needed
/// twice the memory.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kit::tls::install_provider();
    let done = match cli::parse() {
        Command::Serve(config) => {
            serve(&config).inspect_err(|cause| error!("{cause:#}")).map(|()| ExitCode::SUCCESS)
        }
        Command::Operate(operation) => operate(operation),
    };
    kit::cli::exit("orders", done)
}

fn operate(operation: Operation) -> anyhow::Result<ExitCode> {
    kit::system()?.block_on(operation.run())
}

/// An address for a browser on this machine: all interfaces (0.0.0.0, as in a container) is none.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    kit::telemetry::start_logs(&config.logging.log_filter, config.logging.log_format)?;
    let metrics = telemetry::start_metrics()?;
    let broker = &config.publication.broker;
    // Dropped last, when nothing makes spans any more.
    let _flush = traces::start(&config.traces, broker.mq.value(), &broker.topic.name)?;
    kit::system()?.block_on(async move {
        actix::spawn(kit::telemetry::keep_metrics_small(metrics.clone()));
        let shutdown = kit::stop::wanted()?.map(drop);
        tokio::pin!(shutdown);
        let app = tokio::select! {
            app = App::build(config, metrics) => app?,
            () = &mut shutdown => return Ok(()),
        };
        let scheme = app.scheme();
        let pages =
            |site: &str| format!("Control room: {scheme}://{site}/dashboard, Swagger UI: {scheme}://{site}/");
        let address = app.address();
        match app.operators() {
            None => info!("Listening on {address}. {}", pages(&reachable(address))),
            Some(operators) => {
                info!("Listening on {address}");
                info!("Listening on {operators} for operators. {}", pages(&reachable(operators)));
            }
        }
        app.run_until(shutdown).await
    })
}
