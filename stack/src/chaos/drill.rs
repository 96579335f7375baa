//! One fault by itself, while the load goes on: what its users notice of it, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use sqlx::PgPool;

use super::RECOVERY_MAX;
use super::cluster::Cluster;
use super::facts::{Kind, Violation};
use super::plan::{self, Fault, Primary};
use super::pulse::{Beat, together};
use super::told::Told;

const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What one fault came to.
#[derive(Debug)]
pub(super) struct Drill {
    fault: Fault,
    /// The longest time without any acknowledged command, from the fault's beginning on.
    commands_gap: Duration,
    /// From the fault's end, or a failover's, until all services are ready, a command is acknowledged, and all that was committed by
    /// then is delivered.
    recovery: Duration,
    seconds: Vec<Beat>,
}

/// Lets the fault happen; a recovery that does not come is a violation.
pub(super) async fn drill(
    cluster: &Arc<Cluster>,
    database: &PgPool,
    told: &Told,
    fault: Fault,
) -> Result<(Drill, Option<Violation>)> {
    let begun = Instant::now();
    let recovered = cluster
        .suffer_then(fault, async {
            let (healed, acknowledged) = (Instant::now(), told.commands.load(Ordering::Relaxed));
            let (ready, delivered) =
                tokio::join!(cluster.services_ready(), cluster.caught_up(database, RECOVERY_MAX));
            ready?;
            while told.commands.load(Ordering::Relaxed) == acknowledged && healed.elapsed() < RECOVERY_MAX {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            Ok(delivered?.map(|_| healed.elapsed()).filter(|took| *took < RECOVERY_MAX))
        })
        .await?;
    let stuck = recovered.is_none().then(|| {
        let text = format!("{}: no recovery within {RECOVERY_MAX:?}", fault.name());
        Violation::new(Kind::NotCaughtUp, text)
    });
    let drill = Drill {
        fault,
        commands_gap: told.pulse.longest_gap(begun),
        recovery: recovered.unwrap_or(RECOVERY_MAX),
        seconds: told.pulse.by_second(begun),
    };
    Ok((drill, stuck))
}

/// Of several of a kind.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) worst: f64,
}

impl Spread {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut seconds: Vec<f64> = durations.map(|duration| duration.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
        Self { median, worst: seconds.last().copied().unwrap_or_default() }
    }
}

/// All drills of a kind.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) times: usize,
    pub(super) commands_gap_seconds: Spread,
    pub(super) recovery_seconds: Spread,
}

pub(super) fn summaries(drills: &[Drill]) -> BTreeMap<String, Summary> {
    let mut by_name: BTreeMap<String, Vec<&Drill>> = BTreeMap::new();
    for drill in drills {
        by_name.entry(drill.fault.name()).or_default().push(drill);
    }
    let summary = |drills: Vec<&Drill>| Summary {
        times: drills.len(),
        commands_gap_seconds: Spread::of(drills.iter().map(|drill| drill.commands_gap)),
        recovery_seconds: Spread::of(drills.iter().map(|drill| drill.recovery)),
    };
    by_name.into_iter().map(|(name, drills)| (name, summary(drills))).collect()
}

/// What all clients met in each second of all planned failovers.
pub(super) fn planned(drills: &[Drill]) -> Vec<Beat> {
    let planned = plan::Kind::Failover(Primary::Planned);
    let windows: Vec<Vec<Beat>> = drills
        .iter()
        .filter(|drill| drill.fault.kind == planned)
        .map(|drill| drill.seconds.clone())
        .collect();
    together(&windows)
}
