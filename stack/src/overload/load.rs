//! Clients that send commands without a pause, and what they come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::say;
use crate::site::{Site, an_order};

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What some clients came to.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    pub(super) clients: usize,
    pub(super) seconds: f64,
    pub(super) accepted: usize,
    /// 503 with `Retry-After` and a problem document of the type `busy`.
    pub(super) refused: u64,
    /// Any other answer, or none; by what it was.
    pub(super) unexpected: BTreeMap<String, u64>,
    pub(super) accepted_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    pub(super) memory_max_mib: f64,
    #[serde(skip)]
    pub(super) orders: Vec<Uuid>,
}

/// So many clients, each of which sends its next command as soon as the last one is answered.
pub(super) async fn load(site: &Site, clients: usize, lasts: Duration) -> Result<Load> {
    let clients = Clients::begin(site, clients)?;
    let memory_max_mib = memory_while(site, lasts).await?;
    clients.end(memory_max_mib).await
}

/// The most memory that the service takes in this time.
pub(super) async fn memory_while(site: &Site, lasts: Duration) -> Result<f64> {
    let (begun, mut most) = (Instant::now(), 0.0_f64);
    while begun.elapsed() < lasts {
        tokio::time::sleep(Duration::from_millis(200)).await;
        most = most.max(site.memory_mib(0)?);
    }
    Ok(most)
}

/// Orders with the time that each took, and whatever else was answered.
type Outcome = (Vec<(Uuid, Duration)>, BTreeMap<String, u64>);

/// Clients at work.
pub(super) struct Clients {
    begun: Instant,
    refused: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Outcome>>,
}

impl Clients {
    pub(super) fn begin(site: &Site, clients: usize) -> Result<Self> {
        let url = format!("{}/api/orders", site.service(0)?.url());
        let http = crate::http_client().timeout(ANSWER_PATIENCE).build()?;
        let mut all = Self {
            begun: Instant::now(),
            refused: Arc::default(),
            ended: Arc::default(),
            answered: Arc::default(),
            tasks: Vec::new(),
        };
        for _ in 0..clients {
            let (http, url) = (http.clone(), url.clone());
            let (refused, ended) = (Arc::clone(&all.refused), Arc::clone(&all.ended));
            let answered = Arc::clone(&all.answered);
            all.tasks.push(tokio::spawn(async move {
                let (mut accepted, mut unexpected) = (Vec::new(), BTreeMap::new());
                while !ended.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    match command(&http, &url).await {
                        Ok(Some(order)) => accepted.push((order, sent.elapsed())),
                        Ok(None) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        Err(what) => *unexpected.entry(what).or_insert(0) += 1,
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                (accepted, unexpected)
            }));
        }
        Ok(all)
    }

    /// So many answers that each client must have a connection.
    pub(super) fn stand(&self) -> bool {
        self.answered.load(Ordering::Relaxed) >= 4 * self.tasks.len()
    }

    pub(super) async fn end(self, memory_max_mib: f64) -> Result<Load> {
        self.ended.store(true, Ordering::Relaxed);
        let (clients, seconds) = (self.tasks.len(), self.begun.elapsed().as_secs_f64());
        let (mut orders, mut unexpected, mut histogram) =
            (Vec::new(), BTreeMap::new(), Histogram::<u64>::new(3)?);
        for task in join_all(self.tasks).await {
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
            refused: self.refused.load(Ordering::Relaxed),
            unexpected,
            accepted_per_second: orders.len() as f64 / seconds,
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            max_ms: milliseconds(1.0),
            memory_max_mib,
            orders,
        })
    }
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
    pub(super) fn say(&self) {
        say::line(format_args!(
            "{} clients, {:.0} s: {:.0} accepted a second, p99 {:.1} ms; {} refused",
            self.clients, self.seconds, self.accepted_per_second, self.p99_ms, self.refused
        ));
    }
}
