//! Row 3: what users notice of an outage, by the latency of their commands.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::unistd::syncfs;
use plotters::prelude::*;

use super::http::{Sample, closed, histogram, open};
use super::processors::Processors;
use super::report::{Figure, Target, median};
use super::workload::Creates;
use super::{Bench, CONNECTIONS, age};
use crate::servers::{Kafka, ServiceSettings};
use crate::site::Site;

const LASTS: Duration = Duration::from_secs(60);
const BEGINS: Duration = Duration::from_secs(20);
const ENDS: Duration = Duration::from_secs(40);
const WRITE_BACK_EVERY: Duration = Duration::from_secs(1);
const BACKLOG_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    KafkaUp,
    KafkaKilled,
    KafkaFrozen,
    RedisKilled,
}

impl Scenario {
    const ALL: [Self; 4] = [Self::KafkaUp, Self::KafkaKilled, Self::KafkaFrozen, Self::RedisKilled];

    fn name(self) -> &'static str {
        match self {
            Self::KafkaUp => "Kafka up",
            Self::KafkaKilled => "Kafka killed",
            Self::KafkaFrozen => "Kafka frozen",
            Self::RedisKilled => "Redis killed",
        }
    }

    fn begin(self, site: &Site) -> Result<()> {
        match self {
            Self::KafkaUp => Ok(()),
            Self::KafkaKilled => site.kafka.kill(),
            Self::KafkaFrozen => site.kafka.freeze(),
            Self::RedisKilled => site.redis.kill(),
        }
    }

    fn end(self, site: &Site) -> Result<()> {
        match self {
            Self::KafkaUp => Ok(()),
            Self::KafkaKilled => site.kafka.launch(),
            Self::KafkaFrozen => site.kafka.thaw(),
            Self::RedisKilled => site.redis.launch(),
        }
    }
}

/// Events waiting at a time since the beginning.
type Backlog = Vec<(Duration, i64)>;

pub(super) async fn outage(bench: &Bench, plot_file: &Path) -> Result<Vec<Figure>> {
    let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    let mut measured = Scenario::ALL.map(|_| quantiles.map(|_| Vec::new()));
    let mut processors = Processors::of(&[])?;
    for round in 1..=bench.rounds {
        let (site, rate) = fresh(bench).await?;
        // Each has been the first on the young table.
        let turn = usize::from(round - 1) % Scenario::ALL.len();
        let mut scenarios: Vec<_> = Scenario::ALL.into_iter().zip(&mut measured).collect();
        scenarios.rotate_left(turn);
        for (scenario, of_scenario) in scenarios {
            let minute = play(&site, scenario, rate);
            let (samples, backlog) = match scenario {
                Scenario::KafkaUp => processors.watch(minute, |(samples, _)| samples.len() as f64).await?,
                _ => minute.await?,
            };
            if scenario == Scenario::KafkaKilled {
                plot(plot_file, &samples, &backlog)
                    .map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
            }
            let latencies = histogram(samples)?;
            for ((_, quantile), values) in quantiles.iter().zip(of_scenario.iter_mut()) {
                values.push(latencies.value_at_quantile(*quantile) as f64 / 1_000.0);
            }
            let [_, p99, _] = &*of_scenario;
            bench.say(3, round, &format!("{}, p99 at {rate:.0}/s, ms", scenario.name()), p99, &[]);
            site.cursor_reaches(site.head().await?).await?;
        }
    }
    let [up, ..] = &measured;
    let mut figures = Vec::new();
    for (scenario, of_scenario) in Scenario::ALL.into_iter().zip(&measured) {
        for ((quantile, values), reference) in
            quantiles.iter().map(|(name, _)| *name).zip(of_scenario).zip(up)
        {
            let name = format!("{}, {quantile} at half the rate", scenario.name());
            let (against, target) = match scenario {
                Scenario::KafkaUp => (("", [].as_slice()), Target::Shown),
                _ if quantile == "p99" => (("Kafka up", reference.as_slice()), Target::RatioAtMost(1.1)),
                _ => (("Kafka up", reference.as_slice()), Target::Shown),
            };
            figures.push(Figure::of(3, name, "ms", values, against, target));
        }
    }
    figures.extend(processors.figures(3, "a create at half the rate", None));
    Ok(figures)
}

/// Servers of this round's own, so that no round runs on the tables of those before it; and half of what they can do.
async fn fresh(bench: &Bench) -> Result<(Site, f64)> {
    let directory = bench.directory(3);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let kafka = tokio::task::block_in_place(|| Kafka::start_behind(&directory))?;
    let site = Site::start_with(kafka, &directory, 1, &ServiceSettings::orders()?)?;
    age(&site.database).await?;
    let mut full = Vec::new();
    for _ in 0..3 {
        full.push(closed(site.host(0)?, CONNECTIONS, bench.seconds(), Creates::new).await?.per_second());
    }
    site.cursor_reaches(site.head().await?).await?;
    Ok((site, median(&full) / 2.0))
}

/// A minute of commands, of which the middle third is the outage.
async fn play(site: &Site, scenario: Scenario, rate: f64) -> Result<(Vec<Sample>, Backlog)> {
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&site.database).await?;
    let data = Arc::new(File::open(data)?);
    write_back(&data).await?;
    let begun = Instant::now();
    let write_back_often = async {
        loop {
            tokio::time::sleep(WRITE_BACK_EVERY).await;
            if let Err(error) = write_back(&data).await {
                return error;
            }
        }
    };
    let fault = async {
        tokio::time::sleep_until((begun + BEGINS).into()).await;
        tokio::task::block_in_place(|| scenario.begin(site))?;
        tokio::time::sleep_until((begun + ENDS).into()).await;
        tokio::task::block_in_place(|| scenario.end(site))
    };
    let watch = async {
        let mut backlog = Backlog::new();
        while begun.elapsed() < LASTS {
            backlog.push((begun.elapsed(), site.head().await? - site.cursor().await?));
            tokio::time::sleep(BACKLOG_EVERY).await;
        }
        anyhow::Ok(backlog)
    };
    let load = open(site.host(0)?, CONNECTIONS, rate, LASTS, Creates::new);
    let minute = async { tokio::try_join!(load, fault, watch) };
    let (samples, (), backlog) = tokio::select! {
        done = minute => done?,
        error = write_back_often => return Err(error),
    };
    Ok((samples, backlog))
}

/// Has the kernel write what is dirty now. Left alone it writes half a gigabyte at one go every 30 s, and commits wait 0.2 s behind it; on
/// a database's machine one sets `vm.dirty_background_bytes`.
async fn write_back(data: &Arc<File>) -> Result<()> {
    let data = Arc::clone(data);
    Ok(tokio::task::spawn_blocking(move || syncfs(&*data)).await??)
}

/// Latency and backlog over time, one below the other.
fn plot(file: &Path, samples: &[Sample], backlog: &Backlog) -> Result<(), Box<dyn std::error::Error>> {
    let seconds = LASTS.as_secs();
    let mut p50 = Vec::new();
    let mut p99 = Vec::new();
    for second in 0..seconds {
        let latencies = histogram(samples.iter().copied().filter(|sample| sample.at.as_secs() == second))?;
        p50.push((second as f64 + 0.5, latencies.value_at_quantile(0.5) as f64 / 1_000.0));
        p99.push((second as f64 + 0.5, latencies.value_at_quantile(0.99) as f64 / 1_000.0));
    }
    let slowest = p99.iter().map(|(_, ms)| *ms).fold(1.0, f64::max);
    let most = backlog.iter().map(|(_, events)| *events).max().unwrap_or(1).max(1);
    let area = SVGBackend::new(file, (900, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(260);
    let grey = RGBColor(235, 235, 235);
    let time = 0.0..seconds as f64;
    let (begins, ends) = (BEGINS.as_secs_f64(), ENDS.as_secs_f64());

    let mut latency = ChartBuilder::on(&above)
        .caption("Latency of commands; Kafka is dead in the grey", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(25)
        .y_label_area_size(60)
        .build_cartesian_2d(time.clone(), 0.0..slowest * 1.2)?;
    latency.draw_series([Rectangle::new([(begins, 0.0), (ends, slowest * 1.2)], grey.filled())])?;
    latency.configure_mesh().disable_x_mesh().y_desc("ms").x_labels(7).draw()?;
    latency
        .draw_series(LineSeries::new(p99, RED.stroke_width(2)))?
        .label("p99 of each second")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
    latency
        .draw_series(LineSeries::new(p50, BLUE.stroke_width(2)))?
        .label("p50 of each second")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLUE));
    latency.configure_series_labels().background_style(WHITE.filled()).border_style(BLACK).draw()?;

    let most = most as f64 * 1.1;
    let mut waiting = ChartBuilder::on(&below)
        .caption("Pending events", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(60)
        .build_cartesian_2d(time, 0.0..most)?;
    waiting.draw_series([Rectangle::new([(begins, 0.0), (ends, most)], grey.filled())])?;
    waiting.configure_mesh().disable_x_mesh().x_desc("seconds").x_labels(7).draw()?;
    let points = backlog.iter().map(|(at, events)| (at.as_secs_f64(), *events as f64));
    waiting.draw_series(LineSeries::new(points, BLACK.stroke_width(2)))?;
    area.present()?;
    Ok(())
}
