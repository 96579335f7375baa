//! `stack chaos`: random faults everywhere, several at once, under load; then everything heals, and a checker that shares
//! nothing with the services compares what clients were told with what there is.

mod check;
mod cluster;
mod evidence;
mod load;
mod plan;
mod plant;
mod report;
mod step;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::Utc;
use futures_util::future::{join_all, try_join_all};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;

use self::check::{Kind, Violation, check};
use self::cluster::Cluster;
use self::load::{Client, Told};
use self::plan::Target;
use self::plant::plant_all;
use self::report::{Report, by_promise};
use crate::local::{Home, down};
use crate::machine::Machine;
use crate::say;
use crate::servers::kafka::Distribution;

/// Longer, and it counts as stuck.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What a run is made of.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Chaos {
    /// Which storms and which clients; by default another one each time.
    #[arg(long, env = "SEED", value_parser = parse_seed, default_value = "")]
    pub seed: Seed,
    /// Seconds of load; the storm that has begun then is the last one.
    #[arg(long, env = "DURATION", default_value_t = 120)]
    pub duration: u64,
    /// Faults at a time, 1 to 6.
    #[arg(long, env = "INTENSITY", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=6))]
    pub intensity: u8,
    /// Clients at a time.
    #[arg(long, env = "CLIENTS", default_value_t = 24)]
    pub clients: u64,
    /// Longest pause of a client between two commands, in milliseconds.
    #[arg(long, env = "PAUSE", default_value_t = 40)]
    pub pause: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Seed(pub u64);

fn parse_seed(text: &str) -> Result<Seed, std::num::ParseIntError> {
    if text.is_empty() {
        return Ok(Seed(rand::random::<u32>().into()));
    }
    text.parse().map(Seed)
}

/// Says `chaos: PASS …` or `chaos: FAIL …` as the last line; true if no promise was broken.
pub async fn chaos(home: Home, settings: Chaos, file: &Path) -> bool {
    say::line(format_args!("seed {}", settings.seed.0));
    let (verdict, pass) = match play(home, settings, file).await {
        Ok(report) => (report.verdict(), report.pass),
        Err(error) => (format!("chaos: FAIL seed={}: {error:#}", settings.seed.0), false),
    };
    say::put(format_args!("\n{}", verdict.replace('\n', " | ")));
    pass
}

async fn play(home: Home, settings: Chaos, file: &Path) -> Result<Report> {
    let _lock = home.lock()?;
    let kafka = Distribution::apache().context("chaos needs Apache Kafka")?;
    let label = kafka.label();
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let started_at = Utc::now();
    say::title("Start");
    let cluster = Cluster::start(&home.directory, kafka).await?;
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(30));
    let database = pool.connect_lazy(&cluster.postgres.url())?;
    let (orders, bonuses) = (plan::ORDERS, plan::BONUSES);
    say::line(format_args!("{label}, Postgres, Redis, {orders} order services, {bonuses} bonus services"));

    say::title("Load and faults");
    let told = Arc::new(Told::default());
    let begun = Instant::now();
    let clients = clients(settings, &cluster, &told)?;
    let progress = tokio::spawn(progress(Arc::clone(&cluster), database.clone(), Arc::clone(&told), begun));
    let weather = storms(settings, &cluster, &database, begun).await;
    told.enough.store(true, Ordering::Relaxed);
    let ended = join_all(clients).await;
    progress.abort();
    let weather = weather?;
    for client in ended {
        client.context("a client panicked")?;
    }
    let load_seconds = begun.elapsed().as_secs_f64();

    say::title("Check");
    let (acknowledged, refused, mut violations) = told.take();
    let evidence = evidence::gather(&cluster, &database, acknowledged, refused).await?;
    violations.extend(weather.stuck);
    violations.extend(check(&evidence));
    let (planted, plants_missed) = plant_all(&evidence);
    let distinct: HashSet<&str> = evidence.topic.iter().map(|message| message.event_id.as_str()).collect();
    let report = Report {
        pass: violations.is_empty() && plants_missed.is_empty(),
        seed: settings.seed.0,
        intensity: settings.intensity,
        clients: settings.clients,
        started_at,
        load_seconds,
        kafka: label,
        machine: Machine::look(),
        commands_acknowledged: told.commands.load(Ordering::Relaxed),
        commands_refused: evidence.refused.len(),
        requests_repeated: told.repeated.load(Ordering::Relaxed),
        answers_replayed: told.replayed.load(Ordering::Relaxed),
        events: evidence.log.len(),
        duplicates_delivered: evidence.topic.len() - distinct.len(),
        storms: weather.storms,
        faults: weather.faults.values().sum(),
        faults_by_kind: weather.faults,
        ended_by_themselves: weather.ended,
        recovery_seconds: weather.recoveries,
        planted,
        plants_missed,
        by_promise: by_promise(&violations),
        violations: violations.iter().map(Violation::to_string).collect(),
    };
    report.write(file)?;
    report.print();
    say::line(format_args!("as JSON: {}", file.display()));
    Ok(report)
}

fn clients(settings: Chaos, cluster: &Cluster, told: &Arc<Told>) -> Result<Vec<JoinHandle<()>>> {
    let instances = Arc::new(cluster.orders_urls());
    let client = |number| {
        let client = Client::new(settings.seed.0, number, Arc::clone(&instances), Arc::clone(told))?;
        Ok(tokio::spawn(client.run(Duration::from_millis(settings.pause))))
    };
    (0..settings.clients).map(client).collect()
}

/// What the storms came to.
#[derive(Default)]
struct Weather {
    storms: u64,
    faults: BTreeMap<String, usize>,
    ended: Vec<String>,
    recoveries: Vec<f64>,
    stuck: Vec<Violation>,
}

/// Storm after storm; after each, everything must recover by itself while the load goes on.
async fn storms(
    settings: Chaos,
    cluster: &Arc<Cluster>,
    database: &PgPool,
    begun: Instant,
) -> Result<Weather> {
    let mut weather = Weather::default();
    while begun.elapsed() < Duration::from_secs(settings.duration) {
        let faults = plan::storm(settings.seed.0, weather.storms, settings.intensity.into());
        for fault in &faults {
            *weather.faults.entry(fault.kind.to_string()).or_default() += 1;
        }
        let storm = Instant::now();
        try_join_all(faults.into_iter().map(async |fault| {
            tokio::time::sleep_until((storm + fault.at).into()).await;
            cluster.suffer(fault).await
        }))
        .await?;
        weather.storms += 1;
        let ended = cluster.ready().await?;
        weather.ended.extend(ended.iter().map(Target::to_string));
        match cluster.caught_up(database, RECOVERY_MAX).await? {
            Some(took) => weather.recoveries.push(took.as_secs_f64()),
            None => {
                let text = format!("storm {}: no recovery within {RECOVERY_MAX:?}", weather.storms);
                weather.stuck.push(Violation::new(Kind::NotCaughtUp, text));
            }
        }
    }
    Ok(weather)
}

async fn progress(cluster: Arc<Cluster>, database: PgPool, told: Arc<Told>, begun: Instant) {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox_message");
        let waiting = tokio::time::timeout(Duration::from_secs(1), waiting.fetch_one(&database)).await;
        let waiting = match waiting {
            Ok(Ok(waiting)) => waiting.to_string(),
            _ => "?".to_owned(),
        };
        say::line(format_args!(
            "{:>5} s   {:>8} commands   {:>6} sent again   {:>6} events waiting   {} faults at this moment",
            begun.elapsed().as_secs(),
            told.commands.load(Ordering::Relaxed),
            told.repeated.load(Ordering::Relaxed),
            waiting,
            cluster.faults(),
        ));
    }
}
