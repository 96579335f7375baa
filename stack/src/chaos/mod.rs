//! `stack chaos`: random faults everywhere, several at once, under load; then everything heals, and a checker that shares
//! nothing with the services compares what clients were told with what there is.
//!
//! By default there is one server of each kind. `FAILOVERS=1` gives Postgres a synchronous standby, Kafka three brokers, and the
//! nemesis more to choose from: failovers, rolling restarts, abandoned connections, slow links, quotas, full disks. Between storms
//! it drills: one fault by itself, so that recovery can be told apart by the kind of fault. One drill deletes the topic.

mod check;
mod cluster;
mod drill;
mod evidence;
mod facts;
mod load;
mod plan;
mod plant;
mod publication;
mod pulse;
mod report;
mod step;
mod storm;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join_all};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use self::check::check;
use self::cluster::Cluster;
use self::drill::Drill;
use self::facts::{Kind, Violation};
use self::load::{Client, Told};
use self::plan::{Stage, Target};
use self::plant::plant_all;
use self::publication::lost;
use self::report::{Report, by_promise};
use self::storm::storm;
use crate::local::{Home, down};
use crate::machine::Machine;
use crate::say;
use crate::servers::SmallDisk;
use crate::servers::kafka::Distribution;

/// Longer, and it counts as stuck.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Of a run of more than ten minutes.
const PROGRESS_EVERY_LONG: Duration = Duration::from_secs(30);

/// What a run is made of.
#[derive(Debug, Clone, Copy, clap::Args)]
// The command has the same name, and groups must differ: a debug build insists on it.
#[group(skip)]
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
    /// Longest pause of a client between two commands, in milliseconds; by default 40, or 200 with failovers, which are for long runs.
    #[arg(long, env = "PAUSE")]
    pub pause: Option<u64>,
    /// A standby of Postgres, three brokers, and what befalls such.
    #[arg(long, env = "FAILOVERS", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0..=1,
          default_missing_value = "1", default_value = "0", require_equals = true)]
    pub failovers: bool,
}

impl Chaos {
    fn stage(self) -> Stage {
        if !self.failovers {
            return Stage { brokers: 1, failovers: false, small_disk: false };
        }
        let unavailable = SmallDisk::unavailable();
        if let Some(reason) = unavailable {
            say::note(format_args!("no disk is filled: {reason}"));
        }
        Stage { brokers: 3, failovers: true, small_disk: unavailable.is_none() }
    }

    fn pause(self) -> Duration {
        Duration::from_millis(self.pause.unwrap_or(if self.failovers { 200 } else { 40 }))
    }
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
    let stage = settings.stage();
    let cluster = Cluster::start(&home.directory, stage).await?;
    let database = cluster.pool()?;
    let (orders, bonuses, brokers) = (plan::ORDERS, plan::BONUSES, stage.brokers);
    let standby = if stage.failovers { " with a synchronous standby" } else { "" };
    say::line(format_args!(
        "{label} ({brokers}), Postgres{standby}, Redis, {orders} order services, {bonuses} bonus services"
    ));

    say::title("Load and faults");
    let told = Arc::new(Told::default());
    let begun = Instant::now();
    let clients = clients(settings, &cluster, &told)?;
    let every = if settings.duration > 600 { PROGRESS_EVERY_LONG } else { PROGRESS_EVERY };
    let progress =
        tokio::spawn(progress(Arc::clone(&cluster), database.clone(), Arc::clone(&told), begun, every));
    let weather = storms(settings, &cluster, &database, &told, begun).await;
    told.enough.store(true, Ordering::Relaxed);
    let ended = join_all(clients).await;
    progress.abort();
    let mut weather = weather?;
    for client in ended {
        client.context("a client panicked")?;
    }
    weather.load = begun.elapsed();

    say::title("Check");
    let report = judge(settings, &cluster, &database, &told, weather, started_at, label).await?;
    report.write(file)?;
    report.print();
    say::line(format_args!("as JSON: {}", file.display()));
    Ok(report)
}

/// What clients were told, compared with what there is.
async fn judge(
    settings: Chaos,
    cluster: &Arc<Cluster>,
    database: &PgPool,
    told: &Told,
    weather: Weather,
    started_at: DateTime<Utc>,
    kafka: String,
) -> Result<Report> {
    let (acknowledged, refused, mut violations) = told.take();
    let evidence = evidence::gather(cluster, database, acknowledged, refused).await?;
    violations.extend(weather.stuck);
    violations.extend(check(&evidence));
    let (planted, plants_missed) = plant_all(&evidence);
    let distinct: HashSet<&str> = evidence.messages().map(|message| message.event_id.as_str()).collect();
    Ok(Report {
        pass: violations.is_empty() && plants_missed.is_empty(),
        seed: settings.seed.0,
        intensity: settings.intensity,
        clients: settings.clients,
        started_at,
        load_seconds: weather.load.as_secs_f64(),
        kafka,
        machine: Machine::look(),
        commands_acknowledged: told.commands.load(Ordering::Relaxed),
        commands_refused: evidence.refused.len(),
        requests_repeated: told.repeated.load(Ordering::Relaxed),
        answers_replayed: told.replayed.load(Ordering::Relaxed),
        events: evidence.log.len(),
        duplicates_delivered: evidence.messages().count() - distinct.len(),
        topics_remade: evidence.former.len(),
        lost_with_a_topic: lost(&evidence),
        storms: weather.storms,
        faults: weather.faults.values().sum(),
        faults_by_kind: weather.faults,
        ended_by_themselves: weather.ended,
        recovery_seconds: weather.recoveries,
        postgres_failovers: cluster.failovers().0,
        broker_failovers: cluster.failovers().1,
        by_fault: drill::summaries(&weather.drills),
        planned_failovers_by_second: drill::planned(&weather.drills),
        planted,
        plants_missed,
        by_promise: by_promise(&violations),
        violations: violations.iter().map(Violation::to_string).collect(),
    })
}

fn clients(settings: Chaos, cluster: &Cluster, told: &Arc<Told>) -> Result<Vec<JoinHandle<()>>> {
    let instances = Arc::new(cluster.orders_urls());
    let client = |number| {
        let client = Client::new(settings.seed.0, number, Arc::clone(&instances), Arc::clone(told))?;
        Ok(tokio::spawn(client.run(settings.pause())))
    };
    (0..settings.clients).map(client).collect()
}

/// What the storms came to.
#[derive(Default)]
struct Weather {
    load: Duration,
    storms: u64,
    faults: BTreeMap<String, usize>,
    ended: Vec<String>,
    recoveries: Vec<f64>,
    drills: Vec<Drill>,
    stuck: Vec<Violation>,
}

/// Storm after storm; after each, everything must recover by itself while the load goes on. Between two, one drill.
async fn storms(
    settings: Chaos,
    cluster: &Arc<Cluster>,
    database: &PgPool,
    told: &Told,
    begun: Instant,
) -> Result<Weather> {
    let mut weather = Weather::default();
    let mut drills = cluster.stage().drills(settings.seed.0).into_iter().cycle();
    while begun.elapsed() < Duration::from_secs(settings.duration) {
        let faults = storm(cluster.stage(), settings.seed.0, weather.storms, settings.intensity.into());
        for fault in &faults {
            *weather.faults.entry(fault.name()).or_default() += 1;
        }
        let beginning = Instant::now();
        try_join_all(faults.into_iter().map(async |fault| {
            tokio::time::sleep_until((beginning + fault.at).into()).await;
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
        if let Some(fault) = drills.next() {
            *weather.faults.entry(fault.name()).or_default() += 1;
            let (drill, stuck) = drill::drill(cluster, database, told, fault).await?;
            weather.drills.push(drill);
            weather.stuck.extend(stuck);
            weather.ended.extend(cluster.ready().await?.iter().map(Target::to_string));
        }
    }
    Ok(weather)
}

async fn progress(cluster: Arc<Cluster>, database: PgPool, told: Arc<Told>, begun: Instant, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox_message");
        let waiting = tokio::time::timeout(Duration::from_secs(1), waiting.fetch_one(&database)).await;
        let waiting = match waiting {
            Ok(Ok(waiting)) => waiting.to_string(),
            _ => "?".to_owned(),
        };
        let failovers = match (cluster.stage().failovers, cluster.failovers()) {
            (true, (postgres, brokers)) => {
                format!("   failovers: {postgres} of Postgres, {brokers} of brokers")
            }
            (false, _) => String::new(),
        };
        say::line(format_args!(
            "{:>5} s   {:>8} commands   {:>6} sent again   {:>6} events waiting   {} faults at this moment{failovers}",
            begun.elapsed().as_secs(),
            told.commands.load(Ordering::Relaxed),
            told.repeated.load(Ordering::Relaxed),
            waiting,
            cluster.faults(),
        ));
    }
}
