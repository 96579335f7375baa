//! `stack overload`: ten times as many clients as the service lets in, all sending without a pause; then as many as it lets in,
//! and clients that mean no good beside them.

mod attack;
mod load;
mod siege;
mod table;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::local::{Home, down};
use crate::machine::Machine;
use crate::say;
use crate::servers::ServiceSettings;
use crate::site::Site;
use load::{Load, load};
use siege::{Siege, sieges};

/// Commands that the service lets in at a time; as many as it takes to keep it busy.
const ROOM: usize = 64;
const TIMES: usize = 10;
/// What is promised: of the slowest of a hundred accepted commands, and of the memory over idle. The live orders (20,000 at most)
/// and the connections take about 80 MiB, however long it lasts.
const P99_MAX_MS: f64 = 1_000.0;
const GROWTH_MAX_MIB: f64 = 128.0;
/// How long attackers of one kind are there: longer than the service waits for a client.
const SIEGE_SECONDS_MIN: u64 = 4;
const SIEGE_SECONDS_MAX: u64 = 12;

#[derive(Debug, Serialize)]
struct Report {
    pass: bool,
    started_at: DateTime<Utc>,
    machine: Machine,
    room: usize,
    memory_idle_mib: f64,
    reference: Load,
    overload: Load,
    sieges: Vec<Siege>,
    acknowledged_and_lost: usize,
    refused_and_carried_out: i64,
    broken: Vec<String>,
}

/// True if every promise was kept.
pub async fn overload(home: Home, seconds: u64, file: &Path) -> Result<bool> {
    let _lock = home.lock()?;
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let started_at = Utc::now();
    let settings = ServiceSettings::orders()?.with("JOURNAL_COMMANDS_MAX", ROOM.to_string());
    let site = Site::start(&home.directory, 1, &settings)?;
    let memory_idle_mib = site.memory_mib(0)?;
    say::title("As many clients as it lets in");
    let reference = load(&site, ROOM, Duration::from_secs((seconds / 4).max(3))).await?;
    reference.say();
    say::title(format_args!("{TIMES} times as many"));
    let overload = load(&site, TIMES * ROOM, Duration::from_secs(seconds)).await?;
    overload.say();
    let sieges =
        sieges(&site, Duration::from_secs((seconds / 4).clamp(SIEGE_SECONDS_MIN, SIEGE_SECONDS_MAX))).await?;

    say::title("Check");
    site.cursor_reaches(site.head().await?).await?;
    let besieged = sieges.iter().map(|siege| &siege.honest);
    let loads = [&reference, &overload].into_iter().chain(besieged);
    let acknowledged: Vec<Uuid> = loads.flat_map(|load| &load.orders).copied().collect();
    let found: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT order_id) FROM order_event WHERE order_id = ANY($1)")
            .bind(&acknowledged)
            .fetch_one(&site.database)
            .await?;
    let found = usize::try_from(found)?;
    let refused_and_carried_out = site.head().await? - i64::try_from(found)?;
    let mut report = Report {
        pass: false,
        started_at,
        machine: Machine::look(),
        room: ROOM,
        memory_idle_mib,
        acknowledged_and_lost: acknowledged.len() - found,
        refused_and_carried_out,
        broken: Vec::new(),
        reference,
        overload,
        sieges,
    };
    report.judge();
    report.write(file)?;
    table::print(&report);
    say::line(format_args!("as JSON: {}", file.display()));
    say::put(format_args!("\noverload: {}", if report.pass { "PASS" } else { "FAIL" }));
    Ok(report.pass)
}

impl Report {
    fn judge(&mut self) {
        let (reference, overload) = (&self.reference, &self.overload);
        let growth = overload.memory_max_mib - self.memory_idle_mib;
        let checks = [
            (reference.refused == 0, "clients were refused though there was room".to_owned()),
            (overload.refused > 0, "nobody was refused: that was no overload".to_owned()),
            (reference.unexpected.is_empty(), format!("unexpected: {:?}", reference.unexpected)),
            (overload.unexpected.is_empty(), format!("unexpected: {:?}", overload.unexpected)),
            (overload.p99_ms <= P99_MAX_MS, format!("accepted commands took {:.0} ms", overload.p99_ms)),
            (growth <= GROWTH_MAX_MIB, format!("memory grew by {growth:.0} MiB")),
            (
                self.acknowledged_and_lost == 0,
                format!("{} acknowledged and lost", self.acknowledged_and_lost),
            ),
            (
                self.refused_and_carried_out == 0,
                format!("{} refused and carried out", self.refused_and_carried_out),
            ),
        ];
        self.broken = checks.into_iter().filter(|(kept, _)| !kept).map(|(_, broken)| broken).collect();
        self.broken.extend(self.sieges.iter().flat_map(|siege| siege.broken(self.memory_idle_mib)));
        self.pass = self.broken.is_empty();
    }

    fn write(&self, file: &Path) -> Result<()> {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Ok(std::fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }
}
