//! `stack chaos`: random faults everywhere, several at once, under load; then everything heals, and a checker that shares
//! nothing with the services compares what clients were told with what there is.
//!
//! By default there is one server of each kind. `FAILOVERS=1` gives Postgres a synchronous standby, Kafka three brokers, and the
//! nemesis more to choose from: failovers, rolling restarts, abandoned connections, slow links, quotas, full disks. Between storms
//! it drills: one fault by itself, so that recovery can be told apart by the kind of fault. One drill deletes the topic.
//!
//! With `MQ=redis` Redis Streams are the message queue, and there is no Kafka. Redis loses its data, or the end of them, again and again.

mod check;
mod cluster;
mod drill;
mod drills;
mod evidence;
mod facts;
mod history;
mod ledger;
mod load;
mod plan;
mod plant;
mod plants;
mod publication;
mod pulse;
mod report;
mod settings;
mod standing;
mod standing_plants;
mod step;
mod storm;
mod told;
mod weather;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use self::check::check;
use self::cluster::Cluster;
use self::evidence::Gathered;
use self::facts::Violation;
use self::load::Client;
use self::plant::plant_all;
use self::publication::{late, repeated};
use self::report::{Report, by_promise};
pub use self::settings::{Chaos, Seed};
use self::told::Told;
use self::weather::{Weather, progress, storms};
use crate::local::{Home, Mq, down};
use crate::machine::Machine;
use crate::say;
use crate::servers::kafka::Distribution;

/// Longer, and it counts as stuck.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Of a run of more than ten minutes.
const PROGRESS_EVERY_LONG: Duration = Duration::from_secs(30);

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
    let stage = settings.stage()?;
    let kafka = match stage.mq {
        Mq::Kafka => Some(Distribution::apache().context("chaos needs Apache Kafka, or MQ=redis")?.label()),
        Mq::Redis => None,
    };
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let started_at = Utc::now();
    say::title("Start");
    let cluster = Cluster::start(&home.directory, stage).await?;
    let database = cluster.pool()?;
    let (orders, bonuses, brokers) = (plan::ORDERS, plan::BONUSES, stage.brokers);
    let standby = if stage.failovers { " with a synchronous standby" } else { "" };
    let queue = match kafka {
        Some(kafka) => kafka,
        None => cluster.redis_label().await?,
    };
    let with = if stage.mq == Mq::Kafka { format!(" ({brokers}), Redis") } else { String::new() };
    let links = if stage.secure { "; every link encrypted, logins and tokens asked for" } else { "" };
    say::line(format_args!(
        "{queue}{with}, Postgres{standby}, {orders} order services, {bonuses} bonus services{links}"
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
    let report = judge(settings, &cluster, &database, &told, weather, started_at, queue).await?;
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
    message_queue: String,
) -> Result<Report> {
    let (acknowledged, refused, mut violations) = told.take();
    let Gathered { evidence, lost_entries } =
        evidence::gather(cluster, database, acknowledged, refused).await?;
    violations.extend(weather.stuck);
    violations.extend(check(&evidence));
    let planting = plant_all(&evidence);
    Ok(Report {
        pass: violations.is_empty() && planting.missed.is_empty(),
        seed: settings.seed.0,
        intensity: settings.intensity,
        clients: settings.clients,
        started_at,
        load_seconds: weather.load.as_secs_f64(),
        message_queue,
        machine: Machine::look(),
        commands_acknowledged: told.commands.load(Ordering::Relaxed),
        commands_refused: evidence.refused.len(),
        requests_repeated: told.repeated.load(Ordering::Relaxed),
        answers_replayed: told.replayed.load(Ordering::Relaxed),
        events: evidence.log.len(),
        duplicates_delivered: repeated(&evidence),
        standing_changes: evidence.changes.stored.len(),
        topics_lost: evidence.former.len(),
        lost_entries,
        late_events: late(&evidence),
        storms: weather.storms,
        faults: weather.faults.values().sum(),
        faults_by_kind: weather.faults,
        ended_by_themselves: weather.ended,
        recovery_seconds: weather.recoveries,
        failovers: cluster.failovers(),
        by_fault: drill::summaries(&weather.drills),
        planned_failovers_by_second: drill::planned(&weather.drills),
        planted: planting.planted,
        plants_missed: planting.missed,
        plants_left_out: planting.left_out,
        by_promise: by_promise(&violations),
        violations: violations.iter().map(Violation::to_string).collect(),
    })
}

fn clients(settings: Chaos, cluster: &Cluster, told: &Arc<Told>) -> Result<Vec<JoinHandle<()>>> {
    let (instances, callers) = (Arc::new(cluster.orders_urls()), cluster.callers()?);
    let client = |number| {
        let instances = Arc::clone(&instances);
        let client = Client::new(settings.seed.0, number, callers.clone(), instances, Arc::clone(told))?;
        Ok(tokio::spawn(client.run(settings.pause())))
    };
    (0..settings.clients).map(client).collect()
}
