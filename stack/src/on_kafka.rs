//! The tasks that need Kafka: what is measured, tested and put under load.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use stack::bench;
use stack::compose::compose_test;
pub use stack::compose::remove_remains;
use stack::fuzz::{self, fuzz};
use stack::local::Home;
use stack::local::exec::exec;
pub use stack::local::exec::forward;
use stack::overload::overload;
use stack::recovery::recovery;
use stack::servers::kafka;
use stack::{place, say};

#[derive(Subcommand)]
pub enum Task {
    /// Run a command with private Postgres, Redis and Kafka, told by DATABASE_URL, REDIS_URL and KAFKA_BROKERS.
    Exec {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Measure how soon events flow again after outages of Kafka, and how soon another instance takes over.
    Recovery {
        /// How many of each.
        #[arg(long, env = "TIMES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        times: u16,
        /// Where the findings go, as JSON; by default `reports/recovery.json` in Cargo's output directory.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Ten times as many clients as the service lets in: who is refused, how long the others wait, what it costs.
    Overload {
        /// Seconds of overload.
        #[arg(long, env = "DURATION", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        duration: u64,
        /// Where the findings go, as JSON; by default `reports/overload.json` in Cargo's output directory.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Measure, each figure beside a reference, and fill in docs/benchmarks.md.
    Bench {
        #[command(flatten)]
        settings: bench::Settings,
        /// Where the figures go, as JSON; by default `reports/bench.json` in Cargo's output directory.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Make up requests from both OpenAPI documents, and check every answer (schemathesis, fetched by pip).
    Fuzz {
        #[command(flatten)]
        settings: fuzz::Settings,
        /// Where the findings go; by default `reports` in Cargo's output directory.
        #[arg(long, value_name = "FOLDER")]
        reports: Option<PathBuf>,
    },
    /// Build the images and play the outage of docs/docker.md through `docker compose`, on a project and ports of its own.
    /// Ends with 0 if every step held, 1 if one did not, 3 if no Docker engine answers here.
    ComposeTest,
    /// Fetch Apache Kafka if it is not here, and make its start quicker.
    Kafka,
    /// Be the embedded stand-in for Kafka, and write its address to a file.
    #[command(hide = true)]
    EmbeddedKafka { file: PathBuf },
}

impl Task {
    /// The name of the stack that it is played on.
    pub fn stack(&self) -> &'static str {
        match self {
            Self::Recovery { .. } | Self::Overload { .. } | Self::Bench { .. } | Self::Fuzz { .. } => {
                "measure"
            }
            Self::Exec { .. } | Self::ComposeTest | Self::Kafka | Self::EmbeddedKafka { .. } => "up",
        }
    }

    /// Returns the process's exit code.
    pub async fn run(self, home: Home) -> Result<u8> {
        Ok(match self {
            Self::Exec { command } => exec(&command)?,
            Self::Recovery { times, report } => {
                let report = report.unwrap_or_else(|| place::target().join("reports/recovery.json"));
                u8::from(!recovery(home, times.into(), &report).await?)
            }
            Self::Overload { duration, report } => {
                let report = report.unwrap_or_else(|| place::target().join("reports/overload.json"));
                u8::from(!overload(home, duration, &report).await?)
            }
            Self::Bench { settings, report } => {
                let report = report.unwrap_or_else(|| place::target().join("reports/bench.json"));
                u8::from(!bench::bench(home, settings, &report).await?)
            }
            Self::Fuzz { settings, reports } => {
                let reports = reports.unwrap_or_else(|| place::target().join("reports"));
                u8::from(!fuzz(home, &settings, &reports)?)
            }
            Self::ComposeTest => compose_test().await.code(),
            Self::Kafka => {
                say::done("kafka", kafka::install()?);
                0
            }
            Self::EmbeddedKafka { file } => {
                kafka::run_embedded(&file)?;
                0
            }
        })
    }
}
