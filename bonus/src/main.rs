//! The command line. To serve: read the configuration, start telemetry, build the application, run until a signal.

use std::process::ExitCode;

use bonus::app::App;
use bonus::cli::{self, Command};
use bonus::config::Config;
use bonus::{telemetry, traces};
use kit::http::Gate;
use kit::tls::ServedCertificate;

fn main() -> ExitCode {
    kit::tls::install_provider();
    let done = match cli::parse() {
        Command::Serve(config) => serve(*config).map(|()| ExitCode::SUCCESS),
        Command::Operate(operation) => actix_web::rt::System::new().block_on(operation.run()),
    };
    kit::cli::exit("bonus", done)
}

fn serve(config: Config) -> anyhow::Result<()> {
    kit::telemetry::start_logs(&config.logging.rust_log, config.logging.log_format)?;
    let metrics = telemetry::start_metrics()?;
    // Dropped last, when nothing makes spans any more.
    let _flush = traces::start(&config)?;
    actix_web::rt::System::new().block_on(async move {
        actix_web::rt::spawn(kit::telemetry::keep_metrics_small(metrics.clone()));
        let shutdown = kit::stop::wanted()?;
        tokio::pin!(shutdown);
        let choice = config.auth.chosen(&config.http.addresses())?;
        let rate = config.clients.rate(telemetry::metric::RATE_LIMITED);
        let gate = tokio::select! {
            gate = Gate::of(choice, rate) => gate?,
            _ = &mut shutdown => return Ok(()),
        };
        let certificate = match config.http.certificate()? {
            Some(files) => Some(ServedCertificate::start(files).await?),
            None => None,
        };
        App::build(config, gate, certificate, metrics)?.run_until(shutdown).await
    })
}
