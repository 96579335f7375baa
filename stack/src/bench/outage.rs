//! Row 3: what users notice of an outage, by the latency of their commands.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::http::{Sample, closed, histogram, open};
use super::report::{Figure, Target, median};
use super::workload::Creates;
use super::{Bench, CONNECTIONS, age};
use crate::site::Site;

const LASTS: Duration = Duration::from_secs(60);
const BEGINS: Duration = Duration::from_secs(20);
const ENDS: Duration = Duration::from_secs(40);
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
    let site = bench.site(3, 1, &[])?;
    let host = site.host(0)?;
    age(&site.database).await?;
    let mut full = Vec::new();
    for _ in 0..3 {
        full.push(closed(host, CONNECTIONS, bench.seconds(), Creates::new).await?.per_second());
    }
    let rate = median(&full) / 2.0;
    site.cursor_reaches(site.head().await?).await?;
    let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    let mut measured = Scenario::ALL.map(|_| quantiles.map(|_| Vec::new()));
    for round in 1..=bench.rounds {
        for (scenario, of_scenario) in Scenario::ALL.into_iter().zip(&mut measured) {
            let (samples, backlog) = play(&site, scenario, rate).await?;
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
    Ok(figures)
}

/// A minute of commands, of which the middle third is the outage.
async fn play(site: &Site, scenario: Scenario, rate: f64) -> Result<(Vec<Sample>, Backlog)> {
    let begun = Instant::now();
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
    let (samples, (), backlog) = tokio::try_join!(load, fault, watch)?;
    Ok((samples, backlog))
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
        .caption("Events that wait for Kafka", ("sans-serif", 18))
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
