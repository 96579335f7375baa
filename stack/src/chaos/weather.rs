//! Storm after storm, and how far the run is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use sqlx::PgPool;

use super::RECOVERY_MAX;
use super::cluster::Cluster;
use super::drill::{self, Drill};
use super::facts::{Kind, Violation};
use super::plan::Target;
use super::settings::Chaos;
use super::storm::storm;
use super::told::Told;
use crate::local::Mq;
use crate::say;

/// What the storms came to.
#[derive(Default)]
pub(super) struct Weather {
    pub(super) load: Duration,
    pub(super) storms: u64,
    pub(super) faults: BTreeMap<String, usize>,
    pub(super) ended: Vec<String>,
    pub(super) recoveries: Vec<f64>,
    pub(super) drills: Vec<Drill>,
    pub(super) stuck: Vec<Violation>,
}

/// Storm after storm; after each, everything must recover by itself while the load goes on. Between two, one drill.
pub(super) async fn storms(
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

pub(super) async fn progress(
    cluster: Arc<Cluster>,
    database: PgPool,
    told: Arc<Told>,
    begun: Instant,
    every: Duration,
) {
    loop {
        tokio::time::sleep(every).await;
        let waiting = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox_message");
        let waiting = tokio::time::timeout(Duration::from_secs(1), waiting.fetch_one(&database)).await;
        let waiting = match waiting {
            Ok(Ok(waiting)) => waiting.to_string(),
            _ => "?".to_owned(),
        };
        let stage = cluster.stage();
        let failovers = if stage.failovers || stage.mq == Mq::Redis {
            format!("   failovers: {}", cluster.failovers())
        } else {
            String::new()
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
