//! The load generator: keep-alive connections that cost little beside what they measure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};

use super::door::Door;

/// A command of the order service.
pub(super) struct Command {
    pub(super) path: String,
    pub(super) body: String,
}

/// What one connection sends, one command after the other.
pub(super) trait Workload: Send + 'static {
    fn next(&mut self) -> Command;

    /// The answer to the last command; its status was a success.
    fn answered(&mut self, body: &[u8]);
}

pub(super) struct Connection {
    door: Door,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(super) async fn open(door: impl Into<Door>) -> Result<Self> {
        let door = door.into();
        let sender = door.connect().await?;
        Ok(Self { door, sender })
    }

    pub(super) async fn post(&mut self, command: Command) -> Result<(StatusCode, Bytes)> {
        let request = self
            .door
            .announce(Request::builder().method(Method::POST).uri(command.path))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(command.body)))?;
        self.ask(request).await
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Bytes> {
        let request = self.door.announce(Request::builder().uri(path)).body(Full::default())?;
        let (status, body) = self.ask(request).await?;
        if !status.is_success() {
            bail!("GET {path} answers {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Answers, and how long they took, in microseconds.
pub(super) struct Answers {
    pub(super) seconds: f64,
    pub(super) latencies: Histogram<u64>,
}

impl Answers {
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    pub(super) fn milliseconds(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// Throughput: each connection sends its next command when the last one is answered. An answer that is no success ends it.
pub(super) async fn closed<W: Workload>(
    door: impl Into<Door>,
    connections: usize,
    lasts: Duration,
    workload: impl Fn(usize) -> W,
) -> Result<Answers> {
    let door = door.into();
    let opened = try_join_all((0..connections).map(|_| Connection::open(door.clone()))).await?;
    let begun = Instant::now();
    let tasks = opened.into_iter().enumerate().map(|(number, mut connection)| {
        let mut workload = workload(number);
        tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            while begun.elapsed() < lasts {
                let sent = Instant::now();
                let (status, body) = connection.post(workload.next()).await?;
                latencies.record(u64::try_from(sent.elapsed().as_micros())?)?;
                if !status.is_success() {
                    bail!("the service answers {status}: {}", String::from_utf8_lossy(&body));
                }
                workload.answered(&body);
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Histogram::<u64>::new(3)?;
    for task in futures_util::future::join_all(tasks).await {
        latencies.add(task.context("a client panicked")??)?;
    }
    Ok(Answers { seconds: begun.elapsed().as_secs_f64(), latencies })
}

/// One answer of an open loop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// When it was to be sent, since the beginning.
    pub(super) at: Duration,
    pub(super) took: Duration,
}

/// Latency at a given rate: commands have fixed times, whatever became of earlier ones, and one that finds every connection busy
/// waits at its own cost (no coordinated omission). A timer that rings late is the generator's fault and does not count.
pub(super) async fn open<W: Workload>(
    door: impl Into<Door>,
    connections: usize,
    rate: f64,
    lasts: Duration,
    workload: impl Fn(usize) -> W,
) -> Result<Vec<Sample>> {
    let door = door.into();
    let opened = try_join_all((0..connections).map(|_| Connection::open(door.clone()))).await?;
    let slots = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let tasks = opened.into_iter().enumerate().map(|(number, mut connection)| {
        let (mut workload, slots) = (workload(number), Arc::clone(&slots));
        tokio::spawn(async move {
            let mut samples = Vec::new();
            loop {
                let slot = slots.fetch_add(1, Ordering::Relaxed);
                let at = Duration::from_secs_f64(slot as f64 / rate);
                if at >= lasts {
                    return Ok(samples);
                }
                let due = begun + at;
                let sent = if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                    Instant::now()
                } else {
                    due
                };
                let (status, body) = connection.post(workload.next()).await?;
                if !status.is_success() {
                    bail!("the service answers {status}: {}", String::from_utf8_lossy(&body));
                }
                samples.push(Sample { at, took: sent.elapsed() });
                workload.answered(&body);
            }
        })
    });
    let mut samples = Vec::new();
    for task in futures_util::future::join_all(tasks).await {
        samples.extend(task.map_err(|error| anyhow!("a client panicked: {error}"))??);
    }
    Ok(samples)
}

pub(super) fn histogram(samples: impl IntoIterator<Item = Sample>) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    for sample in samples {
        latencies.record(u64::try_from(sample.took.as_micros())?)?;
    }
    Ok(latencies)
}
