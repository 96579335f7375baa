//! Configuration, telemetry, the application, until a signal.

use bonus::app::App;
use bonus::config::Config;
use bonus::{telemetry, traces};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::start_logs(&config.rust_log, config.log_format)?;
    let metrics = telemetry::start_metrics()?;
    // Dropped last, when nothing makes spans any more.
    let _flush = traces::start(&config)?;
    actix_web::rt::System::new().block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        App::build(config, metrics)?.run_until(shutdown).await
    })
}
