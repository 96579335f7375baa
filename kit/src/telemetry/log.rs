//! The log: where it goes, and in which form.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::panic::remember_panics;

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: aligned, coloured on a terminal.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging to standard output. Called once, by the process. `filter` is what `RUST_LOG` says.
pub fn start_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    subscribe(filter, format, std::io::stdout, std::io::stdout().is_terminal())
}

/// The same to standard error, for a command whose standard output is its answer.
pub fn start_logs_aside(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    subscribe(filter, format, std::io::stderr, std::io::stderr().is_terminal())
}

fn subscribe(
    filter: &str,
    format: LogFormat,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
    is_terminal: bool,
) -> anyhow::Result<()> {
    let logs = tracing_subscriber::fmt().with_env_filter(parse_filter(filter)?).with_writer(writer);
    match format {
        LogFormat::Pretty => logs.with_ansi(is_terminal).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    remember_panics();
    Ok(())
}

fn parse_filter(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!("RUST_LOG={filter:?} is not a log filter ({error}); try RUST_LOG=info")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_refused_by_the_name_of_its_variable() {
        assert!(parse_filter("hyper=debug,info").is_ok());
        let refusal = parse_filter("info,=").unwrap_err().to_string();
        assert!(refusal.starts_with("RUST_LOG=\"info,=\" is not a log filter"), "{refusal}");
    }
}
