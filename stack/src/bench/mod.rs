//! `stack bench`: figures on real servers with full durability, each beside a reference that was measured in the same run.
//!
//! Throughput comes from closed loops, latency from open ones. Value and reference are measured in turn, round by round; a figure is the
//! median of the rounds, its ratio that of the rounds' ratios.

mod activation;
mod arrivals;
mod backlog;
mod commands;
mod door;
mod drain;
mod end_to_end;
mod growth;
mod http;
mod kafka;
mod outage;
mod partition;
mod processors;
mod queues;
mod reference;
mod report;
mod secured;
mod workload;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sqlx::PgPool;

use self::door::Door;
use self::http::closed;
use self::report::Figure;
use self::workload::Creates;
use crate::local::{Home, down};
use crate::place;
use crate::say;
use crate::servers::{Kafka, ServiceSettings};
use crate::site::Site;

/// Of the generator, wherever a row does not say otherwise.
const CONNECTIONS: usize = 64;
/// Java's compiler is mostly done by then.
const WARM_UP: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Settings {
    /// Only this row.
    #[arg(long, env = "ROW", value_parser = clap::value_parser!(u8).range(1..=11))]
    pub row: Option<u8>,
    /// How often each figure and its reference are measured.
    #[arg(long, env = "ROUNDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    /// Seconds of each measurement of throughput.
    #[arg(long, env = "SECONDS_EACH", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
}

/// Segments of 16 MiB of Postgres' write-ahead log: its size from the beginning, which none of the rows outgrows.
const LOG_SEGMENTS: usize = 144;

/// What every row needs to know.
struct Bench {
    directory: PathBuf,
    rounds: u16,
    seconds: u64,
}

/// True if every target was met.
pub async fn bench(home: Home, settings: Settings, file: &Path) -> Result<bool> {
    let _lock = home.lock()?;
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let bench =
        Bench { directory: home.directory.clone(), rounds: settings.rounds, seconds: settings.seconds };
    let document = place::repository().join("docs/benchmarks.md");
    let mut met = true;
    for row in settings.row.map_or(1..=11, |row| row..=row) {
        let begun = Instant::now();
        say::title(format_args!("Row {row}"));
        let figures = bench.row(row).await?;
        say::line(format_args!("row {row} took {}", say::seconds(begun.elapsed())));
        met = report::write(file, &document, figures)?;
        home.wipe()?;
    }
    say::put(format_args!("\nbench: {}", if met { "every target met" } else { "targets missed" }));
    Ok(met)
}

impl Bench {
    async fn row(&self, row: u8) -> Result<Vec<Figure>> {
        match row {
            1 => commands::creates(self).await,
            2 => commands::life_cycles(self).await,
            3 => outage::outage(self, &place::repository().join("docs/outage.svg")).await,
            4 => drain::drain(self).await,
            5 => end_to_end::end_to_end(self).await,
            6 => end_to_end::consumer(self).await,
            7 => growth::growth(self).await,
            8 => growth::memory(self).await,
            9 => activation::activation(self).await,
            10 => partition::partition(self).await,
            11 => queues::queues(self).await,
            _ => bail!("there is no row {row}"),
        }
    }

    fn directory(&self, row: u8) -> PathBuf {
        self.directory.join(format!("row-{row}"))
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Servers of this row's own.
    fn site(&self, row: u8, services: usize, variables: &[(&str, &str)]) -> Result<Site> {
        let mut settings = ServiceSettings::orders()?;
        for (variable, value) in variables {
            settings = settings.with(variable, *value);
        }
        Site::start(&self.directory(row), services, &settings)
    }

    /// A site whose broker is compiled fully, with one service, warmed up as servers in production are. For rows that do not restart the
    /// broker.
    async fn warm_site(&self, row: u8) -> Result<Site> {
        let directory = self.directory(row);
        let kafka = tokio::task::block_in_place(|| Kafka::start_for_long(&directory))?;
        let site = Site::start_with(kafka, &directory, 1, &ServiceSettings::orders()?)?;
        warm_up(&site, site.host(0)?).await?;
        Ok(site)
    }

    /// A line of progress: the last value and its reference.
    fn say(&self, row: u8, round: u16, what: &str, values: &[f64], references: &[f64]) {
        let last = |values: &[f64]| values.last().map(|value| format!("{value:.1}")).unwrap_or_default();
        say::line(format_args!(
            "row {row}, round {round} of {}: {what}: {} beside {}",
            self.rounds,
            last(values),
            last(references)
        ));
    }
}

async fn warm_up(site: &Site, door: impl Into<Door>) -> Result<()> {
    age(&site.database).await?;
    closed(door, CONNECTIONS, WARM_UP, Creates::new).await?;
    Ok(())
}

/// Makes Postgres' write-ahead log what it is after a while. Of a young one each segment is filled with zeros when it is first needed, and
/// commits wait for that, some of them for 0.1 s; later on, segments are used again.
async fn age(database: &PgPool) -> Result<()> {
    let settings = ["ALTER SYSTEM SET min_wal_size = '2304MB'", "ALTER SYSTEM SET max_wal_size = '2304MB'"];
    for statement in settings.into_iter().chain(["SELECT pg_reload_conf()"]) {
        sqlx::query(statement).execute(database).await?;
    }
    for _ in 0..LOG_SEGMENTS {
        sqlx::query("SELECT pg_logical_emit_message(false, 'bench', 'one more segment')")
            .execute(database)
            .await?;
        sqlx::query("SELECT pg_switch_wal()").execute(database).await?;
    }
    sqlx::query("CHECKPOINT").execute(database).await?;
    Ok(())
}
