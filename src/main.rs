//! Configuration, telemetry, the App, until a signal.

use std::process::ExitCode;

use clap::Parser;
use orders::app::App;
use orders::config::Config;
use orders::telemetry::{self, traces};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// A command makes many small allocations on several threads; glibc's allocator took a seventh of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = Config::parse();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!("{cause:#}");
            eprintln!("orders: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    telemetry::start_logs(&config.log_filter, config.log_format)?;
    let metrics = telemetry::start_metrics()?;
    // Dropped last, when nothing makes spans any more.
    let _flush = traces::start(&config.traces, &config.topic)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A system on a multi-threaded runtime: database, Kafka and Redis work runs there, actors on arbiters of their own.
    let system = actix::System::with_tokio_rt(move || runtime);
    system.block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::pin!(shutdown);
        let app = tokio::select! {
            app = App::build(&config, metrics) => app?,
            () = &mut shutdown => return Ok(()),
        };
        for address in app.addresses() {
            info!("Listening on http://{address} (Swagger UI at /)");
        }
        app.run_until(shutdown).await
    })
}
