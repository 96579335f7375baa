//! `stack recovery`: how soon events flow again when the broker answers again, and how soon another instance takes over.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::Utc;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::local::{Home, down};
use crate::machine::Machine;
use crate::say;
use crate::servers::ServiceSettings;
use crate::site::{Site, first_answer, until};

/// What is promised of each, in seconds.
const FIRST_EVENT_MAX: f64 = 2.0;
const TAKEOVER_MAX: f64 = 1.0;
/// Orders that wait in each outage.
const BACKLOG: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outage {
    Killed,
    Frozen,
    KilledWithRedis,
}

#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    count: usize,
    median_seconds: f64,
    worst_seconds: f64,
    promised_seconds: Option<f64>,
}

impl Row {
    fn of(what: &'static str, mut seconds: Vec<f64>, promised_seconds: Option<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let median_seconds = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
        let worst_seconds = seconds.last().copied().unwrap_or_default();
        Self { what, count: seconds.len(), median_seconds, worst_seconds, promised_seconds }
    }

    fn is_kept(&self) -> bool {
        self.promised_seconds.is_none_or(|promised| self.worst_seconds <= promised)
    }
}

/// True if every promise was kept every time.
pub async fn recovery(home: Home, times: usize, file: &Path) -> Result<bool> {
    let _lock = home.lock()?;
    down(&home, |part, how| say::done(part, how))?;
    home.wipe()?;
    let started_at = Utc::now();
    let site = Site::start(&home.directory, 2, &ServiceSettings::orders()?)?;
    site.create(0, BACKLOG).await?;
    site.cursor_reaches(site.head().await?).await?;

    say::title(format_args!("{times} outages of Kafka"));
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for (number, outage) in kinds().take(times).enumerate() {
        // Of different lengths, so that every length of the back-off is met.
        let length = Duration::from_millis(number as u64 * 1_700 % 9_000);
        let (to_first, to_all) = suffer(&site, outage, length).await?;
        say::line(format_args!(
            "{:>2}  {:<16} {:>4.1} s   first event after {to_first:.3} s, all {BACKLOG} after {to_all:.3} s",
            number + 1,
            format!("{outage:?}"),
            length.as_secs_f64(),
        ));
        first.push(to_first);
        all.push(to_all);
    }
    say::title(format_args!("{times} takeovers from a killed holder"));
    let (mut takeovers, mut delivered) = (Vec::new(), Vec::new());
    for number in 0..times {
        let (to_lease, to_event) = take_over(&site).await?;
        say::line(format_args!(
            "{:>2}  lease after {to_lease:.3} s, an event delivered after {to_event:.3} s",
            number + 1
        ));
        takeovers.push(to_lease);
        delivered.push(to_event);
    }
    report(
        file,
        started_at,
        vec![
            Row::of("first event after the broker answers", first, Some(FIRST_EVENT_MAX)),
            Row::of("whole backlog after the broker answers", all, None),
            Row::of("lease after the holder was killed", takeovers, Some(TAKEOVER_MAX)),
            Row::of("event delivered after the holder was killed", delivered, None),
        ],
    )
}

fn kinds() -> impl Iterator<Item = Outage> {
    [Outage::Killed, Outage::Frozen, Outage::Killed, Outage::KilledWithRedis].into_iter().cycle()
}

/// Seconds from the broker's first answer to the first event, and to the last.
async fn suffer(site: &Site, outage: Outage, length: Duration) -> Result<(f64, f64)> {
    let before = site.cursor().await?;
    if outage == Outage::KilledWithRedis {
        tokio::task::block_in_place(|| site.redis.kill())?;
    }
    tokio::task::block_in_place(|| match outage {
        Outage::Frozen => site.kafka.freeze(),
        Outage::Killed | Outage::KilledWithRedis => site.kafka.kill(),
    })?;
    site.create(0, BACKLOG / 2).await?;
    site.create(1, BACKLOG / 2).await?;
    until("a breaker opens", async || {
        for service in 0..2 {
            if site.outbox(service).await?["breaker"] == "open" {
                return Some(());
            }
        }
        None
    })
    .await?;
    tokio::time::sleep(length).await;
    let answers = tokio::task::spawn_blocking({
        let brokers = site.kafka.brokers();
        move || first_answer(&brokers)
    });
    tokio::task::block_in_place(|| match outage {
        Outage::Frozen => site.kafka.thaw(),
        Outage::Killed | Outage::KilledWithRedis => site.kafka.launch(),
    })?;
    site.cursor_reaches(before + 1).await?;
    let first = Instant::now();
    site.cursor_reaches(site.head().await?).await?;
    let all = Instant::now();
    let answered = answers.await?.context("the broker has not answered the measurement's own client")?;
    if outage == Outage::KilledWithRedis {
        tokio::task::block_in_place(|| site.redis.start_again())?;
    }
    let since = |then: Instant| then.saturating_duration_since(answered).as_secs_f64();
    Ok((since(first), since(all)))
}

/// Seconds from the kill of the lease's holder until the other has it, and until it has delivered an event.
async fn take_over(site: &Site) -> Result<(f64, f64)> {
    let holder = until("somebody has the lease", async || {
        for service in 0..2 {
            if site.outbox(service).await?["is_publisher"] == true {
                return Some(service);
            }
        }
        None
    })
    .await?;
    let other = 1 - holder;
    let killed = Instant::now();
    tokio::task::block_in_place(|| site.service(holder)?.kill())?;
    site.create(other, 1).await?;
    let head = site.head().await?;
    until("the other has the lease", async || {
        (site.outbox(other).await?["is_publisher"] == true).then_some(())
    })
    .await?;
    let taken = killed.elapsed().as_secs_f64();
    site.cursor_reaches(head).await?;
    let delivered = killed.elapsed().as_secs_f64();
    tokio::task::block_in_place(|| site.service(holder)?.start_again())?;
    Ok((taken, delivered))
}

fn report(file: &Path, started_at: chrono::DateTime<Utc>, rows: Vec<Row>) -> Result<bool> {
    #[derive(Serialize)]
    struct Report<'a> {
        started_at: chrono::DateTime<Utc>,
        machine: Machine,
        rows: &'a [Row],
    }
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let json = serde_json::to_string_pretty(&Report { started_at, machine: Machine::look(), rows: &rows })?;
    std::fs::write(file, json + "\n")?;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["", "times", "median", "worst", "promised"]);
    for row in &rows {
        let promised = row.promised_seconds.map(|promised| format!("{promised:.0} s")).unwrap_or_default();
        table.add_row([
            row.what.to_owned(),
            row.count.to_string(),
            format!("{:.3} s", row.median_seconds),
            format!("{:.3} s", row.worst_seconds),
            promised,
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say::put(format_args!("\n{table}"));
    say::line(format_args!("as JSON: {}", file.display()));
    let kept = rows.iter().all(Row::is_kept);
    say::put(format_args!("\nrecovery: {}", if kept { "PASS" } else { "FAIL" }));
    Ok(kept)
}
