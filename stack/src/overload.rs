//! `stack overload`: ten times as many clients as the service lets in, all sending without a pause.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table, presets};
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::local::{Home, down};
use crate::machine::Machine;
use crate::say;
use crate::servers::ServiceSettings;
use crate::site::{Site, an_order};

/// Commands that the service lets in at a time; as many as it takes to keep it busy.
const ROOM: usize = 64;
const TIMES: usize = 10;
/// What is promised: of the slowest of a hundred accepted commands, and of the memory over idle. The live orders (20,000 at most)
/// and the connections take about 80 MiB, however long it lasts.
const P99_MAX_MS: f64 = 1_000.0;
const GROWTH_MAX_MIB: f64 = 128.0;

/// What some clients came to.
#[derive(Debug, Serialize)]
struct Load {
    clients: usize,
    seconds: f64,
    accepted: usize,
    /// 503 with `Retry-After` and a problem document of the type `busy`.
    refused: u64,
    /// Any other answer, or none; by what it was.
    unexpected: BTreeMap<String, u64>,
    accepted_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    memory_max_mib: f64,
    #[serde(skip)]
    orders: Vec<Uuid>,
}

#[derive(Debug, Serialize)]
struct Report {
    pass: bool,
    started_at: DateTime<Utc>,
    machine: Machine,
    room: usize,
    memory_idle_mib: f64,
    reference: Load,
    overload: Load,
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

    say::title("Check");
    site.cursor_reaches(site.head().await?).await?;
    let acknowledged: Vec<Uuid> = reference.orders.iter().chain(&overload.orders).copied().collect();
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
    };
    report.judge();
    report.write(file)?;
    report.print();
    say::line(format_args!("as JSON: {}", file.display()));
    say::put(format_args!("\noverload: {}", if report.pass { "PASS" } else { "FAIL" }));
    Ok(report.pass)
}

/// So many clients, each of which sends its next command as soon as the last one is answered.
async fn load(site: &Site, clients: usize, lasts: Duration) -> Result<Load> {
    let url = format!("{}/api/orders", site.service(0)?.url());
    let (refused, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let client = |_| {
        let (http, url, refused, ended) =
            (site.http.clone(), url.clone(), Arc::clone(&refused), Arc::clone(&ended));
        tokio::spawn(async move {
            let (mut accepted, mut unexpected) = (Vec::new(), BTreeMap::new());
            while !ended.load(Ordering::Relaxed) {
                let sent = Instant::now();
                match command(&http, &url).await {
                    Ok(Some(order)) => accepted.push((order, sent.elapsed())),
                    Ok(None) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                    Err(what) => *unexpected.entry(what).or_insert(0) += 1,
                }
            }
            (accepted, unexpected)
        })
    };
    let tasks: Vec<_> = (0..clients).map(client).collect();
    let mut memory_max_mib: f64 = 0.0;
    while begun.elapsed() < lasts {
        tokio::time::sleep(Duration::from_millis(200)).await;
        memory_max_mib = memory_max_mib.max(site.memory_mib(0)?);
    }
    ended.store(true, Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    let (mut orders, mut unexpected, mut histogram) =
        (Vec::new(), BTreeMap::new(), Histogram::<u64>::new(3)?);
    for task in join_all(tasks).await {
        let (accepted, others) = task.context("a client panicked")?;
        for (order, took) in accepted {
            orders.push(order);
            histogram.record(u64::try_from(took.as_micros())?)?;
        }
        for (what, count) in others {
            *unexpected.entry(what).or_insert(0) += count;
        }
    }
    let milliseconds = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Load {
        clients,
        seconds,
        accepted: orders.len(),
        refused: refused.load(Ordering::Relaxed),
        unexpected,
        accepted_per_second: orders.len() as f64 / seconds,
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
        max_ms: milliseconds(1.0),
        memory_max_mib,
        orders,
    })
}

/// The order that was created; `None` if the service was busy, and said so as it should; an error for anything else.
async fn command(http: &reqwest::Client, url: &str) -> Result<Option<Uuid>, String> {
    let answer = http.post(url).json(&an_order()).send().await.map_err(|error| error.to_string())?;
    let (status, patient) = (answer.status(), answer.headers().contains_key("retry-after"));
    let body: Value = answer
        .text()
        .await
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .ok_or_else(|| format!("{status} without a readable body"))?;
    match status.as_u16() {
        201 => {
            let order = body["order_id"].as_str().and_then(|id| id.parse().ok());
            order.map(Some).ok_or_else(|| "201 without an order".to_owned())
        }
        503 if patient && body["type"] == "urn:orders:problem:busy" => Ok(None),
        _ => Err(format!("{status} {}", body["type"])),
    }
}

impl Load {
    fn say(&self) {
        say::line(format_args!(
            "{} clients, {:.0} s: {:.0} accepted a second, p99 {:.1} ms; {} refused",
            self.clients, self.seconds, self.accepted_per_second, self.p99_ms, self.refused
        ));
    }
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
        self.pass = self.broken.is_empty();
    }

    fn write(&self, file: &Path) -> Result<()> {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Ok(std::fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }

    fn print(&self) {
        let (reference, overload) = (&self.reference, &self.overload);
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_header(["clients".to_owned(), reference.clients.to_string(), overload.clients.to_string()]);
        let mut row = |what: &str, show: &dyn Fn(&Load) -> String| {
            table.add_row([what.to_owned(), show(reference), show(overload)]);
        };
        row("accepted a second", &|load| format!("{:.0}", load.accepted_per_second));
        row("refused a second", &|load| format!("{:.0}", load.refused as f64 / load.seconds));
        row("accepted, p50", &|load| format!("{:.1} ms", load.p50_ms));
        row("accepted, p99", &|load| format!("{:.1} ms", load.p99_ms));
        row("accepted, slowest", &|load| format!("{:.1} ms", load.max_ms));
        row("memory, most", &|load| format!("{:.0} MiB", load.memory_max_mib));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        say::put(format_args!("\n{table}"));
        say::line(format_args!(
            "idle {:.0} MiB; {} acknowledged and lost, {} refused and carried out",
            self.memory_idle_mib, self.acknowledged_and_lost, self.refused_and_carried_out
        ));
        for broken in &self.broken {
            say::line(broken);
        }
    }
}
