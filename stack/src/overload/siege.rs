//! As many honest clients as the service lets in, and attackers of one kind beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::ROOM;
use super::attack::{Attack, Attackers, Kind};
use super::load::{Clients, Load, memory_while};
use crate::say;
use crate::scrape::value;
use crate::servers::port::Port;
use crate::site::{Site, until};

/// What a client may take here: a siege lasts seconds.
const CLIENT_TIMEOUT_SECONDS: &str = "2";
/// Over idle: what honest clients take, and some 64 KiB for each attacker that reads nothing.
const GROWTH_MAX_MIB: f64 = 320.0;
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_PAUSE: Duration = Duration::from_millis(200);
/// Of the slowest probe.
const PROBE_MAX_MS: f64 = 3_000.0;
/// Of the slowest of a hundred commands; the attackers take the same processors.
const P99_MAX_MS: f64 = 3_000.0;

/// What honest clients and probes came to, and what became of the attackers.
#[derive(Debug, Serialize)]
pub(super) struct Siege {
    pub(super) kind: Kind,
    pub(super) honest: Load,
    pub(super) memory_before_mib: f64,
    pub(super) probes: Probes,
    pub(super) attackers: Attackers,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Probes {
    pub(super) asked: u64,
    pub(super) slowest_ms: f64,
    /// Answers that were none, or not 200.
    pub(super) failed: Vec<String>,
}

/// One siege after the other, on a service that starts anew. At first the operators have no address of their own.
pub(super) async fn sieges(site: &Site, lasts: Duration) -> Result<Vec<Siege>> {
    let (service, port) = (site.service(0)?, Port::free()?);
    let again = || tokio::task::block_in_place(|| service.stop().and_then(|()| service.start_again()));
    service.set("ORDERS_HTTP_CLIENT_TIMEOUT_SECONDS", CLIENT_TIMEOUT_SECONDS);
    again()?;
    let (mut operators, mut sieges) = (service.url(), Vec::new());
    for kind in Kind::ALL {
        say::title(format_args!("Beside them: {}", kind.label()));
        if kind == Kind::SilentCrowd {
            // By design new connections then wait at the public address. Operators have another one.
            operators = format!("http://127.0.0.1:{}", port.number());
            service.set("ORDERS_ADMIN_ADDR", format!("127.0.0.1:{}", port.number()));
            again()?;
        }
        let siege = siege(site, &operators, kind, lasts).await?;
        siege.honest.say();
        sieges.push(siege);
    }
    Ok(sieges)
}

async fn siege(site: &Site, operators: &str, kind: Kind, lasts: Duration) -> Result<Siege> {
    let memory_before_mib = site.memory_mib(0)?;
    let clients = Clients::begin(site, ROOM)?;
    let probing = Probing::begin(site, operators).await?;
    until("each client has a connection", async || clients.stand().then_some(())).await?;
    let attack = Attack::begin(kind, site.host(0)?);
    let memory_max_mib = memory_while(site, lasts).await?;
    let attackers = attack.end().await;
    let probes = probing.end().await?;
    let honest = clients.end(memory_max_mib).await?;
    until("the attackers' connections are gone", async || connections(operators).await).await?;
    Ok(Siege { kind, honest, memory_before_mib, probes, attackers })
}

/// Nothing, until hardly anybody is connected.
async fn connections(operators: &str) -> Option<()> {
    let http = crate::http_client().pool_max_idle_per_host(0).build().ok()?;
    let answer = http.get(format!("{operators}/metrics")).timeout(PROBE_PATIENCE).send().await.ok()?;
    (value(&answer.text().await.ok()?, "orders_http_connections") <= 8.0).then_some(())
}

/// Somebody who asks whether the service lives and is ready: on a connection to the public address that stands, and by new ones to
/// where operators are served.
struct Probing {
    ended: Arc<AtomicBool>,
    task: JoinHandle<Probes>,
}

impl Probing {
    /// Returns when the first answers are there.
    async fn begin(site: &Site, operators: &str) -> Result<Self> {
        let public = site.service(0)?.url();
        let standing = crate::http_client().timeout(PROBE_PATIENCE).build()?;
        let anew = crate::http_client().timeout(PROBE_PATIENCE).pool_max_idle_per_host(0).build()?;
        let asked = [
            (standing.clone(), format!("{public}/livez")),
            (standing, format!("{public}/readyz")),
            (anew.clone(), format!("{operators}/livez")),
            (anew, format!("{operators}/readyz")),
        ];
        let mut probes = Probes::default();
        probes.ask(&asked).await;
        let ended = Arc::<AtomicBool>::default();
        let until = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            while !until.load(Ordering::Relaxed) {
                probes.ask(&asked).await;
                tokio::time::sleep(PROBE_PAUSE).await;
            }
            probes
        });
        Ok(Self { ended, task })
    }

    async fn end(self) -> Result<Probes> {
        self.ended.store(true, Ordering::Relaxed);
        self.task.await.context("a probe panicked")
    }
}

impl Probes {
    async fn ask(&mut self, asked: &[(reqwest::Client, String)]) {
        for (http, url) in asked {
            let begun = Instant::now();
            self.asked += 1;
            match http.get(url).send().await {
                Ok(answer) if answer.status() == 200 => drop(answer.bytes().await),
                Ok(answer) => self.failed.push(format!("{url}: {}", answer.status())),
                Err(error) => self.failed.push(format!("{url}: {error}")),
            }
            self.slowest_ms = self.slowest_ms.max(begun.elapsed().as_secs_f64() * 1_000.0);
        }
    }
}

impl Siege {
    /// The promises that were broken. `idle`: the memory before anybody came.
    pub(super) fn broken(&self, idle: f64) -> Vec<String> {
        let (honest, probes, name) = (&self.honest, &self.probes, self.kind.label());
        let growth = honest.memory_max_mib - idle;
        let checks = [
            (honest.unexpected.is_empty(), format!("unexpected: {:?}", honest.unexpected)),
            (honest.refused == 0, format!("{} were refused though there was room", honest.refused)),
            (honest.p99_ms <= P99_MAX_MS, format!("accepted commands took {:.0} ms", honest.p99_ms)),
            (growth <= GROWTH_MAX_MIB, format!("memory grew by {growth:.0} MiB")),
            (probes.failed.is_empty(), format!("probes failed: {:?}", probes.failed)),
            (probes.slowest_ms <= PROBE_MAX_MS, format!("a probe took {:.0} ms", probes.slowest_ms)),
            (
                self.attackers.answer_bytes_max <= super::attack::BODY_BYTES as u64,
                format!("{} bytes answer a smaller body", self.attackers.answer_bytes_max),
            ),
        ];
        let broken = checks.into_iter().filter(|(kept, _)| !kept);
        broken.map(|(_, what)| format!("{name}: {what}")).collect()
    }
}
